//! The appraisal policy: one typed TOML document, the same for command line, verifier and client.
//!
//! ```toml
//! version = 1
//! [snp]
//! measurement = { one-of = ["<96 hex digits>"] }
//! deployment  = { exactly = "<64 hex digits>" }                  # HOST_DATA: SHA-256 of the deployment document
//! tcb         = { at-least = { bootloader = 3, tee = 0, snp = 8, microcode = 115 } }
//! chip        = { any = { because = "any machine of our provider" } }
//! # with these defaults:
//! # debug = { exactly = false }   vmpl = { exactly = 0 }   migration-agent = { exactly = false }
//! # revocation-list = { any = { because = "…" } }               # or { exactly = true }: a current CRL must be given
//! [model]                                                        # what a client expects to be served
//! manifest = { one-of = ["sha256:<64 hex digits>"] }
//! signer   = { one-of = ["<SHA-256 of a signing key's SPKI>"] }
//! ```
//!
//! Nothing is unset and therefore skipped: what has no safe default must be given, and `any` says because.

use serde::{Deserialize, Deserializer};
use strongroom_wire::digest::Sha256;
use strongroom_wire::snp::Tcb;
use strongroom_wire::{Code, Refusal, Result, document, limits};

/// What a value must be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Rule<T> {
    /// This value.
    Exactly(T),
    /// One of these, at least one.
    OneOf(Vec<T>),
    /// Whatever it is.
    Any {
        /// Why nobody has to look.
        because: String,
    },
}

/// What a version must be at least.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Floor<T> {
    /// This or newer, in every component.
    AtLeast(T),
    /// Whatever it is.
    Any {
        /// Why nobody has to look.
        because: String,
    },
}

/// `N` bytes, written as hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hex<const N: usize>(pub [u8; N]);

/// A manifest's digest as OCI writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OciDigest(pub Sha256);

/// A whole policy.
#[derive(Debug, Clone)]
pub struct Policy {
    document: Document,
    digest: Sha256,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    snp: SnpPolicy,
    #[serde(default)]
    model: Option<ModelPolicy>,
}

/// What an SNP guest and its platform must be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SnpPolicy {
    /// MEASUREMENT.
    pub measurement: Rule<Hex<48>>,
    /// HOST_DATA.
    pub deployment: Rule<Hex<32>>,
    /// The TCB of the endorsement certificate.
    pub tcb: Floor<Tcb>,
    /// CHIP_ID.
    pub chip: Rule<Hex<64>>,
    /// POLICY.DEBUG.
    #[serde(default = "no")]
    pub debug: Rule<bool>,
    /// POLICY.MIGRATE_MA, and REPORT_ID_MA all ones.
    #[serde(default = "no")]
    pub migration_agent: Rule<bool>,
    /// VMPL.
    #[serde(default = "zero")]
    pub vmpl: Rule<u32>,
    /// Whether a current revocation list of the root was given.
    #[serde(default = "given")]
    pub revocation_list: Rule<bool>,
}

/// What an enclave must serve. Every model that it serves must satisfy it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ModelPolicy {
    /// Digest of the manifest.
    #[serde(default = "unfixed")]
    pub manifest: Rule<OciDigest>,
    /// A key that the deployment's trust file demands a signature of: SHA-256 of its SubjectPublicKeyInfo.
    #[serde(default = "unfixed")]
    pub signer: Rule<Sha256>,
}

const fn no() -> Rule<bool> {
    Rule::Exactly(false)
}

const fn zero() -> Rule<u32> {
    Rule::Exactly(0)
}

fn given() -> Rule<bool> {
    Rule::Any { because: "revocation is judged where a list is given".into() }
}

fn unfixed<T>() -> Rule<T> {
    Rule::Any { because: "the other field fixes it".into() }
}

impl<T> Rule<T> {
    /// Whether this rule leaves only named values.
    pub const fn is_fixed(&self) -> bool {
        !matches!(self, Self::Any { .. })
    }

    /// Whether `value` is allowed.
    pub fn allows(&self, value: &T) -> bool
    where
        T: PartialEq,
    {
        match self {
            Self::Exactly(want) => want == value,
            Self::OneOf(wanted) => wanted.contains(value),
            Self::Any { .. } => true,
        }
    }

