//! Everything that goes into one SNP authentication; each test changes one field.

use super::pair::Outcome;
use std::sync::LazyLock;
use strongroom_appraisal::{AuthenticReport, Endorsements, Roots, authenticate_traced};
use strongroom_devkit::amd::{Hierarchy, Vek, VekSpec};
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::Code;

pub(crate) const NOW: u64 = 1_800_000_000;

pub(crate) static HIERARCHY: LazyLock<Hierarchy> = LazyLock::new(|| Hierarchy::shared().unwrap());
pub(crate) static ROOTS: LazyLock<Roots> = LazyLock::new(|| Roots::test(HIERARCHY.ark.certificate()).unwrap());

#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) spec: VekSpec,
    pub(crate) report: ReportSpec,
    pub(crate) intermediate: Vec<u8>,
    pub(crate) crls: Vec<Vec<u8>>,
    pub(crate) now: u64,
    /// A byte of the report whose lowest bit is flipped after it was signed.
    pub(crate) flip: Option<usize>,
}

impl Case {
    pub(crate) fn sound() -> Self {
        let intermediate = HIERARCHY.ask.certificate().to_vec();
        let (spec, report) = (VekSpec::default(), ReportSpec::default());
        Self { spec, report, intermediate, crls: vec![], now: NOW, flip: None }
    }

    pub(crate) fn vlek() -> Self {
        let intermediate = HIERARCHY.asvk.certificate().to_vec();
        let report = ReportSpec { key_info: 1 << 2, version: 2, chip_id: Some([0; 64]), ..ReportSpec::default() };
        Self { spec: VekSpec::vlek(), intermediate, report, ..Self::sound() }
    }

    pub(crate) fn turin() -> Self {
        let report = ReportSpec { cpuid: [0x1a, 0x02, 0x01], version: 5, ..ReportSpec::default() };
        Self { spec: VekSpec::turin(), report, ..Self::sound() }
    }

    pub(crate) fn run(self) -> Result<AuthenticReport, Code> {
        let vek = HIERARCHY.issue(self.spec.clone()).unwrap();
        self.run_with(&vek)
    }

    pub(crate) fn run_with(self, vek: &Vek) -> Result<AuthenticReport, Code> {
        self.traced(vek).map_err(|(_, code)| code)
    }

    /// The check that authentication ended at.
    pub(crate) fn outcome(self) -> Outcome {
        let vek = HIERARCHY.issue(self.spec.clone()).unwrap();
        self.traced(&vek).err()
    }

    fn traced(self, vek: &Vek) -> Result<AuthenticReport, (String, Code)> {
        let mut endorsements = Endorsements::new();
        endorsements.add(&vek.certificate).unwrap();
        endorsements.add(&self.intermediate).unwrap();
        for crl in &self.crls {
            endorsements.add(crl).unwrap();
        }
        let mut evidence = self.report.sign(vek).unwrap();
        if let Some(at) = self.flip {
            evidence[at] ^= 1;
        }
        let mut trace = Vec::new();
        authenticate_traced(&evidence, &endorsements, &ROOTS, self.now, &mut trace).map_err(|refusal| {
            let (last, others) = trace.split_last().unwrap();
            assert!(others.iter().all(|check| check.ok) && last.code == Some(refusal.code));
            (last.name.clone(), refusal.code)
        })
    }
}

pub(crate) fn refused(case: Case) -> Code {
    case.run().expect_err("accepted")
}
