//! GUIDs as UEFI writes them.

/// A GUID in the order of bytes that UEFI 2.10, appendix A, gives it: the first three groups little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guid(pub(crate) [u8; 16]);

impl Guid {
    /// The GUID of its five groups, of which the last two are one.
    pub(crate) const fn new(first: u32, second: u16, third: u16, rest: [u8; 8]) -> Self {
        let ([a, b, c, d], [e, f], [g, h]) = (first.to_le_bytes(), second.to_le_bytes(), third.to_le_bytes());
        let [i, j, k, l, m, n, o, p] = rest;
        Self([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
    }
}
