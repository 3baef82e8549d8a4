//! Manifests (distribution specification 1.1, "Pulling manifests", "Pushing Manifests").

use crate::auth::Scope;
use crate::client::{Call, RegistryClient};
use crate::content::Content;
use crate::reference::Reference;
use crate::status;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, limits};

/// The media type of an image manifest (image specification 1.1).
pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an image index (image specification 1.1).
pub(crate) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const ACCEPTED: HeaderValue = HeaderValue::from_static(
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json",
);
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// A manifest's bytes, of which nothing but the digest is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedManifest {
    /// The bytes as stored, at most [`limits::MANIFEST`].
    pub bytes: Bytes,
    /// Their digest, computed here.
    pub digest: Sha256,
}

/// What a registry said to a manifest that was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushedManifest {
    /// The digest of the bytes that were pushed.
    pub digest: Sha256,
    /// The subject in whose referrers list the registry says that it is now (`OCI-Subject`).
    pub recorded_subject: Option<Sha256>,
}

impl RegistryClient {
    /// The manifest that `reference` names: by its digest, else its tag, else the tag `latest`. With a digest, the bytes are
    /// those of the digest; with a tag, the registry alone says which they are.
    ///
    /// # Errors
    /// `registry-not-found`, `registry-unauthorized`, `registry-failed`; `manifest-digest-mismatch` other bytes than the digest's;
    /// `too-large`; or what the connection failed with.
    pub async fn manifest(&self, reference: &Reference) -> Result<FetchedManifest> {
        self.serves(reference)?;
        if let Some(digest) = reference.digest() {
            for mirror in self.mirrors() {
                match mirror.client.fetch_manifest(&mirror.reference(reference.repository(), digest)?).await {
                    Ok(manifest) => return Ok(manifest),
                    Err(refusal) => tracing::debug!(%refusal, "mirror failed"),
                }
            }
        }
        self.fetch_manifest(reference).await
    }

    async fn fetch_manifest(&self, reference: &Reference) -> Result<FetchedManifest> {
        let what = format!("manifest `{reference}`");
        let uri = self.url(&format!("{}/manifests/{}", reference.repository(), reference.selector()))?;
        let call = Call::new(Method::GET, uri, Scope::pull(reference.repository())).header(header::ACCEPT, ACCEPTED);
        let (head, bytes) = self.fetch(&call, limits::MANIFEST, &what).await?;
        let digest = Sha256::of(&bytes);
        let stated = head.headers.get(&CONTENT_DIGEST).and_then(|value| value.to_str().ok());
        // A registry may state another algorithm's digest; only one that can be compared is.
        let stated = stated.and_then(|text| Sha256::from_oci(text).ok());
        for want in [reference.digest(), stated].into_iter().flatten() {
            if digest != want {
                return Err(Refusal::new(Code::ManifestDigestMismatch, what).got(digest.oci()).want(want.oci()));
            }
        }
        Ok(FetchedManifest { bytes, digest })
    }

    /// Pushes a manifest of `media_type` under `reference`: its digest, which must be the bytes', else its tag. Every blob it
    /// names must be there already.
    ///
    /// # Errors
    /// `registry-unauthorized`, `registry-failed`; `manifest-digest-mismatch` the registry took other bytes; or what the connection
    /// failed with.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<PushedManifest> {
        self.serves(reference)?;
        let bytes = bytes.into();
        let what = format!("push of manifest `{reference}`");
        let digest = Sha256::of(&bytes);
        let mismatch = |got: Sha256, want: Sha256| {
            Err(Refusal::new(Code::ManifestDigestMismatch, &what).got(got.oci()).want(want.oci()))
        };
        if let Some(want) = reference.digest().filter(|want| *want != digest) {
            return mismatch(digest, want);
        }
        let kind = HeaderValue::from_str(media_type).map_err(|e| Refusal::malformed("media type", e))?;
        let uri = self.url(&format!("{}/manifests/{}", reference.repository(), reference.selector()))?;
        let call =
            Call::new(Method::PUT, uri, Scope::push(reference.repository())).content(kind, Content::Bytes(bytes));
        let response = status::expect(self.send(&call).await?, &[StatusCode::CREATED], &what).await?;
        let stated = response.headers().get(&CONTENT_DIGEST).and_then(|value| value.to_str().ok());
        if let Some(stated) = stated.and_then(|text| Sha256::from_oci(text).ok()).filter(|stated| *stated != digest) {
            return mismatch(stated, digest);
        }
        let recorded = response.headers().get(&SUBJECT).and_then(|value| value.to_str().ok());
        Ok(PushedManifest { digest, recorded_subject: recorded.and_then(|text| Sha256::from_oci(text).ok()) })
    }
}
