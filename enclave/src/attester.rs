//! Where evidence comes from: the guest's security processor, asked for a report over 64 bytes of ours.

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
use strongroom_wire::snp::Report;
use strongroom_wire::{Code, Refusal, Result};

/// An interface to the security processor. Calls block for as long as the processor takes (milliseconds, and more where
/// the host throttles it), so they are made outside the asynchronous runtime.
pub trait Attester: Send + Sync + fmt::Debug {
    /// Evidence over `report_data`, as the processor gave it. It is not looked into here.
    ///
    /// # Errors
    /// `attester-failed`, `io` or `timeout` the interface failed; `too-large` or `malformed` its answer is none.
    fn quote(&self, report_data: &[u8; 64]) -> Result<Quote>;
}

/// Evidence of this guest together with its parsed report, which carries the very report data that was asked for.
///
/// Nobody's signature was verified: an attester does not grade itself. What the report says is believed as far as the
/// processor's channel protects it, and only by this guest.
#[derive(Debug, Clone)]
pub struct OwnEvidence {
    quote: Quote,
    report: Report,
}

impl OwnEvidence {
    /// Asks `attester` for evidence over `report_data`, off the asynchronous runtime.
    ///
    /// # Errors
    /// As [`Attester::quote`]; `malformed` or `version-unsupported` the evidence is no SNP report; `report-data-mismatch` it
    /// carries other report data, as a confused or replayed interface would answer.
    pub async fn fetch(attester: Arc<dyn Attester>, report_data: [u8; 64]) -> Result<Self> {
        let quote = tokio::task::spawn_blocking(move || attester.quote(&report_data)).await;
        let quote = quote.map_err(|e| Refusal::new(Code::Internal, "attester thread").because(e))??;
        let report = Report::parse(&quote.evidence)?;
        if report.report_data != report_data {
            return Err(Refusal::new(Code::ReportDataMismatch, "own report")
                .got(hex::encode(report.report_data))
                .want(hex::encode(report_data)));
        }
        Ok(Self { quote, report })
    }

    /// The evidence as the processor gave it.
    pub const fn quote(&self) -> &Quote {
        &self.quote
    }

    /// What its report says.
    pub const fn report(&self) -> &Report {
        &self.report
    }
}

/// The attester that a deployment document names; `config` says where it is, not which.
///
/// # Errors
/// `configuration-invalid` the document names a socket, and the configuration has no path for it.
pub fn of_deployment(kind: deployment::Attester, config: &Config) -> Result<Arc<dyn Attester>> {
    match kind {
        deployment::Attester::ConfigfsTsm => Ok(Arc::new(ConfigfsTsm::new(Path::new(configfs_tsm::ROOT), Kernel))),
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
        assert_eq!(own.report().report_data, [9; 64]);
    }

    #[tokio::test]
    async fn own_report_with_other_report_data_refused() {
        let attester = Unsigned { carries: Some([8; 64]), ..Unsigned::default() };
        let refusal = OwnEvidence::fetch(Arc::new(attester), [9; 64]).await.unwrap_err();
        assert_eq!(refusal.code, Code::ReportDataMismatch);
    }
}
