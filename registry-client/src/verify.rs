//! The recipe: from a reference to a manifest that enough trusted signers signed, and that is promoted where that is demanded.

use crate::client::RegistryClient;
use crate::reference::Reference;
use crate::signatures::{Found, fetch_bundles, fetch_simple};
use strongroom_artifact::ladder::{ManifestSignature, SignedModel, TrustedModel, is_about_signatures, verify_manifest};
use strongroom_wire::Result;
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::TrustFile;

/// [`verify_signed`], and that the model is promoted at `now`, in seconds of Unix time, where `trust` demands it: by the
/// statements that the registry gives. What it hides is not known here.
///
/// # Errors
/// As [`verify_signed`] and [`SignedModel::promoted`].
pub async fn verify_model(
    client: &RegistryClient,
    reference: &Reference,
    trust: &TrustFile,
    now: u64,
) -> Result<TrustedModel> {
    let (mut signed, attached) = verify_signed(client, reference, trust).await?;
    if let Some(promotions) = signed.promotions() {
        for bundle in &attached {
            // What is none by a promoter is nobody's.
            let _ = promotions.add(bundle);
        }
    }
    signed.promoted(now)
}

/// Fetches the manifest that `reference` names and verifies its signatures against `trust`. No layer and no key is touched.
///
/// 1. Fetch the manifest. A tag is resolved by the registry, so only what is signed for its digest decides.
/// 2. Fetch the bundles that refer to the digest.
/// 3. Judge. A refusal of the manifest itself, and success, are final.
/// 4. Else fetch the signatures under the old `.sig` tag too, and judge all of them.
/// 5. Still refused: if the registry failed to give a signature, or listed more than are looked at, that is the refusal, since
///    nothing says that it was not the one that counts. Neither a registry's error nor a flood is "unsigned".
/// 6. Where a promotion is demanded, give the bundles that state one, to be judged: all of them. If the registry failed to
///    give one, that is the refusal, since nothing says that it was no demotion.
///
/// # Errors
/// `registry-…`, `network`, `timeout`; `manifest-digest-mismatch`; `too-large`; the codes of [`verify_manifest`].
pub async fn verify_signed(
    client: &RegistryClient,
    reference: &Reference,
    trust: &TrustFile,
) -> Result<(SignedModel, Vec<Vec<u8>>)> {
    // 1.
    let fetched = client.manifest(reference).await?;
    let judge = |signatures: &[ManifestSignature]| {
        verify_manifest(&fetched.bytes, &fetched.digest, &reference.name(), signatures, trust)
    };
    // 2.
    let Found { mut signatures, failure, promotions, unread } =
        fetch_bundles(client, reference, fetched.digest).await?;
    // 3.
    let judged = match judge(&signatures) {
        Err(refusal) if is_about_signatures(&refusal) => {
            // 4.
            let simple = fetch_simple(client, reference, fetched.digest).await?;
            signatures.extend(simple.signatures);
            // 5.
            judge(&signatures).map_err(|refusal| match failure.or(simple.failure) {
                Some(failure) if is_about_signatures(&refusal) => failure,
                _ => refusal,
            })
        }
        outcome => outcome,
    };
    let mut signed = judged?;
    // 6.
    match (signed.promotions(), unread) {
        (Some(_), Some(unread)) => Err(unread.within("promotions of the model")),
        (Some(_), None) => Ok((signed, promotions)),
        (None, _) => Ok((signed, Vec::new())),
    }
}

/// The bundles beside the manifest `subject` that state a promotion or demotion, whoever signed them.
///
/// # Errors
/// `registry-…`, `network`, `timeout`; `too-large`: what could not be had may be one of them.
pub async fn fetch_promotions(client: &RegistryClient, reference: &Reference, subject: Sha256) -> Result<Vec<Vec<u8>>> {
    let found = fetch_bundles(client, reference, subject).await?;
    found.unread.map_or(Ok(found.promotions), Err)
}
