//! Endorsements as they are given: certificates, revocation lists and certificate tables, told apart by content.

use crate::certificate::Certificate;
use crate::crl::Crl;
use der::pem::PemLabel;
use strongroom_wire::snp::{CertificateKind, CertificateTable};
use strongroom_wire::{Code, Refusal, Result, limits};

/// What vendors vouch with. Nothing in it is trusted before it was verified under a root.
#[derive(Debug, Clone, Default)]
pub struct Endorsements {
    pub(crate) certificates: Vec<Certificate>,
    pub(crate) crls: Vec<Crl>,
}

impl Endorsements {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what `bytes` hold: PEM (any number of certificates and CRLs), a DER certificate, a DER CRL, or a GHCB
    /// certificate table. Entries of a table that are of no known kind are passed over.
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
        for entry in CertificateTable::parse(bytes)?.entries {
            match entry.kind {
                CertificateKind::Other(_) => {}
                CertificateKind::Crl => self.push_crl(Crl::parse(&entry.data)?)?,
                _ => self.push_certificate(Certificate::parse(&entry.data)?)?,
            }
        }
        Ok(())
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
        let held = self.certificates.len().saturating_add(self.crls.len());
        if held < limits::ENDORSEMENTS {
            return Ok(());
        }
        Err(Refusal::too_large("endorsements", held.saturating_add(1), limits::ENDORSEMENTS))
    }
}

/// The blocks of a PEM text (RFC 7468), each with its label. Text between blocks is passed over.
pub(crate) fn read_pem(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let text = core::str::from_utf8(bytes).map_err(|e| Refusal::malformed("PEM", e))?;
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines().map(str::trim_end) {
        if line.starts_with("-----BEGIN ") {
            block = Some(String::new());
        }
        if let Some(open) = &mut block {
            open.push_str(line);
            open.push('\n');
        }
        if line.starts_with("-----END ") {
            let whole = block.take().ok_or_else(|| Refusal::malformed("PEM", "END without BEGIN"))?;
            let (label, der) = der::pem::decode_vec(whole.as_bytes()).map_err(|e| Refusal::malformed("PEM", e))?;
            blocks.push((label.to_owned(), der));
        }
    }
    match block {
        None => Ok(blocks),
        Some(_) => Err(Refusal::malformed("PEM", "BEGIN without END")),
    }
}
