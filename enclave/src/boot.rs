//! The boot recipe.

mod attested;
mod measured;
mod opened;
mod pulled;

pub use attested::Attested;
pub use measured::Measured;
pub(crate) use opened::Loaded;
pub use opened::Opened;
pub use pulled::Pulled;
pub(crate) use pulled::trust;

#[cfg(test)]
pub(crate) use measured::tests;

use crate::api::{Access, Serving};
use crate::config::Config;
use crate::stage::{Progress, Stage};
use strongroom_transport::ServerIdentity;
use strongroom_wire::Result;

/// From a deployment document to an enclave that serves, for a TLS key that was just born:
///
/// 1. *measure*: the document is the one that the hardware names, and what it says of callers makes sense;
/// 2. *pull*: every model's manifest is the one of the document, signed by those whom the document trusts, and promoted
///    where it demands that, by the host's clock and by what the registry gives; this comes before any key is asked for, so that nobody can have this guest ask for a key to something else;
/// 3. *attest*: the document's verifier is shown evidence of this guest, and wraps to it the key of every sealed model, which
///    is the key that the signed manifest commits to;
/// 4. *open*: every layer is the one of the manifest and opens into sealed memory, never onto a disk, and the files are those
///    of the signed statement;
/// 5. *load*: the runtime is the one of the document, and takes the models; then evidence may be given of all this.
///
/// Each step gives a value that only it can make and that owns what it proved; the next one consumes it. The first refusal
/// ends the boot.
///
/// # Errors
/// The refusal of the step that failed.
pub async fn boot(config: &Config, channel: &ServerIdentity, progress: &mut Progress) -> Result<Serving> {
    // 1.
    let measured = Measured::measure(config, channel.spki_der()).await?;
    let access = Access::of(measured.deployment().settings(), measured.clock())?;

    // 2.
    progress.enter(Stage::Pulling);
    let pulled = Pulled::pull(measured, config).await?;

    // 3.
    progress.enter(Stage::Attesting);
    let attested = Attested::attest(pulled).await?;

    // 4.
    progress.enter(Stage::Opening);
    let opened = Opened::open(attested).await?;

    // 5.
    progress.enter(Stage::Loading);
    opened.load(config, channel.spki_der(), access).await
}
