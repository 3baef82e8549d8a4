//! SHA-384, and the arithmetic of pages.

use aws_lc_rs::digest;

/// A SHA-384 digest: what both platforms measure with.
pub type Sha384 = [u8; 48];

/// Bytes of a page of guest memory.
pub(crate) const PAGE: usize = 4096;
/// [`PAGE`] as addresses count.
pub(crate) const PAGE_U64: u64 = 4096;

/// SHA-384 over what is given to it piece by piece.
pub(crate) struct Hasher(digest::Context);

impl Hasher {
    pub(crate) fn new() -> Self {
        Self(digest::Context::new(&digest::SHA384))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Sha384 {
        let mut out = [0; 48];
        for (to, from) in out.iter_mut().zip(self.0.finish().as_ref()) {
            *to = *from;
        }
        out
    }
}

/// Writes `bytes` into `page` from `offset` on; what has no room there is a bug of the caller's layout, which its tests see.
pub(crate) fn put(page: &mut [u8], offset: usize, bytes: &[u8]) {
    for (to, from) in page.iter_mut().skip(offset).zip(bytes) {
        *to = *from;
    }
}
