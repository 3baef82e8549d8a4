//! What wraps the values of keys, as the configuration says it.

use crate::custody::token_name;
use crate::master_key;
use serde::Deserialize;
use std::path::PathBuf;
use strongroom_wire::{Code, Refusal, Result};

/// Something that wraps the values of keys. What trust hangs on is not in here: a key is released by its policies, whoever keeps it.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Custody {
    /// The master key. It opens what it wrapped whether it is named or not; named first, it is what wraps.
    MasterKey {},
    /// A key in a PKCS #11 token.
    Pkcs11 {
        /// Which, as a URI (RFC 7512) with `module-path` and, where the token wants a PIN, its file in `pin-source`.
        uri: String,
    },
    /// A key of the transit engine of OpenBao or Vault.
    Transit(Transit),
}

/// A transit engine, and how to log in to it: by a token in a file, or by a role.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Transit {
    /// The service, `https://host[:port]`.
    pub url: String,
    /// Where the engine is mounted.
    #[serde(default = "transit")]
    pub mount: String,
    /// The name of the key: an AEAD without derivation, such as `aes256-gcm96`.
    pub key: String,
    /// PEM certificates of the authority that signed the service's TLS certificate; absent: the public ones.
    #[serde(default)]
    pub ca: Option<String>,
    /// File of a token, mode 0600. It is renewed in time where it can be.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// The role to log in as, by the AppRole method.
    #[serde(default)]
    pub role_id: Option<String>,
    /// File of the role's secret id, mode 0600.
    #[serde(default)]
    pub secret_id_file: Option<PathBuf>,
}

fn transit() -> String {
    "transit".to_owned()
}

impl Transit {
    /// What rows call it by.
    pub(crate) fn name(&self) -> String {
        format!("transit:{}/{}", self.mount, self.key)
    }

    fn verify(&self) -> Result<()> {
        let wrong = |name: &str, got: &str, want: &str| {
            Err(Refusal::new(Code::ConfigurationInvalid, format!("custody: `{name}`")).got(got).want(want))
        };
        let is_name = |text: &str, more: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c) || more.contains(c))
        };
        match (&self.token_file, &self.role_id, &self.secret_id_file) {
            _ if !self.url.starts_with("https://") => wrong("url", &self.url, "https://…"),
            _ if !is_name(&self.mount, "/") => wrong("mount", &self.mount, "letters, digits, `-`, `_`, `.` and `/`"),
            _ if !is_name(&self.key, "") => wrong("key", &self.key, "letters, digits, `-`, `_` and `.`"),
            (Some(_), None, None) | (None, Some(_), Some(_)) => Ok(()),
            _ => wrong("token-file", "", "that, or `role-id` and `secret-id-file`"),
        }
    }
}

/// Verifies that each is whole, and that rows can tell them apart.
///
/// # Errors
/// `configuration-invalid`.
pub(super) fn verify(all: &[Custody]) -> Result<()> {
    let mut names = Vec::new();
    for custody in all {
        let name = match custody {
            Custody::MasterKey {} => master_key::NAME.to_owned(),
            Custody::Pkcs11 { uri } => token_name(uri)?,
            Custody::Transit(transit) => {
                transit.verify()?;
                transit.name()
            }
        };
        if names.contains(&name) {
            return Err(Refusal::new(Code::ConfigurationInvalid, "custody").got(name).want("each once"));
        }
        names.push(name);
    }
    Ok(())
}