    /// The rule in words.
    pub fn describe(&self, show: impl Fn(&T) -> String) -> String {
        match self {
            Self::Exactly(want) => show(want),
            Self::OneOf(wanted) => format!("one of {}", wanted.iter().map(show).collect::<Vec<_>>().join(", ")),
            Self::Any { because } => format!("any, because {because}"),
        }
    }
}

impl Policy {
    /// Parses a policy document of at most [`limits::POLICY`] bytes.
    pub fn parse(toml: &[u8]) -> Result<Self> {
        let document: Document = document::parse_toml(toml, "policy", limits::POLICY, Code::PolicyInvalid)?;
        if document.version != 1 {
            return Err(Refusal::new(Code::PolicyInvalid, "policy version").got(document.version).want(1));
        }
        let snp = &document.snp;
        let rules = [snp.measurement.is_sound(), snp.deployment.is_sound(), snp.chip.is_sound(), snp.debug.is_sound()];
        let more =
            [snp.migration_agent.is_sound(), snp.vmpl.is_sound(), snp.revocation_list.is_sound(), snp.tcb.is_sound()];
        let model = document.model.as_ref().is_none_or(|model| model.manifest.is_sound() && model.signer.is_sound());
        if rules.into_iter().chain(more).chain([model]).all(|sound| sound) {
            return Ok(Self { document, digest: Sha256::of(toml) });
        }
        Err(Refusal::new(Code::PolicyInvalid, "policy").got("an empty `one-of` or `because`"))
    }

    /// What is demanded of a platform where nobody wrote a policy: no debugging, VMPL 0, no migration agent. It does not
    /// judge software, so its verdict is at most *authentic*.
    pub fn platform_defaults() -> Self {
        let text = "the platform's defaults do not judge this";
        let snp = SnpPolicy {
            measurement: Rule::Any { because: text.into() },
            deployment: Rule::Any { because: text.into() },
            tcb: Floor::Any { because: text.into() },
            chip: Rule::Any { because: text.into() },
            debug: no(),
            migration_agent: no(),
            vmpl: zero(),
            revocation_list: given(),
        };
        Self { document: Document { version: 1, snp, model: None }, digest: Sha256::of(b"platform defaults") }
    }

    /// SHA-256 of the document's bytes.
    pub const fn digest(&self) -> Sha256 {
        self.digest
    }

    /// What it says of SNP guests.
    pub const fn snp(&self) -> &SnpPolicy {
        &self.document.snp
    }

    /// What it says of models.
    pub const fn model(&self) -> Option<&ModelPolicy> {
        self.document.model.as_ref()
    }

    /// Refuses a policy that leaves measurement or deployment document open (`no-reference-values`).
    pub fn fixes_software(&self) -> Result<()> {
        let snp = self.snp();
        match (snp.measurement.is_fixed(), snp.deployment.is_fixed()) {
            (true, true) => Ok(()),
            (false, _) => Err(unfixed_value("measurement")),
            (true, false) => Err(unfixed_value("deployment")),
        }
    }

    /// Refuses a policy that fixes neither digest nor signer of the models (`no-reference-values`).
    pub fn fixes_model(&self) -> Result<()> {
        let fixed = self.model().is_some_and(|model| model.manifest.is_fixed() || model.signer.is_fixed());
        if fixed { Ok(()) } else { Err(unfixed_value("model")) }
    }
}

fn unfixed_value(name: &str) -> Refusal {
    Refusal::new(Code::NoReferenceValues, format!("policy does not fix `{name}`"))
}

impl<T> Rule<T> {
    fn is_sound(&self) -> bool {
        match self {
            Self::Exactly(_) => true,
            Self::OneOf(wanted) => !wanted.is_empty(),
            Self::Any { because } => !because.trim().is_empty(),
        }
    }
}

impl<T> Floor<T> {
    fn is_sound(&self) -> bool {
        match self {
            Self::AtLeast(_) => true,
            Self::Any { because } => !because.trim().is_empty(),
        }
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        strongroom_wire::bytes::hex_array(&text, "value").map(Self).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for OciDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Sha256::from_oci(&text).map(Self).map_err(serde::de::Error::custom)
    }
}
