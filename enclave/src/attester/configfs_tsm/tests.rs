use super::*;
use crate::attester::OwnEvidence;
use rustix::io::Errno;
use std::sync::Arc;
use strongroom_devkit::quote::QuoteSpec;

/// Does in a plain folder what the kernel does in configfs, for a guest of either platform.
#[derive(Debug, Clone)]
pub(crate) struct Played {
    pub(crate) provider: &'static str,
    /// How far the generation moves at one write: more than one where another process writes too.
    pub(crate) writes: u64,
    pub(crate) outblob: usize,
    /// MRCONFIGID in TDREPORT.
    pub(crate) mrconfigid: [u8; 48],
    /// MRCONFIGID in the quote, which the host writes.
    pub(crate) of_the_quote: [u8; 48],
    /// Carried by TDREPORT in place of what was asked for.
    pub(crate) carries: Option<[u8; 64]>,
    /// What the kernel refuses, and how.
    pub(crate) fails: Option<(&'static str, Errno)>,
}

pub(crate) const SNP: Played = Played {
    provider: "sev_guest\n",
    writes: 1,
    outblob: 1184,
    mrconfigid: [0; 48],
    of_the_quote: [0; 48],
    carries: None,
    fails: None,
};
pub(crate) const TDX: Played = Played { provider: "tdx_guest\n", ..SNP };

impl Played {
    fn act(&self, name: &str) -> io::Result<()> {
        match self.fails {
            Some((failing, errno)) if failing == name => Err(errno.into()),
            _ => Ok(()),
        }
    }

    fn is_snp(&self) -> bool {
        self.provider == SNP.provider
    }

    fn evidence(&self, report_data: &[u8]) -> Vec<u8> {
        if self.is_snp() {
            let mut evidence = vec![0; self.outblob];
            evidence[0] = 2;
            evidence[0x50..0x90].copy_from_slice(report_data);
            return evidence;
        }
        let report_data = report_data.try_into().unwrap();
        let spec = QuoteSpec { report_data, mrconfigid: self.of_the_quote, ..QuoteSpec::default() };
        let hierarchy = strongroom_devkit::intel::Hierarchy::generate().unwrap();
        spec.sign(&hierarchy.issue(Default::default()).unwrap()).unwrap()
    }
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

impl Tree for Played {
    fn create(&self, folder: &Path) -> io::Result<()> {
        self.act("folder")?;
        fs::create_dir(folder)?;
        fs::write(folder.join("provider"), self.provider)?;
        fs::write(folder.join("generation"), "4\n")
    }

    fn write(&self, attribute: &Path, bytes: &[u8]) -> io::Result<()> {
        self.act(name(attribute))?;
        let folder = attribute.parent().unwrap();
        match name(attribute) {
            "privlevel" if self.is_snp() => assert_eq!(bytes, b"0"),
            "inblob" => {
                fs::write(folder.join("outblob"), self.evidence(bytes))?;
                if self.is_snp() {
                    fs::write(folder.join("auxblob"), b"table")?;
                }
            }
            other => panic!("{other} is no attribute that can be written"),
        }
        let generation: u64 = fs::read_to_string(folder.join("generation"))?.trim().parse().unwrap();
        fs::write(folder.join("generation"), format!("{}\n", generation + self.writes))
    }

    fn read(&self, attribute: &Path, most: u64) -> io::Result<Vec<u8>> {
        self.act(name(attribute))?;
        Kernel.read(attribute, most)
    }

    fn remove(&self, folder: &Path) -> io::Result<()> {
        fs::remove_dir_all(folder)
    }

