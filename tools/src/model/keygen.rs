//! `strongroom model keygen`: a key pair for signing, without another tool.

use crate::{files, output};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};
use strongroom_artifact::SigningKey;
use strongroom_wire::Result;

#[derive(Args)]
#[command(after_help = "Example:\n  strongroom model keygen release")]
pub(crate) struct Arguments {
    /// Where: PREFIX.key (PKCS#8, mode 600) and PREFIX.pub, in PEM.
    prefix: PathBuf,
}

pub(crate) fn run(arguments: &Arguments, json: bool) -> Result<()> {
    let (private, public) = (with_suffix(&arguments.prefix, ".key"), with_suffix(&arguments.prefix, ".pub"));
    let key = SigningKey::generate()?;
    files::create_private(&private, key.to_pkcs8_pem()?.expose().as_bytes())?;
    files::write(&public, key.public().pem().as_bytes())?;
    let fingerprint = key.public().fingerprint();
    if json {
        return output::json(&json!({ "key": private, "public": public, "fingerprint": fingerprint }));
    }
    output::line(&format!("{}\n{}\nsha256:{fingerprint}\n", private.display(), public.display()))
}

/// Not `with_extension`: a prefix may have a dot.
fn with_suffix(prefix: &Path, suffix: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
