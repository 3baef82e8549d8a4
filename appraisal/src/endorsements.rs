//! Endorsements as they are given: certificates, revocation lists, certificate tables and Intel's collateral, told apart by
//! content.

use crate::certificate::Certificate;
use crate::crl::Crl;
use crate::pem::read_pem;
use crate::tdx::Collateral;
use der::pem::PemLabel;
use strongroom_wire::snp::{CertificateKind, CertificateTable};
use strongroom_wire::{Code, Refusal, Result, limits};

/// What vendors vouch with. Nothing in it is trusted before it was verified under a root.
#[derive(Debug, Clone, Default)]
pub struct Endorsements {
    pub(crate) certificates: Vec<Certificate>,
    pub(crate) crls: Vec<Crl>,
    pub(crate) collateral: Vec<Collateral>,
}

impl Endorsements {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what `bytes` hold: PEM (any number of certificates and CRLs), a DER certificate, a DER CRL, a GHCB
    /// certificate table, or Intel's collateral as `QuoteCollateralV3` JSON. Entries of a table that are of no known kind are passed over.
    pub fn add(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.len() > limits::ENDORSEMENT {
            return Err(Refusal::too_large("endorsement", bytes.len(), limits::ENDORSEMENT));
        }
        if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
            for (label, der) in read_pem(bytes)? {
                match label.as_str() {
                    Self::CERTIFICATE => self.push_certificate(Certificate::parse(&der)?)?,
                    Self::CRL => self.push_crl(Crl::parse(&der)?)?,
                    _ => {
                        return Err(Refusal::new(Code::Malformed, "PEM label")
                            .got(label)
                            .want("CERTIFICATE or X509 CRL"));
                    }
                }
            }
            return Ok(());
        }
        if bytes.first() == Some(&0x30) {
            return match Certificate::parse(bytes) {
                Ok(certificate) => self.push_certificate(certificate),
                Err(not_a_certificate) => match Crl::parse(bytes) {
                    Ok(crl) => self.push_crl(crl),
                    Err(_) => Err(not_a_certificate),
                },
            };
        }
        if bytes.trim_ascii_start().starts_with(b"{") {
            let collateral = Collateral::parse(bytes)?;
            self.has_room()?;
            self.collateral.push(collateral);
            return Ok(());
        }
        for entry in CertificateTable::parse(bytes)?.entries {
            match entry.kind {
                CertificateKind::Other(_) => {}
                CertificateKind::Crl => self.push_crl(Crl::parse(&entry.data)?)?,
                _ => self.push_certificate(Certificate::parse(&entry.data)?)?,
            }
        }
        Ok(())
    }

    /// How many revocation lists are among them, AMD's and those of Intel's that are not part of collateral.
    pub const fn revocation_lists(&self) -> usize {
        self.crls.len()
    }

    const CERTIFICATE: &'static str = <x509_cert::Certificate as PemLabel>::PEM_LABEL;
    const CRL: &'static str = "X509 CRL";

    fn push_certificate(&mut self, certificate: Certificate) -> Result<()> {
        self.has_room()?;
        self.certificates.push(certificate);
        Ok(())
    }

    fn push_crl(&mut self, crl: Crl) -> Result<()> {
        self.has_room()?;
        self.crls.push(crl);
        Ok(())
    }

    fn has_room(&self) -> Result<()> {
        let held = [self.certificates.len(), self.crls.len(), self.collateral.len()]
            .into_iter()
            .fold(0, usize::saturating_add);
        if held < limits::ENDORSEMENTS {
            return Ok(());
        }
        Err(Refusal::too_large("endorsements", held.saturating_add(1), limits::ENDORSEMENTS))
    }
}
