//! Where evidence comes from: the guest's security processor, asked for a report over 64 bytes of ours.
//!
//! What a guest believes of itself it has from the processor alone. An SNP report comes over a channel that the host has no part in; a
//! TDX quote comes from a service of the host's, so that what a TDX guest believes is TDREPORT, and its quote is handed on unread.

pub mod configfs_tsm;
pub mod socket;

pub use configfs_tsm::{ConfigfsTsm, Kernel};
pub use socket::Socket;

use crate::config::Config;
use core::fmt;
use std::path::Path;
use std::sync::Arc;
use strongroom_wire::attester::Quote;
use strongroom_wire::deployment;
use strongroom_wire::kbs::Tee;
use strongroom_wire::snp::Report;
use strongroom_wire::tdx::LocalReport;
use strongroom_wire::{Code, Refusal, Result};

/// An interface to the security processor. Calls block for as long as the processor takes (milliseconds, and more where
/// the host throttles it), so they are made outside the asynchronous runtime.
pub trait Attester: Send + Sync + fmt::Debug {
    /// Evidence over `report_data`, as the processor gave it. It is not looked into here.
    ///
    /// # Errors
    /// `attester-failed`, `io` or `timeout` the interface failed; `too-large` or `malformed` its answer is none.
    fn quote(&self, report_data: &[u8; 64]) -> Result<Quote>;

    /// Which platform the processor is of.
    fn tee(&self) -> Tee {
        Tee::Snp
    }

    /// TDREPORT over `report_data`, of a processor of TDX.
    ///
    /// # Errors
    /// `attester-failed` the interface failed; `malformed` its answer is none; `platform-unsupported` it is another platform's.
    fn local_report(&self, report_data: &[u8; 64]) -> Result<LocalReport> {
        let _ = report_data;
        Err(Refusal::new(Code::PlatformUnsupported, "TDREPORT").got(self.tee().platform()).want(Tee::Tdx.platform()))
    }
}

/// Evidence of this guest together with what its processor said of it, with the very report data that was asked for.
///
/// Nobody's signature was verified: an attester does not grade itself. What the report says is believed as far as the
/// processor's channel protects it, and only by this guest.
#[derive(Debug, Clone)]
pub struct OwnEvidence {
    quote: Quote,
    said: Said,
}

/// What the processor said over a channel that the host has no part in.
#[derive(Debug, Clone)]
enum Said {
    /// The report, which is the evidence too.
    Snp(Box<Report>),
    /// TDREPORT, beside a quote that the host could have written.
    Tdx(Box<LocalReport>),
}

impl OwnEvidence {
    /// Asks `attester` for evidence over `report_data`, off the asynchronous runtime.
    ///
    /// # Errors
    /// As [`Attester::quote`] and [`Attester::local_report`]; `malformed` or `version-unsupported` the evidence is no SNP report;
    /// `report-data-mismatch` the report carries other report data, as a confused or replayed interface would answer.
    pub async fn fetch(attester: Arc<dyn Attester>, report_data: [u8; 64]) -> Result<Self> {
        let own = tokio::task::spawn_blocking(move || Self::ask(attester.as_ref(), &report_data)).await;
        own.map_err(|e| Refusal::new(Code::Internal, "attester thread").because(e))?
    }

    fn ask(attester: &dyn Attester, report_data: &[u8; 64]) -> Result<Self> {
        let quote = attester.quote(report_data)?;
        let (said, carried) = match attester.tee() {
            Tee::Snp => {
                let report = Report::parse(&quote.evidence)?;
                let carried = report.report_data;
                (Said::Snp(Box::new(report)), carried)
            }
            Tee::Tdx => {
                let report = attester.local_report(report_data)?;
                (Said::Tdx(Box::new(report)), report.report_data)
            }
            other => return Err(Refusal::new(Code::PlatformUnsupported, "attester").got(other.platform())),
        };
        if carried != *report_data {
            return Err(Refusal::new(Code::ReportDataMismatch, "own report")
                .got(hex::encode(carried))
                .want(hex::encode(report_data)));
        }
        Ok(Self { quote, said })
    }

