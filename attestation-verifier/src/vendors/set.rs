//! `POST /v1/endorsements`: the endorsements of the caller's own evidence, for it to staple.
//!
//! It answers out of what is kept: a chip is asked for by attesting, and by nothing else. Which chips are kept is the
//! operator's affair, so a VCEK goes to nobody but who shows a genuine report of that chip; who shows another gets what it
//! would get for a chip that is not kept. Chains and lists are public, and may be asked for here.

use super::{Asking, PATIENCE, Vendors};
use crate::Verifier;
use std::net::IpAddr;
use strongroom_appraisal::{Endorsements, UnixTime, authenticate};
use strongroom_endorsements::{Dated, Kind, Product};
use strongroom_wire::endorsements::EndorsementSet;
use strongroom_wire::evidence::Endorsement;
use strongroom_wire::snp::Report;
use strongroom_wire::{Code, Refusal, Result};
use tokio::time::Instant;

impl Verifier {
    /// The endorsements of `evidence`, a raw SNP report.
    ///
    /// # Errors
    /// `busy`: this peer asks too often; `endorsement-not-cached`: this verifier keeps none; `malformed`,
    /// `version-unsupported`, `signing-key-unsupported`, `platform-unsupported`: of the report; else as [`Verifier::supply`]
    /// of chains and lists.
    pub(crate) async fn endorsements(&self, evidence: &[u8], peer: Option<IpAddr>) -> Result<EndorsementSet> {
        let now = self.clock.now();
        let vendors = self.vendors.as_ref().ok_or_else(|| {
            Refusal::new(Code::EndorsementNotCached, "endorsements").got("none are kept").want("`[endorsements]`")
        })?;
        vendors.admit_unproven("endorsement sets", peer, now)?;
        let asking = Asking { peer, now, until: Instant::now() + PATIENCE };
        let report = Report::parse(evidence)?;
        let kind = Kind::of(&report)?;
        let mut certificates = Vec::new();
        let (mut products, mut expires, mut endorsement_key) =
            (Product::candidates(&report, None)?, UnixTime::MAX, false);
        if let Some((product, vcek)) = self.vcek_of_genuine(vendors, &report, asking).await? {
            (products, expires, endorsement_key) = (vec![product], vcek.expires, true);
            certificates.push(vcek.value);
        }
        let mut lists = Vec::new();
        for product in products {
            let authorities = vendors.authorities(kind, product, asking).await?;
            let list = vendors.list(kind, product, asking).await?;
            expires = expires.min(authorities.expires).min(list.expires);
            certificates.extend(authorities.value);
            lists.push(list.value);
        }
        let certificates = certificates.iter().map(|der| Endorsement::certificate(der));
        let endorsements = certificates.chain(lists.iter().map(|der| Endorsement::crl(der))).collect();
        Ok(EndorsementSet { v: 1, platform: "snp".to_owned(), endorsement_key, endorsements, expires })
    }

    /// The VCEK of `report` where it is kept, and signed it.
    async fn vcek_of_genuine(
        &self,
        vendors: &Vendors,
        report: &Report,
        asking: Asking,
    ) -> Result<Option<(Product, Dated<bytes::Bytes>)>> {
        let now = asking.now;
        // A masked chip id has none.
        if Kind::of(report)? != Kind::Vcek || report.chip_id == [0; 64] {
            return Ok(None);
        }
        let Some((product, vcek)) = vendors.fetcher.kept_vcek(report, now)? else { return Ok(None) };
        let mut endorsements = Endorsements::new();
        endorsements.add(&vcek.value)?;
        for authority in vendors.authorities(Kind::Vcek, product, asking).await?.value {
            endorsements.add(&authority)?;
        }
        match authenticate(report.raw(), &endorsements, &self.roots, now) {
            Ok(_) => Ok(Some((product, vcek))),
            Err(refusal) => {
                tracing::info!(%refusal, "endorsements asked for with a report that is not authentic");
                Ok(None)
            }
        }
    }
}
