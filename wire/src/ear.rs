//! Claims of an EAR (EAT attestation result, draft-ietf-rats-ear) in the profile of Confidential Containers, with the
//! claims that bind it (`aud`, `sub`, `jti`, `cnf`, `root`) added. Carried in an ES256 JWT.

use crate::Root;
use crate::kbs::TeePubKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `eat_profile` of every token issued here.
pub const PROFILE: &str = "tag:github.com,2024:confidential-containers/Trustee";

/// `aud` of the tokens that a key broker issues for itself.
pub const AUDIENCE: &str = "strongroom-kbs";

/// AR4SI trustworthiness tiers (draft-ietf-rats-ar4si §3.2) as EAR names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// No claim is made.
    None,
    /// The attester is trusted.
    Affirming,
    /// Trusted with reservations.
    Warning,
    /// Not trusted.
    Contraindicated,
}

/// All claims of a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EarClaims {
    /// [`PROFILE`].
    pub eat_profile: String,
    /// Issuer: the verifier's name.
    pub iss: String,
    /// Who may accept it.
    pub aud: String,
    /// Whom it is about: `sha256:<hex>` of the deployment document.
    pub sub: String,
    /// Unique; also names the session.
    pub jti: String,
    /// Seconds since 1970.
    pub iat: u64,
    /// Seconds since 1970; no later than five minutes after `iat`.
    pub exp: u64,
    /// The root the evidence ended at.
    pub root: Root,
    /// RFC 7800: the attested key, by RFC 7638 thumbprint.
    pub cnf: Confirmation,
    /// Who appraised.
    #[serde(rename = "ear.verifier-id")]
    pub verifier_id: VerifierId,
    /// One appraisal per attester: `cpu0`.
    pub submods: BTreeMap<String, Appraisal>,
}

/// RFC 7800 confirmation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Base64url SHA-256 thumbprint (RFC 7638) of the key.
    pub jkt: String,
}

/// Who appraised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifierId {
    /// The software's developer.
    pub developer: String,
    /// The software's build.
    pub build: String,
}

/// The appraisal of one attester.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Appraisal {
    /// The worst of the vector.
    #[serde(rename = "ear.status")]
    pub status: Status,
    /// AR4SI claims by name.
    #[serde(rename = "ear.trustworthiness-vector")]
    pub vector: BTreeMap<String, i8>,
    /// The policies that accepted, by digest.
    #[serde(rename = "ear.appraisal-policy-id")]
    pub policy_id: String,
    /// The evidence in words.
    #[serde(rename = "ear.veraison.annotated-evidence")]
    pub evidence: AnnotatedEvidence,
}

/// The evidence in words, with the key that resources are wrapped to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnnotatedEvidence {
    /// Hex of the evidence's report data.
    pub report_data: String,
    /// Nonce and key that report data commits to.
    pub runtime_data_claims: RuntimeDataClaims,
    /// Hex of the field that names the deployment document: HOST_DATA, MRCONFIGID, or where a PCR does its digest.
    pub init_data: String,
    /// Claims of the attester by name.
    #[serde(flatten)]
    pub tee: TeeClaims,
}

/// Claims of one attester by name, under the name of its TEE ([`crate::kbs::Tee`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TeeClaims {
    /// Of an SNP report.
    Snp(BTreeMap<String, serde_json::Value>),
    /// Of a TDX quote and its collateral.
    Tdx(BTreeMap<String, serde_json::Value>),
    /// Of an SNP report and the virtual TPM above it.
    AzSnpVtpm(BTreeMap<String, serde_json::Value>),
    /// Of a TDX quote and the virtual TPM above it.
    AzTdxVtpm(BTreeMap<String, serde_json::Value>),
}

/// Nonce and key that report data commits to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RuntimeDataClaims {
    /// Empty where no device attests.
    pub additional_evidence: String,
    /// As received.
    pub nonce: String,
    /// As received.
    pub tee_pubkey: TeePubKey,
}
