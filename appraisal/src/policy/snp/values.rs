//! The values that only the `[snp]` section knows.

use core::fmt;
use serde::{Deserialize, Deserializer};

/// A version of the firmware's interface. `1.51` is newer than `1.50`, and `2.0` than both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Abi {
    /// ABI_MAJOR.
    pub major: u8,
    /// ABI_MINOR.
    pub minor: u8,
}

/// A version of the firmware: ordered by major, then minor, then build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// CURRENT_MAJOR or COMMITTED_MAJOR.
    pub major: u8,
    /// CURRENT_MINOR or COMMITTED_MINOR.
    pub minor: u8,
    /// CURRENT_BUILD or COMMITTED_BUILD.
    pub build: u8,
}

/// Bits of a 64-bit vector; written as the list of their numbers, 0 the lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitSet(pub u64);

impl Firmware {
    /// The version as a report has it: build, minor, major.
    pub(crate) const fn read([build, minor, major]: [u8; 3]) -> Self {
        Self { major, minor, build }
    }
}

impl BitSet {
    /// Whether it has no bit.
    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether every bit of `wanted` is set.
    pub(crate) const fn contains(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

impl fmt::Display for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.build)
    }
}

impl fmt::Display for BitSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no bit");
        }
        f.write_str("bits")?;
        (0..u64::BITS).filter(|bit| self.0 & (1 << bit) != 0).try_for_each(|bit| write!(f, " {bit}"))
    }
}

impl<'de> Deserialize<'de> for BitSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<u32>::deserialize(deserializer)?.into_iter().try_fold(Self(0), |set, bit| match 1u64.checked_shl(bit) {
            Some(bit) => Ok(Self(set.0 | bit)),
            None => Err(serde::de::Error::custom(format!("bit {bit} of 64 bits, the last of which is 63"))),
        })
    }
}
