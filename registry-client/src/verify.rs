//! The recipe: from a reference to a manifest that enough trusted signers signed.

use crate::client::RegistryClient;
use crate::reference::Reference;
use crate::signatures::{Found, fetch_bundles, fetch_simple};
use strongroom_artifact::ladder::{ManifestSignature, TrustedModel, is_about_signatures, verify_manifest};
use strongroom_wire::Result;
use strongroom_wire::trust::TrustFile;

/// Fetches the manifest that `reference` names and verifies it against `trust`. No layer and no key is touched.
///
/// 1. Fetch the manifest. A tag is resolved by the registry, so only what is signed for its digest decides.
/// 2. Fetch the bundles that refer to the digest.
/// 3. Judge. A refusal of the manifest itself, and success, are final.
/// 4. Else fetch the signatures under the old `.sig` tag too, and judge all of them.
/// 5. Still refused: if the registry failed to give a signature, or listed more than are looked at, that is the refusal, since
///    nothing says that it was not the one that counts. Neither a registry's error nor a flood is "unsigned".
///
/// # Errors
/// `registry-…`, `network`, `timeout`; `manifest-digest-mismatch`; `too-large`; the codes of [`verify_manifest`].
pub async fn verify_model(client: &RegistryClient, reference: &Reference, trust: &TrustFile) -> Result<TrustedModel> {
    // 1.
    let fetched = client.manifest(reference).await?;
    let judge = |signatures: &[ManifestSignature]| {
        verify_manifest(&fetched.bytes, &fetched.digest, &reference.name(), signatures, trust)
    };
    // 2.
    let Found { mut signatures, failure } = fetch_bundles(client, reference, fetched.digest).await?;
    // 3.
    match judge(&signatures) {
        Err(refusal) if is_about_signatures(&refusal) => {}
        outcome => return outcome,
    }
    // 4.
    let simple = fetch_simple(client, reference, fetched.digest).await?;
    signatures.extend(simple.signatures);
    // 5.
    judge(&signatures).map_err(|refusal| match failure.or(simple.failure) {
        Some(failure) if is_about_signatures(&refusal) => failure,
        _ => refusal,
    })
}
