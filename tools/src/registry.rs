//! How the command line reaches a registry: as the user whom other container tools logged in.

use crate::files;
use clap::Args;
use std::path::PathBuf;
use strongroom_registry_client::{Access, Credentials, Reference, RegistryClient};
use strongroom_wire::{Code, Refusal, Result, limits};

/// How the registry is reached. What comes from it is verified all the same.
#[derive(Args)]
pub(crate) struct RegistryArguments {
    /// Speak HTTP without TLS.
    #[arg(long, help_heading = "Registry")]
    plain_http: bool,
    /// Certificates of the authority that vouches for the registry, instead of the public ones.
    #[arg(id = "registry-ca", long = "ca", value_name = "FILE", help_heading = "Registry")]
    ca: Option<PathBuf>,
}

impl RegistryArguments {
    /// A client of the registry that `reference` names. No connection is made yet.
    pub(crate) fn client(&self, reference: &Reference) -> Result<RegistryClient> {
        let ca =
            match &self.ca {
                Some(path) => Some(String::from_utf8(files::read(path, limits::CONFIGURATION)?).map_err(|e| {
                    Refusal::new(Code::ConfigurationInvalid, format!("`{}`", path.display())).because(e)
                })?),
                None => None,
            };
        let credentials = match Credentials::users_folder() {
            Some(folder) => Credentials::load(&folder, reference.host())?,
            None => None,
        };
        let access = Access { plain_http: self.plain_http, ca, credentials, ..Access::default() };
        RegistryClient::new(reference.host(), access)
    }
}
