//! `dcap-qvl` with `ring`: a quote against collateral, to the TCB's status. It applies no policy.

use crate::{Result, files, take_turns};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::verify::QuoteVerifier;
use serde::Deserialize;
use std::hint::black_box;

/// The document that `QuoteCollateralV3` is handed around as: binary members in hex.
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

/// Takes a quote, its collateral, the root in DER, and the time in seconds since 1970-01-01T00:00:00Z, as text.
pub fn run() -> Result<()> {
    let [quote, collateral, root, now] = files()?;
    let now = std::str::from_utf8(&now)?.parse()?;
    let verifier = QuoteVerifier::new(root);
    take_turns(|| {
        let collateral = parse(&collateral)?;
        black_box(verifier.verify(&quote, &collateral, now).map_err(|e| format!("{e:#}"))?);
        Ok(())
    })
}

fn parse(json: &[u8]) -> Result<QuoteCollateralV3> {
    let document: Document = serde_json::from_slice(json)?;
    Ok(QuoteCollateralV3 {
        pck_crl_issuer_chain: document.pck_crl_issuer_chain,
        root_ca_crl: hex::decode(document.root_ca_crl)?,
        pck_crl: hex::decode(document.pck_crl)?,
        tcb_info_issuer_chain: document.tcb_info_issuer_chain,
        tcb_info: document.tcb_info,
        tcb_info_signature: hex::decode(document.tcb_info_signature)?,
        qe_identity_issuer_chain: document.qe_identity_issuer_chain,
        qe_identity: document.qe_identity,
        qe_identity_signature: hex::decode(document.qe_identity_signature)?,
        pck_certificate_chain: None,
    })
}
