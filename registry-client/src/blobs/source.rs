//! Where the bytes of one blob come from: the mirrors in their order, then the registry itself.

use crate::auth::Scope;
use crate::client::{Call, RegistryClient};
use core::sync::atomic::{AtomicUsize, Ordering};
use http::{HeaderValue, Method};
use std::sync::OnceLock;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// One blob, and everybody who may have it. Whoever gives it, the digest decides.
pub(super) struct Source {
    mirrors: Vec<Place>,
    origin: Place,
    /// The mirrors that failed: the first ones.
    passed: AtomicUsize,
    what: String,
    digest: Sha256,
    size: u64,
}

/// One registry that may have the blob.
pub(super) struct Place {
    pub(super) client: RegistryClient,
    pub(super) call: Call,
    /// The strong entity tag (RFC 9110 §8.8.3) that it gave first: a range of other content is none of this blob.
    pub(super) tag: OnceLock<HeaderValue>,
}

impl Source {
    pub(super) fn new(client: &RegistryClient, repository: &str, digest: Sha256, size: u64) -> Result<Self> {
        let place = |client: &RegistryClient, repository: &str| {
            let uri = client.url(&format!("{repository}/blobs/{}", digest.oci()))?;
            let call = Call::new(Method::GET, uri, Scope::pull(repository));
            Ok::<_, Refusal>(Place { client: client.clone(), call, tag: OnceLock::new() })
        };
        let mirrors = client.mirrors().iter().map(|mirror| place(&mirror.client, &mirror.repository(repository)));
        let mirrors = mirrors.collect::<Result<Vec<_>>>()?;
        let what = format!("blob `{}/{repository}@{}`", client.host(), digest.oci());
        let origin = place(client, repository)?;
        Ok(Self { mirrors, origin, passed: AtomicUsize::new(0), what, digest, size })
    }

    pub(super) fn what(&self) -> &str {
        &self.what
    }

    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// The client that was asked for the blob.
    pub(super) const fn client(&self) -> &RegistryClient {
        &self.origin.client
    }

    /// Whom to ask now, with its number.
    pub(super) fn place(&self) -> (usize, &Place) {
        let number = self.passed.load(Ordering::Relaxed);
        (number, self.mirrors.get(number).unwrap_or(&self.origin))
    }

    /// Place `number` failed with `refusal`: the next one is asked from now on. There is none after the registry itself.
    pub(super) fn pass_over(&self, number: usize, refusal: Refusal) -> Result<()> {
        if number >= self.mirrors.len() {
            return Err(refusal.within(&self.what));
        }
        tracing::debug!(%refusal, what = self.what, "mirror failed");
        self.passed.fetch_max(number.saturating_add(1), Ordering::Relaxed);
        Ok(())
    }

    /// Tells the client's listener of bytes that came.
    pub(super) fn report(&self, length: usize) {
        self.origin.client.report(self.digest, u64::try_from(length).unwrap_or(u64::MAX));
    }

    /// Refuses `digest` where it is not the blob's.
    pub(super) fn compare(&self, digest: Sha256) -> Result<()> {
        if digest == self.digest {
            return Ok(());
        }
        Err(Refusal::new(Code::LayerDigestMismatch, &self.what).got(digest.oci()).want(self.digest.oci()))
    }
}