    /// Which platform it is of.
    pub const fn tee(&self) -> Tee {
        match self.said {
            Said::Snp(_) => Tee::Snp,
            Said::Tdx(_) => Tee::Tdx,
        }
    }

    /// The evidence as the processor gave it.
    pub const fn quote(&self) -> &Quote {
        &self.quote
    }

    /// The SNP report, of a guest on SNP.
    pub fn report(&self) -> Option<&Report> {
        match &self.said {
            Said::Snp(report) => Some(report),
            Said::Tdx(_) => None,
        }
    }

    /// The hardware's field for the digest of the deployment document, by its name: HOST_DATA, or MRCONFIGID of TDREPORT, in which zero
    /// bytes follow the digest.
    pub fn host_field(&self) -> (&'static str, &[u8]) {
        match &self.said {
            Said::Snp(report) => ("HOST_DATA", &report.host_data),
            Said::Tdx(report) => ("MRCONFIGID", &report.mrconfigid),
        }
    }
}

/// The attester that a deployment document names; `config` says where it is, not which.
///
/// # Errors
/// `configuration-invalid` the document names a socket, and the configuration has no path for it; as [`ConfigfsTsm::open`].
pub fn of_deployment(kind: deployment::Attester, config: &Config) -> Result<Arc<dyn Attester>> {
    match kind {
        deployment::Attester::ConfigfsTsm => Ok(Arc::new(ConfigfsTsm::open(Path::new(configfs_tsm::ROOT), Kernel)?)),
        deployment::Attester::Socket => {
            let path = config.attester_socket.as_deref().ok_or_else(|| {
                Refusal::new(Code::ConfigurationInvalid, "attester-socket")
                    .got("absent")
                    .want("a path, since the deployment document names attester `socket`")
            })?;
            Ok(Arc::new(Socket::new(path)))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use strongroom_wire::snp::{CertificateKind, CertificateTable, TableEntry};

    /// A processor without a signature: reports of version 2 with chosen HOST_DATA and whatever it is asked to carry.
    #[derive(Debug, Default)]
    pub(crate) struct Unsigned {
        pub(crate) host_data: [u8; 32],
        /// Carried in place of what was asked for.
        pub(crate) carries: Option<[u8; 64]>,
        /// Calls so far, and those that were answered.
        pub(crate) entered: AtomicUsize,
        pub(crate) answered: AtomicUsize,
        /// Held by a test to keep the processor busy.
        pub(crate) busy: Mutex<()>,
    }

    /// The host's table: a VCEK, and something that the KBS protocol has no name for.
    pub(crate) fn certificates() -> Vec<u8> {
        let entry = |kind, byte| TableEntry { kind, data: vec![byte] };
        let entries = vec![entry(CertificateKind::Vcek, 7), entry(CertificateKind::Other([9; 16]), 8)];
        CertificateTable { entries }.encode().unwrap()
    }

    impl Attester for Unsigned {
        fn quote(&self, report_data: &[u8; 64]) -> Result<Quote> {
            self.entered.fetch_add(1, Ordering::SeqCst);
            drop(self.busy.lock().unwrap());
            self.answered.fetch_add(1, Ordering::SeqCst);
            let mut evidence = vec![0; strongroom_wire::snp::REPORT_LEN];
            evidence[0] = 2;
            evidence[0x50..0x90].copy_from_slice(&self.carries.unwrap_or(*report_data));
            evidence[0xc0..0xe0].copy_from_slice(&self.host_data);
            Ok(Quote { evidence, certificates: certificates() })
        }
    }

    #[tokio::test]
    async fn own_report_with_the_report_data_asked_for_accepted() {
        let own = OwnEvidence::fetch(Arc::new(Unsigned::default()), [9; 64]).await.unwrap();
        assert_eq!(own.report().unwrap().report_data, [9; 64]);
    }

    #[tokio::test]
    async fn own_report_with_other_report_data_refused() {
        let attester = Unsigned { carries: Some([8; 64]), ..Unsigned::default() };
        let refusal = OwnEvidence::fetch(Arc::new(attester), [9; 64]).await.unwrap_err();
        assert_eq!(refusal.code, Code::ReportDataMismatch);
    }
}
