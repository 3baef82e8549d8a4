//! Intel's Provisioning Certification Service, version 4 (Intel SGX and TDX Provisioning Certification Service, API
//! specification), and services that speak like it: a PCCS, a mirror.

mod answer;

use crate::UnixTime;
use crate::certificate::crl_expires;
use crate::http::Asker;
use crate::platform::Platform;
use answer::{crl, header_chain, signed_member};
use der::DateTime;
use serde::{Deserialize, Serialize};
use strongroom_wire::{Code, Refusal, Result, limits};

/// Intel's own service.
pub const PCS: &str = "https://api.trustedservices.intel.com";

/// Where Intel keeps its root's revocation list. A PCCS has it beside the rest.
const ROOT_CRL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";

/// `QuoteCollateralV3` as it is handed around in JSON.
#[derive(Serialize, Deserialize)]
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

/// What is looked at in TCB info and QE identity.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dated {
    next_update: String,
    fmspc: Option<String>,
}

/// Asks the service at `base` for the collateral of `platform`: four questions, one `QuoteCollateralV3`.
pub(crate) async fn fetch(asker: &Asker, base: &str, platform: &Platform) -> Result<Vec<u8>> {
    // 1. TCB info of the kind of platform, with who signed it.
    let fmspc = hex::encode(platform.fmspc);
    let answer = asker.get(&format!("{base}/tdx/certification/v4/tcb?fmspc={fmspc}")).await?;
    let tcb_info_issuer_chain = header_chain(&answer, "tcb-info-issuer-chain")?;
    let (tcb_info, tcb_info_signature) = signed_member(&answer.body, "tcbInfo")?;
    // 2. The identity of Intel's quoting enclave.
    let answer = asker.get(&format!("{base}/tdx/certification/v4/qe/identity")).await?;
    let qe_identity_issuer_chain = header_chain(&answer, "sgx-enclave-identity-issuer-chain")?;
    let (qe_identity, qe_identity_signature) = signed_member(&answer.body, "enclaveIdentity")?;
    // 3. What the authority of the platform's certificate withdrew.
    let authority = platform.authority;
    let answer = asker.get(&format!("{base}/sgx/certification/v4/pckcrl?ca={authority}&encoding=der")).await?;
    let pck_crl_issuer_chain = header_chain(&answer, "sgx-pck-crl-issuer-chain")?;
    let pck_crl = crl(&answer.body)?;
    // 4. What the root withdrew.
    let root_ca_crl = crl(&asker.get(&root_crl_url(base)).await?.body)?;

    let document = Document {
        pck_crl_issuer_chain,
        root_ca_crl,
        pck_crl,
        tcb_info_issuer_chain,
        tcb_info,
        tcb_info_signature,
        qe_identity_issuer_chain,
        qe_identity,
        qe_identity_signature,
    };
    let json =
        serde_json::to_vec(&document).map_err(|e| Refusal::new(Code::Internal, "collateral as JSON").because(e))?;
    if json.len() > limits::ENDORSEMENT {
        return Err(Refusal::too_large("collateral", json.len(), limits::ENDORSEMENT));
    }
    Ok(json)
}

fn root_crl_url(base: &str) -> String {
    if base == PCS { ROOT_CRL.to_owned() } else { format!("{base}/sgx/certification/v4/rootcacrl") }
}

/// The soonest next update in a collateral set, if that is of `platform`.
///
/// # Errors
/// `malformed`; `endorsement-mismatch`.
pub(crate) fn expires(json: &[u8], platform: &Platform) -> Result<UnixTime> {
    let document: Document = serde_json::from_slice(json).map_err(|e| Refusal::malformed("collateral", e))?;
    let dated = |text: &str, what| serde_json::from_str::<Dated>(text).map_err(|e| Refusal::malformed(what, e));
    let tcb_info = dated(&document.tcb_info, "TCB info")?;
    let fmspc = hex::encode(platform.fmspc);
    match &tcb_info.fmspc {
        Some(stated) if stated.eq_ignore_ascii_case(&fmspc) => {}
        other => {
            let got = other.as_deref().unwrap_or("none");
            return Err(Refusal::new(Code::EndorsementMismatch, "FMSPC of the TCB info").got(got).want(fmspc));
        }
    }
    let list = |text: &str, what: &str| {
        let der = hex::decode(text).map_err(|e| Refusal::malformed(what, e))?;
        crl_expires(&der, what)
    };
    let ends = [
        date(&tcb_info.next_update)?,
        date(&dated(&document.qe_identity, "QE identity")?.next_update)?,
        list(&document.pck_crl, "PCK revocation list")?,
        list(&document.root_ca_crl, "root revocation list")?,
    ];
    Ok(ends.into_iter().min().unwrap_or_default())
}

/// `YYYY-MM-DDThh:mm:ssZ`.
fn date(text: &str) -> Result<UnixTime> {
    let date: DateTime = text.parse().map_err(|e: der::Error| Refusal::malformed("nextUpdate", e).got(text))?;
    Ok(date.unix_duration().as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Authority;
    use strongroom_devkit::intel::{CollateralSpec, Hierarchy, qe_identity, tcb_info};

    const PLATFORM: Platform = Platform { fmspc: [0xb0, 0xc0, 0x6f, 0, 0, 0], authority: Authority::Platform };

    #[test]
    fn collateral_lasts_as_long_as_the_first_of_its_four_parts() {
        let hierarchy = Hierarchy::generate().unwrap();
        let expires = |spec: &CollateralSpec| expires(&hierarchy.collateral(spec).unwrap(), &PLATFORM).unwrap();
        let (all, sooner) = (1_796_083_200..1_803_859_200, 1_796_083_200..1_800_000_000);
        assert_eq!(expires(&CollateralSpec::default()), all.end);
        let default = CollateralSpec::default;
        for spec in [
            CollateralSpec { tcb_info: tcb_info(&sooner), ..default() },
            CollateralSpec { qe_identity: qe_identity(&sooner), ..default() },
            CollateralSpec { pck_crl_window: sooner.clone(), ..default() },
            CollateralSpec { root_crl_window: sooner.clone(), ..default() },
        ] {
            assert_eq!(expires(&spec), sooner.end);
        }
    }

    #[test]
    fn collateral_of_another_kind_of_platform_is_no_answer() {
        let hierarchy = Hierarchy::generate().unwrap();
        let json = hierarchy.collateral(&CollateralSpec::default()).unwrap();
        assert!(expires(&json, &PLATFORM).is_ok());
        let other = Platform { fmspc: [0; 6], ..PLATFORM };
        assert_eq!(expires(&json, &other).unwrap_err().code, Code::EndorsementMismatch);
    }

    #[test]
    fn root_list_of_intel_is_where_intel_keeps_it() {
        assert_eq!(root_crl_url(PCS), ROOT_CRL);
        assert_eq!(root_crl_url("https://pccs.example"), "https://pccs.example/sgx/certification/v4/rootcacrl");
    }
}
