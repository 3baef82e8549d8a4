//! Intel's collateral as it is handed around: `QuoteCollateralV3` (`sgx_ql_qve_collateral_t`, major version 3) in JSON.

use crate::certificate::Certificate;
use crate::crl::Crl;
use crate::pem::read_pem;
use serde::Deserialize;
use std::sync::Arc;
use strongroom_wire::{Refusal, Result, limits};

/// One collateral set. Nothing in it is trusted before [`super::VerifiedCollateral::verify`].
#[derive(Debug, Clone)]
pub struct Collateral {
    /// The authority that issued the PCK, and whoever issued it.
    pub(super) pck_crl_issuer_chain: Vec<Certificate>,
    pub(super) root_ca_crl: Arc<Crl>,
    pub(super) pck_crl: Arc<Crl>,
    pub(super) tcb_info: SignedText,
    pub(super) qe_identity: SignedText,
}

/// A JSON text and who signed it.
#[derive(Debug, Clone)]
pub(super) struct SignedText {
    /// The very text that is signed.
    pub(super) text: String,
    /// ECDSA P-256: R and S, big-endian.
    pub(super) signature: [u8; 64],
    pub(super) issuer_chain: Vec<Certificate>,
}

/// Other members (version, TEE type, the PCK chain of another quote) say nothing that is not signed elsewhere.
#[derive(Deserialize)]
struct Document {
    pck_crl_issuer_chain: String,
    root_ca_crl: String,
    pck_crl: String,
    tcb_info_issuer_chain: String,
    tcb_info: String,
    tcb_info_signature: String,
    qe_identity_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
}

impl Collateral {
    /// Parses the JSON form: chains in PEM, revocation lists in DER as hex or in PEM, signatures as hex, TCB info and QE
    /// identity as the texts that are signed.
    ///
    /// # Errors
    /// `malformed`; `too-large`.
    pub fn parse(json: &[u8]) -> Result<Self> {
        if json.len() > limits::ENDORSEMENT {
            return Err(Refusal::too_large("collateral", json.len(), limits::ENDORSEMENT));
        }
        let document: Document = serde_json::from_slice(json).map_err(|e| Refusal::malformed("collateral", e))?;
        let mut known = Known::new();
        let pck_crl_issuer_chain = known_chain(&document.pck_crl_issuer_chain, "pck_crl_issuer_chain", &mut known)?;
        let tcb_info_issuer_chain = known_chain(&document.tcb_info_issuer_chain, "tcb_info_issuer_chain", &mut known)?;
        // One key signs both today; what was just parsed is not parsed again.
        let qe_identity_issuer_chain = if document.qe_identity_issuer_chain == document.tcb_info_issuer_chain {
            tcb_info_issuer_chain.clone()
        } else {
            known_chain(&document.qe_identity_issuer_chain, "qe_identity_issuer_chain", &mut known)?
        };
        Ok(Self {
            pck_crl_issuer_chain,
            root_ca_crl: crl(&document.root_ca_crl, "root_ca_crl")?,
            pck_crl: crl(&document.pck_crl, "pck_crl")?,
            tcb_info: SignedText {
                text: document.tcb_info,
                signature: signature(&document.tcb_info_signature, "tcb_info_signature")?,
                issuer_chain: tcb_info_issuer_chain,
            },
            qe_identity: SignedText {
                text: document.qe_identity,
                signature: signature(&document.qe_identity_signature, "qe_identity_signature")?,
                issuer_chain: qe_identity_issuer_chain,
            },
        })
    }
}

/// Certificates that were parsed, by their bytes: one root stands in every chain.
type Known = Vec<(Vec<u8>, Certificate)>;

/// Certificates of a PEM text, leaf first; never more than a chain of Intel's has.
pub(super) fn chain(pem: &str, what: &str) -> Result<Vec<Certificate>> {
    known_chain(pem, what, &mut Known::new())
}

fn known_chain(pem: &str, what: &str, known: &mut Known) -> Result<Vec<Certificate>> {
    let blocks = read_pem(pem.as_bytes()).map_err(|refusal| refusal.within(what))?;
    if blocks.is_empty() || blocks.len() > 3 || blocks.iter().any(|(label, _)| label != "CERTIFICATE") {
        return Err(Refusal::malformed(what, "not one to three certificates"));
    }
    let parse = |(_, der): (String, Vec<u8>)| {
        if let Some((_, certificate)) = known.iter().find(|(known, _)| *known == der) {
            return Ok(certificate.clone());
        }
        let certificate = Certificate::parse(&der).map_err(|refusal| refusal.within(what))?;
        known.push((der, certificate.clone()));
        Ok(certificate)
    };
    blocks.into_iter().map(parse).collect()
}

fn crl(text: &str, what: &str) -> Result<Arc<Crl>> {
    let der = if text.starts_with("-----BEGIN") {
        match read_pem(text.as_bytes())?.as_slice() {
            [(label, der)] if label == "X509 CRL" => der.clone(),
            _ => return Err(Refusal::malformed(what, "not exactly one X509 CRL")),
        }
    } else {
        hex::decode(text).map_err(|e| Refusal::malformed(what, e))?
    };
    Crl::parse(&der).map(Arc::new).map_err(|refusal| refusal.within(what))
}

fn signature(text: &str, what: &str) -> Result<[u8; 64]> {
    let mut signature = [0; 64];
    hex::decode_to_slice(text, &mut signature).map_err(|e| Refusal::malformed(what, e))?;
    Ok(signature)
}
