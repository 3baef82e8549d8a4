//! The evidence that is measured: one SNP report and one TDX quote of devkit's hierarchies, each with all that a host hands
//! its guest beside it.

#![allow(dead_code, reason = "each bench uses its part")]

use std::hint::black_box;
use std::sync::Arc;
use strongroom_appraisal::tdx::{self, VerifiedPlatform};
use strongroom_appraisal::{Endorsements, Expected, Policy, Roots, VerifiedVek, appraise, authenticate};
use strongroom_devkit::amd::{Hierarchy, VekSpec};
use strongroom_devkit::intel::{self, CollateralSpec, PckSpec};
use strongroom_devkit::quote::QuoteSpec;
use strongroom_devkit::report::ReportSpec;

/// 2027-01-15T08:00:00Z.
pub(crate) const NOW: u64 = 1_800_000_000;

/// A report with its GHCB certificate table: VCEK, ASK, ARK and the ARK's revocation list.
pub(crate) struct Snp {
    pub(crate) report: Vec<u8>,
    pub(crate) table: Vec<u8>,
    pub(crate) ark: Vec<u8>,
    pub(crate) ask: Vec<u8>,
    pub(crate) vcek: Vec<u8>,
    roots: Roots,
    policy: Policy,
    kept: Arc<VerifiedVek>,
}

/// A quote with its collateral in JSON: chains, both revocation lists, TCB info, QE identity.
pub(crate) struct Tdx {
    pub(crate) quote: Vec<u8>,
    pub(crate) collateral: Vec<u8>,
    pub(crate) root: Vec<u8>,
    roots: Roots,
    policy: Policy,
    kept: Arc<VerifiedPlatform>,
}

impl Snp {
    pub(crate) fn new() -> Self {
        let hierarchy = Hierarchy::shared().unwrap();
        let vek = hierarchy.issue(VekSpec::default()).unwrap();
        let report = ReportSpec::default().sign(&vek).unwrap();
        let table = hierarchy.certificate_table(&vek).unwrap().encode().unwrap();
        let roots = Roots::test(hierarchy.ark.certificate()).unwrap();
        let mut endorsements = Endorsements::new();
        endorsements.add(&table).unwrap();
        let kept = Arc::clone(authenticate(&report, &endorsements, &roots, NOW).unwrap().endorsement_key());
        let (ark, ask) = (hierarchy.ark.certificate().to_vec(), hierarchy.ask.certificate().to_vec());
        Self { report, table, ark, ask, vcek: vek.certificate, roots, policy: Policy::platform_defaults(), kept }
    }

    /// From bytes to every check of a policy, nothing kept but the trusted root.
    pub(crate) fn verify_from_scratch(&self) {
        let mut endorsements = Endorsements::new();
        endorsements.add(&self.table).unwrap();
        let authentic = authenticate(&self.report, &endorsements, &self.roots, NOW).unwrap();
        black_box(appraise(&authentic, &self.policy, &Expected::UNBOUND));
    }

    /// The same for a report of a key that was verified before.
    pub(crate) fn verify_with_chain_kept(&self) {
        let authentic = self.kept.authenticate(&self.report, NOW).unwrap();
        black_box(appraise(&authentic, &self.policy, &Expected::UNBOUND));
    }
}

impl Tdx {
    pub(crate) fn new() -> Self {
        let hierarchy = intel::Hierarchy::generate().unwrap();
        let pck = hierarchy.issue(PckSpec::default()).unwrap();
        let quote = QuoteSpec::default().sign(&pck).unwrap();
        let collateral = hierarchy.collateral(&CollateralSpec::default()).unwrap();
        let root = hierarchy.root.certificate().to_vec();
        let roots = Roots::test(&root).unwrap();
        let mut endorsements = Endorsements::new();
        endorsements.add(&collateral).unwrap();
        let kept = Arc::clone(tdx::authenticate(&quote, &endorsements, &roots, NOW).unwrap().platform());
        Self { quote, collateral, root, roots, policy: Policy::platform_defaults(), kept }
    }

    /// From bytes to every check of a policy, nothing kept but the trusted root.
    pub(crate) fn verify_from_scratch(&self) {
        let mut endorsements = Endorsements::new();
        endorsements.add(&self.collateral).unwrap();
        let authentic = tdx::authenticate(&self.quote, &endorsements, &self.roots, NOW).unwrap();
        black_box(tdx::appraise(&authentic, &self.policy, &Expected::UNBOUND));
    }

    /// The same for a quote of a platform that was verified before.
    pub(crate) fn verify_with_collateral_kept(&self) {
        let authentic = self.kept.authenticate(&self.quote, NOW).unwrap();
        black_box(tdx::appraise(&authentic, &self.policy, &Expected::UNBOUND));
    }
}
