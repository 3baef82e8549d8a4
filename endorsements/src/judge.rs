//! Who says whether what vendors publish for everybody is genuine: not this crate, which knows no root.

use crate::UnixTime;
use crate::kds::Product;
use std::sync::Arc;
use strongroom_wire::Result;

/// What a vendor publishes for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// AMD's, of that product: ASK or ASVK, and ARK, in PEM.
    Authorities(Product),
    /// AMD's, of that product: the ARK's revocation list, in DER.
    List(Product),
    /// Intel's of one kind of platform: `QuoteCollateralV3` as JSON.
    Collateral,
}

/// What is to be kept, or was.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// What it is said to be.
    pub part: Published,
    /// It.
    pub bytes: &'a [u8],
    /// What it would take the place of, which may be anything. `None` where it is what is kept.
    pub kept: Option<&'a [u8]>,
    /// When.
    pub now: UnixTime,
}

type Verify = dyn Fn(&Offered<'_>) -> Result<()> + Send + Sync;

/// Refuses what is not genuine.
#[derive(Clone)]
pub(crate) struct Judge(Arc<Verify>);

impl core::fmt::Debug for Judge {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Judge")
    }
}

impl Judge {
    pub(crate) fn of(verify: impl Fn(&Offered<'_>) -> Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(verify))
    }

    pub(crate) fn verify(&self, offered: &Offered<'_>) -> Result<()> {
        (self.0)(offered)
    }
}
