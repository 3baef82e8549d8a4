//! The platforms that guests are judged on. Everything beside this folder is the same for all of them: what a guest shows is
//! [`Evidence`], what its vendor's root vouches for is [`Authentic`], and what satisfied a policy is [`Verified`].

mod authentic;
mod evidence;
mod given;
mod known;

pub(crate) use authentic::{Appraised, Authentic, Verified};
pub(crate) use evidence::{Evidence, Lacks};
pub(crate) use given::Given;
pub(crate) use known::KnownKeys;

use strongroom_appraisal::Expected;
use strongroom_wire::digest::Sha256;

/// What evidence has to be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound {
    /// Report data: what nonce and key come to. Where a TPM quotes, the start of it is the quote's nonce.
    pub(crate) report_data: [u8; 64],
    /// SHA-256 of the deployment document.
    pub(crate) document: Sha256,
}

impl From<Bound> for Expected {
    fn from(bound: Bound) -> Self {
        Self { report_data: Some(bound.report_data), deployment: Some(bound.document) }
    }
}
