//! The chain of PAGE_INFO structures that is MEASUREMENT.

use crate::chain::{Hasher, PAGE, PAGE_U64, Sha384};
use crate::firmware::Pages;

/// Bytes of PAGE_INFO.
const LENGTH: u16 = 0x70;
/// Where the page of a vCPU's state is said to be: -1 as an address, cut to whole pages and to 48 bits.
const VCPU_ADDRESS: u64 = 0xFFFF_FFFF_F000;

/// PAGE_TYPE (§8.17.2, table 66).
#[derive(Debug, Clone, Copy)]
pub(super) enum PageType {
    Normal = 1,
    Vmsa = 2,
    Zero = 3,
    Unmeasured = 4,
    Secrets = 5,
    Cpuid = 6,
}

impl PageType {
    #[expect(clippy::as_conversions, reason = "the discriminant is the value on the wire")]
    const fn byte(self) -> u8 {
        self as u8
    }
}

/// SHA-384 of a page's contents, as PAGE_INFO carries it.
pub(super) fn contents(page: &[u8]) -> Sha384 {
    let mut hasher = Hasher::new();
    hasher.update(page);
    hasher.finish()
}

/// The digest that grows with every page of the launch.
pub(super) struct LaunchDigest(Sha384);

impl LaunchDigest {
    pub(super) const fn new() -> Self {
        Self([0; 48])
    }

    /// Adds `bytes`, whole pages of them, from `address` on.
    pub(super) fn add_contents(&mut self, address: u64, bytes: &[u8]) {
        for (page, at) in bytes.chunks(PAGE).zip(0_u64..) {
            let address = address.saturating_add(at.saturating_mul(PAGE_U64));
            self.add(PageType::Normal, address, &contents(page));
        }
    }

    /// Adds pages whose contents do not count: zeros, or what the security processor fills in itself.
    pub(super) fn add_empty(&mut self, page_type: PageType, pages: Pages) {
        for address in pages.addresses() {
            self.add(page_type, address, &[0; 48]);
        }
    }

    /// Adds the state of a vCPU by the digest of its page.
    pub(super) fn add_vcpu(&mut self, contents: &Sha384) {
        self.add(PageType::Vmsa, VCPU_ADDRESS, contents);
    }

    /// DIGEST_CUR ‖ CONTENTS ‖ LENGTH ‖ PAGE_TYPE ‖ IMI_PAGE, VMPL3 to VMPL1 permissions and a reserved byte, all zero ‖ GPA.
    fn add(&mut self, page_type: PageType, address: u64, contents: &Sha384) {
        let mut hasher = Hasher::new();
        hasher.update(&self.0);
        hasher.update(contents);
        hasher.update(&LENGTH.to_le_bytes());
        hasher.update(&[page_type.byte(), 0, 0, 0, 0, 0]);
        hasher.update(&address.to_le_bytes());
        self.0 = hasher.finish();
    }

    pub(super) const fn finish(self) -> Sha384 {
        self.0
    }
}
