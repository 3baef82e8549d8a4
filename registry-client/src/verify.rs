//! The recipe: from a reference to a manifest that enough trusted signers signed, and that is promoted where that is demanded.

use crate::client::RegistryClient;
use crate::reference::Reference;
use crate::signatures::{Found, fetch_bundles, fetch_simple};
use strongroom_artifact::ladder::{ManifestSignature, SignedModel, TrustedModel, is_about_signatures, verify_manifest};
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::TrustFile;
use strongroom_wire::{Refusal, Result};

/// What a registry shows of a manifest.
#[derive(Debug)]
pub struct Shown {
    /// The manifest, where enough trusted signers signed it.
    pub signed: Result<SignedModel>,
    /// The bundles that state a promotion or demotion, whoever signed them. They are to be kept whatever else is refused.
    pub statements: Vec<Vec<u8>>,
    /// Why there may be more of them. Who demands a promotion refuses with this: what is missing may be a demotion.
    pub unread: Option<Refusal>,
}

/// [`verify_signed`], and that the model is promoted at `now`, in seconds of Unix time, where `trust` demands it: by the
/// statements that the registry gives. What it hides is not known here.
///
/// # Errors
/// As [`verify_signed`], its [`Shown::signed`] and, where a promotion is demanded, its [`Shown::unread`]; as
/// [`SignedModel::promoted`].
pub async fn verify_model(
    client: &RegistryClient,
    reference: &Reference,
    trust: &TrustFile,
    now: u64,
) -> Result<TrustedModel> {
    let Shown { signed, statements, unread } = verify_signed(client, reference, trust).await?;
    let mut signed = signed?;
    if let Some(promotions) = signed.promotions() {
        unread.map_or(Ok(()), |unread| Err(unread.within("promotions of the model")))?;
        for bundle in &statements {
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
/// 6. Give, whatever came of it, the bundles that state a promotion or demotion, and why there may be more.
///
/// # Errors
/// `registry-…`, `network`, `timeout`, `manifest-digest-mismatch`, `too-large`: the manifest or the list of referrers could not be
/// had. [`Shown::signed`] has these of signatures, and the codes of [`verify_manifest`].
pub async fn verify_signed(client: &RegistryClient, reference: &Reference, trust: &TrustFile) -> Result<Shown> {
    // 1.
    let fetched = client.manifest(reference).await?;
    let judge = |signatures: &[ManifestSignature]| {
        verify_manifest(&fetched.bytes, &fetched.digest, &reference.name(), signatures, trust)
    };
    // 2.
    let Found { mut signatures, failure, promotions, unread } =
        fetch_bundles(client, reference, fetched.digest).await?;
    // 3.
    let signed = match judge(&signatures) {
        // 4.
        Err(refusal) if is_about_signatures(&refusal) => match fetch_simple(client, reference, fetched.digest).await {
            Ok(simple) => {
                signatures.extend(simple.signatures);
                // 5.
                judge(&signatures).map_err(|refusal| match failure.or(simple.failure) {
                    Some(failure) if is_about_signatures(&refusal) => failure,
                    _ => refusal,
                })
            }
            Err(failed) => Err(failed),
        },
        outcome => outcome,
    };
    // 6.
    Ok(Shown { signed, statements: promotions, unread })
}

/// The bundles beside the manifest `subject` that state a promotion or demotion, whoever signed them.
///
/// # Errors
/// `registry-…`, `network`, `timeout`; `too-large`: what could not be had may be one of them.
pub async fn fetch_promotions(client: &RegistryClient, reference: &Reference, subject: Sha256) -> Result<Vec<Vec<u8>>> {
    let found = fetch_bundles(client, reference, subject).await?;
    found.unread.map_or(Ok(found.promotions), Err)
}