    fn td_report(&self, report_data: &[u8; tdx::REPORT_DATA]) -> io::Result<[u8; tdx::REPORT]> {
        self.act("tdx_guest")?;
        let mut report = [0; tdx::REPORT];
        report[0] = 0x81;
        report[128..192].copy_from_slice(&self.carries.unwrap_or(*report_data));
        report[576..624].copy_from_slice(&self.mrconfigid);
        Ok(report)
    }
}

/// The interface, and its folder.
fn open(tree: Played) -> (tempfile::TempDir, Result<ConfigfsTsm<Played>>) {
    let root = tempfile::tempdir().unwrap();
    let attester = ConfigfsTsm::open(root.path(), tree);
    (root, attester)
}

fn quote(tree: Played) -> Result<Quote> {
    let (root, attester) = open(tree);
    let quote = attester.and_then(|attester| attester.quote(&[5; 64]));
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "folder left behind");
    quote
}

#[test]
fn report_data_goes_in_and_evidence_and_table_come_back() {
    let quote = quote(SNP).unwrap();
    assert_eq!(quote.evidence[0x50..0x90], [5; 64]);
    assert_eq!(quote.evidence.len(), 1184);
    assert_eq!(quote.certificates, b"table");
}

#[test]
fn quote_of_tdx_comes_back_without_a_table() {
    let quote = quote(TDX).unwrap();
    let parsed = strongroom_wire::tdx::Quote::parse(&quote.evidence).unwrap();
    assert_eq!((parsed.body.report_data, quote.certificates), ([5; 64], Vec::new()));
}

#[test]
fn provider_of_another_platform_refused() {
    let refusal = quote(Played { provider: "arm_cca_guest\n", ..SNP }).unwrap_err();
    assert_eq!(refusal.code, Code::PlatformUnsupported);
    assert_eq!(refusal.got.as_deref(), Some("arm_cca_guest"));
}

#[test]
fn provider_that_is_another_one_at_the_next_request_refused() {
    let (_root, attester) = open(SNP);
    let mut attester = attester.unwrap();
    assert_eq!(attester.tee(), Tee::Snp);
    attester.tree = TDX;
    assert_eq!(attester.quote(&[5; 64]).unwrap_err().code, Code::AttesterFailed);
}

#[test]
fn folder_that_somebody_else_wrote_to_refused() {
    for platform in [SNP, TDX] {
        assert!(quote(platform.clone()).is_ok());
        assert_eq!(quote(Played { writes: 2, ..platform }).unwrap_err().code, Code::AttesterFailed);
    }
}

#[test]
fn outblob_over_the_limit_refused() {
    assert!(quote(Played { outblob: limits::EVIDENCE, ..SNP }).is_ok());
    let refusal = quote(Played { outblob: limits::EVIDENCE + 1, ..SNP }).unwrap_err();
    assert_eq!(refusal.code, Code::TooLarge);
}

/// What the kernel answers where there is no interface, where its host throttles or does not answer, where a level cannot be had, and
/// where somebody else writes meanwhile. It is named, and nothing stays behind.
#[test]
fn request_that_the_kernel_refuses_at_any_step_refused_by_the_step_s_name() {
    let both = ["folder", "provider", "generation", "inblob", "outblob"].map(|step| [(SNP, step), (TDX, step)]);
    let of_snp = [(SNP, "privlevel"), (SNP, "auxblob")];
    for (platform, step) in both.into_iter().flatten().chain(of_snp) {
        for errno in [Errno::IO, Errno::BUSY, Errno::INVAL, Errno::TIMEDOUT, Errno::WOULDBLOCK, Errno::NXIO] {
            let refusal = quote(Played { fails: Some((step, errno)), ..platform.clone() }).unwrap_err();
            assert_eq!(refusal.code, Code::AttesterFailed, "{step} {errno}");
            assert!(step == "folder" || refusal.to_string().contains(step), "{refusal}");
        }
    }
}

#[test]
fn machine_without_the_interface_refused() {
    let refusal = ConfigfsTsm::open(Path::new("/nonexistent/tsm/report"), Kernel).unwrap_err();
    assert_eq!(refusal.code, Code::AttesterFailed);
}

#[test]
fn machine_without_tdx_has_no_tdreport() {
    let (_root, attester) = open(Played { fails: Some(("tdx_guest", Errno::NOENT)), ..TDX });
    assert_eq!(attester.unwrap().local_report(&[5; 64]).unwrap_err().code, Code::AttesterFailed);
}

async fn own(tree: Played) -> Result<OwnEvidence> {
    let (_root, attester) = open(tree);
    OwnEvidence::fetch(Arc::new(attester?), [5; 64]).await
}

#[tokio::test]
async fn tdx_guest_believes_mrconfigid_of_tdreport_and_never_that_of_its_quote() {
    let own = own(Played { mrconfigid: [1; 48], of_the_quote: [2; 48], ..TDX }).await.unwrap();
    assert_eq!(own.host_field(), ("MRCONFIGID", &[1; 48][..]));
    assert_eq!((own.tee(), own.report().is_none()), (Tee::Tdx, true));
}

#[tokio::test]
async fn tdreport_with_the_report_data_asked_for_accepted_and_with_other_refused() {
    assert!(own(TDX).await.is_ok());
    let refusal = own(Played { carries: Some([6; 64]), ..TDX }).await.unwrap_err();
    assert_eq!(refusal.code, Code::ReportDataMismatch);
}

#[tokio::test]
async fn tdreport_that_cannot_be_had_is_made_up_for_by_no_quote() {
    let refusal = own(Played { fails: Some(("tdx_guest", Errno::IO)), ..TDX }).await.unwrap_err();
    assert_eq!(refusal.code, Code::AttesterFailed);
}
