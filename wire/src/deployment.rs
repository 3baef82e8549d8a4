//! The deployment document: Confidential Containers' initdata, in which `strongroom.toml` holds everything that trust
//! hangs on. The hardware names its digest (SNP: HOST_DATA), over the raw bytes as delivered. It holds no secrets.

mod access;

pub use access::{Access, IdentityKind, IdentityLimits, Issuer, Limits, TokenAlgorithm, TrustedDomain};

use crate::digest::Sha256;
use crate::trust::TrustFile;
use crate::{Code, Refusal, Result, Root, document, limits};
use core::ops::RangeInclusive;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A parsed deployment document together with the bytes that its digest is over.
#[derive(Debug, Clone)]
pub struct Deployment {
    raw: Vec<u8>,
    digest: Sha256,
    settings: Settings,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct InitData {
    version: String,
    algorithm: String,
    data: BTreeMap<String, String>,
}

const SETTINGS: &str = "strongroom.toml";

/// Seconds for which a guest may be let go on without a lease: less is no time to ask twice, and more is no bound on what a host
/// gains that cuts its guest off.
pub const UNLEASED: RangeInclusive<u64> = 60..=3600;

/// The entry `strongroom.toml` of a deployment document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Version of this format: 1.
    pub version: u32,
    /// The root that evidence of this guest ends at. A test root makes the whole deployment one of the test realm.
    pub root: Root,
    /// Where the guest gets its evidence.
    pub attester: Attester,
    /// Seconds that the guest goes on for after it was last given a lease ([`crate::lease`]), within [`UNLEASED`]. What counts is
    /// [`Settings::max_unleased`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unleased: Option<u64>,
    /// The one verifier that this guest asks for keys.
    pub verifier: Verifier,
    /// The inference runtime.
    pub runtime: Runtime,
    /// The registries that this guest may pull from.
    #[serde(rename = "registry")]
    pub registries: Vec<Registry>,
    /// The models that this guest serves.
    #[serde(rename = "model")]
    pub models: Vec<Model>,
    /// Who may sign them.
    pub trust: TrustFile,
    /// Who may call the inference API with a bearer key.
    #[serde(rename = "principal", default, skip_serializing_if = "Vec::is_empty")]
    pub principals: Vec<Principal>,
    /// Who else may call it, what each may do, and how much.
    #[serde(default, skip_serializing_if = "Access::is_empty")]
    pub access: Access,
}

/// Where a guest gets its evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attester {
    /// Linux' `configfs-tsm` report interface.
    ConfigfsTsm,
    /// A security processor played by another process behind a Unix socket ([`crate::attester`]); evidence it gives is of
    /// a test root, since nobody else signs for it.
    Socket,
}

/// The verifier and how it is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Verifier {
    /// `https://host:port`, without a path.
    pub url: String,
    /// SHA-256 of the SubjectPublicKeyInfo of its TLS key.
    pub pin: Sha256,
    /// Base64 DER SubjectPublicKeyInfo of the P-256 key that signs its tokens. Absent or empty where they say nothing of guests, as
    /// those of Confidential Containers' KBS: then the guest believes none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token_key: String,
    /// The key of its audit log, as c2sp.org/signed-note writes one: a key of this deployment is used only where its release is proved
    /// to be in that log. Absent: no proof is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_key: Option<String>,
}

/// The inference runtime, by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Runtime {
    /// SHA-256 of the ONNX Runtime shared library.
    pub onnxruntime: Sha256,
}

/// A registry and how it is reached. Nothing that comes from it is trusted, so this only says how, not why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Registry {
    /// `host[:port]`, as in references.
    pub host: String,
    /// Speak HTTP without TLS.
    #[serde(default)]
    pub plain_http: bool,
    /// PEM certificates of the authority that signed its TLS certificate; absent: the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// A model to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Model {
    /// The name that requests use.
    pub name: String,
    /// `host[:port]/repo@sha256:…`; where it is replaceable, `host[:port]/repo:tag` too.
    pub reference: String,
    /// Whether it may be unloaded, and replaced by what the same repository has that is signed as the trust file demands, and promoted
    /// with a higher sequence: the rule of the repository has to demand a promotion. Absent: nothing of it may change.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub replaceable: bool,
}

/// A caller of the inference API, known by the hash of its bearer key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Principal {
    /// What logs call it.
    pub name: String,
    /// SHA-256 of its bearer key, which has at least 128 bits of entropy.
    pub key_sha256: Sha256,
}

impl Model {
    /// `host[:port]/repo`, and the manifest's digest, which only a replaceable one may leave to a tag.
    ///
    /// # Errors
    /// `reference-invalid`; `malformed`: the digest is none.
    pub fn repository_and_digest(&self) -> Result<(&str, Option<Sha256>)> {
        let wrong = || {
            let refusal = Refusal::new(Code::ReferenceInvalid, "model of a deployment").got(&self.reference);
            refusal.want(if self.replaceable {
                "host/repo@sha256:… or host/repo:tag"
            } else {
                "host/repo@sha256:…"
            })
        };
        let last = |name: &str| name.rfind('/').and_then(|at| name.get(at..)).is_some_and(|last| last.contains(':'));
        match self.reference.split_once('@') {
            // A tag beside the digest would name nothing, and be part of the repository's name for whoever splits differently.
            Some((repository, digest)) if repository.contains('/') && !last(repository) => {
                Ok((repository, Some(Sha256::from_oci(digest)?)))
            }
            None if self.replaceable && last(&self.reference) => {
                let (repository, tag) = self.reference.rsplit_once(':').ok_or_else(wrong)?;
                if tag.is_empty() { Err(wrong()) } else { Ok((repository, None)) }
            }
            _ => Err(wrong()),
        }
    }
}

impl Deployment {
    /// Parses the raw bytes of a document of at most [`limits::DEPLOYMENT`] bytes.
    pub fn parse(raw: &[u8]) -> Result<Self> {
        if raw.is_empty() {
            return Err(Refusal::new(Code::DeploymentMissing, "deployment document").got("empty"));
        }
        let init: InitData = document::parse_toml(raw, "deployment document", limits::DEPLOYMENT, Code::Malformed)?;
        if init.version != "0.1.0" {
            return Err(Refusal::new(Code::VersionUnsupported, "initdata version").got(init.version).want("0.1.0"));
        }
        if init.algorithm != "sha256" {
            return Err(Refusal::new(Code::Malformed, "initdata algorithm").got(init.algorithm).want("sha256"));
        }
        let text = init.data.get(SETTINGS).ok_or_else(|| {
            Refusal::new(Code::DeploymentMissing, "deployment document").got("no such entry").want(SETTINGS)
        })?;
        let settings: Settings = document::parse_toml(text.as_bytes(), SETTINGS, limits::DEPLOYMENT, Code::Malformed)?;
        settings.verify_shape()?;
        Ok(Self { raw: raw.to_vec(), digest: Sha256::of(raw), settings })
    }

    /// The bytes of a document with these settings.
    pub fn render(settings: &Settings) -> Result<Vec<u8>> {
        let text = toml::to_string(settings).map_err(|e| Refusal::malformed(SETTINGS, e))?;
        let data = BTreeMap::from([(SETTINGS.to_owned(), text)]);
        let init = InitData { version: "0.1.0".into(), algorithm: "sha256".into(), data };
        toml::to_string(&init).map(String::into_bytes).map_err(|e| Refusal::malformed("deployment document", e))
    }

    /// The bytes as delivered.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// SHA-256 of [`Self::raw`]: what HOST_DATA must be.
    pub const fn digest(&self) -> Sha256 {
        self.digest
    }

    /// What it says.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }
}

impl Settings {
    /// Seconds that the guest goes on for after it was last given a lease: a quarter of an hour where the document says nothing.
    pub fn max_unleased(&self) -> u64 {
        self.max_unleased.unwrap_or(900)
    }

    fn verify_shape(&self) -> Result<()> {
        if self.version != 1 {
            return Err(Refusal::new(Code::VersionUnsupported, SETTINGS).got(self.version).want(1));
        }
        if matches!((self.attester, self.root), (Attester::Socket, Root::Amd | Root::Intel)) {
            return Err(Refusal::new(Code::RealmMismatch, "attester `socket`").got(self.root).want("test:…"));
        }
        if !self.verifier.url.starts_with("https://") {
            return Err(Refusal::new(Code::Malformed, "verifier url").got(&self.verifier.url).want("https://…"));
        }
        if self.models.is_empty() || self.models.len() > limits::MODELS {
            return Err(Refusal::new(Code::Malformed, "models of a deployment")
                .got(self.models.len())
                .want(format!("1 to {}", limits::MODELS)));
        }
        if !UNLEASED.contains(&self.max_unleased()) {
            return Err(Refusal::new(Code::Malformed, "`max-unleased`").got(self.max_unleased()).want(format!(
                "{} to {} seconds",
                UNLEASED.start(),
                UNLEASED.end()
            )));
        }
        let mut names = BTreeSet::new();
        for model in &self.models {
            let (repository, _) = model.repository_and_digest()?;
            let rule = self.trust.rule_for(repository)?;
            if model.replaceable && rule.promotion.is_none() {
                // Nothing would say which of two models is the newer one.
                let refusal = Refusal::new(Code::ConfigurationInvalid, format!("replaceable model `{}`", model.name));
                return Err(refusal.got("no promotion").want(format!("[trust.rule.promotion] for `{repository}`")));
            }
            if model.name.is_empty() || model.name.len() > limits::MODEL_NAME || !names.insert(&model.name) {
                return Err(Refusal::malformed("model name", "empty, too long or given twice").got(&model.name));
            }
        }
        self.access.verify_shape(self.root.realm(), &self.principals)?;
        self.trust.verify_shape()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spiffe::TrustDomain;
    use crate::trust::{Rule, Signer};
    use proptest::prelude::*;

    fn settings() -> Settings {
        let rule = Rule::new("r/models/*", vec![Signer::with_key("release", "PEM")]);
        Settings {
            version: 1,
            root: Root::Test(Sha256([7; 32])),
            attester: Attester::Socket,
            max_unleased: None,
            verifier: Verifier {
                url: "https://v:1".into(),
                pin: Sha256([1; 32]),
                token_key: "AA==".into(),
                log_key: None,
            },
            runtime: Runtime { onnxruntime: Sha256([2; 32]) },
            registries: vec![Registry { host: "r".into(), plain_http: true, ca: None }],
            models: vec![Model {
                name: "m".into(),
                reference: format!("r/models/m@{}", Sha256([3; 32]).oci()),
                replaceable: false,
            }],
            trust: TrustFile::new(vec![rule]),
            principals: vec![Principal { name: "app".into(), key_sha256: Sha256([4; 32]) }],
            access: Access {
                policies: Some("// none".into()),
                trust_domains: vec![TrustedDomain { name: TrustDomain::parse("a.test").unwrap(), bundle: "{}".into() }],
                limits: Limits { concurrent: Some(4), ..Limits::default() },
                ..Access::default()
            },
        }
    }

    fn parsed(change: impl FnOnce(&mut Settings)) -> Result<Deployment> {
        let mut settings = settings();
        change(&mut settings);
        Deployment::parse(&Deployment::render(&settings).unwrap())
    }

    fn code(change: impl FnOnce(&mut Settings)) -> Code {
        parsed(change).unwrap_err().code
    }

    #[test]
    fn rendered_document_parses_back_and_its_digest_is_over_its_bytes() {
        let raw = Deployment::render(&settings()).unwrap();
        let deployment = Deployment::parse(&raw).unwrap();
        assert_eq!(deployment.settings(), &settings());
        assert_eq!(deployment.raw(), raw);
        assert_eq!(deployment.digest(), Sha256::of(&raw));
        let (repository, digest) = deployment.settings().models[0].repository_and_digest().unwrap();
        assert_eq!((repository, digest), ("r/models/m", Some(Sha256([3; 32]))));
    }

    #[test]
    fn document_with_a_senseless_member_refused_with_its_own_code() {
        assert!(parsed(|_| ()).is_ok());
        assert_eq!(code(|s| s.version = 2), Code::VersionUnsupported);
        assert_eq!(code(|s| s.root = Root::Amd), Code::RealmMismatch);
        assert_eq!(code(|s| s.verifier.url = "http://v:1".into()), Code::Malformed);
        assert_eq!(code(|s| s.models.clear()), Code::Malformed);
        for (seconds, accepted) in [(59, false), (60, true), (3600, true), (3601, false)] {
            let parsed = parsed(|s| s.max_unleased = Some(seconds)).map(|d| d.settings().max_unleased());
            assert_eq!(parsed.ok(), accepted.then_some(seconds), "{seconds}");
        }
        assert_eq!(code(|s| s.models[0].name.clear()), Code::Malformed);
        assert_eq!(code(|s| s.models.push(s.models[0].clone())), Code::Malformed);
        assert_eq!(code(|s| s.models[0].reference = "r/models/m:v1".into()), Code::ReferenceInvalid);
        let tagged = format!("r/models/m:v1@{}", Sha256([3; 32]).oci());
        assert_eq!(code(|s| s.models[0].reference = tagged), Code::ReferenceInvalid);
        let port = format!("r:5000/models/m@{}", Sha256([3; 32]).oci());
        let moved = |s: &mut Settings| {
            s.models[0].reference = port;
            s.trust.rules[0].repository = "r:5000/models/*".into();
        };
        assert!(parsed(moved).is_ok());
        assert_eq!(code(|s| s.trust.rules[0].repository = "r/other/*".into()), Code::RepositoryUntrusted);
        assert_eq!(code(|s| s.trust.rules[0].threshold = 0), Code::ConfigurationInvalid);
        assert_eq!(code(|s| s.access.policies = None), Code::ConfigurationInvalid);
    }

    #[test]
    fn as_many_models_and_as_long_a_name_as_the_limits_accepted_and_one_more_refused() {
        let models = |count: usize| {
            move |s: &mut Settings| {
                let model = s.models[0].clone();
                s.models = (0..count).map(|n| Model { name: n.to_string(), ..model.clone() }).collect();
            }
        };
        assert!(parsed(models(limits::MODELS)).is_ok());
        assert_eq!(code(models(limits::MODELS + 1)), Code::Malformed);
        assert!(parsed(|s| s.models[0].name = "n".repeat(limits::MODEL_NAME)).is_ok());
        assert_eq!(code(|s| s.models[0].name = "n".repeat(limits::MODEL_NAME + 1)), Code::Malformed);
    }

    #[test]
    fn replaceable_model_of_a_promoted_repository_accepted_by_tag_too_and_of_another_refused() {
        let promoted = |s: &mut Settings| {
            let environment = crate::trust::Environment::parse("production").unwrap();
            let promoters = vec![Signer::with_key("anna", "PEM")];
            s.trust.rules[0].promotion = Some(crate::trust::PromotionRule::new(environment, promoters));
            s.models[0].replaceable = true;
        };
        let of = |reference: &str| {
            parsed(|s| {
                promoted(s);
                s.models[0].reference = reference.into();
            })
        };
        let digest = Sha256([3; 32]).oci();
        for (reference, digest) in
            [("r/models/m:live".to_owned(), None), (format!("r/models/m@{digest}"), Some(Sha256([3; 32])))]
        {
            let deployment = of(&reference).unwrap();
            assert_eq!(deployment.settings().models[0].repository_and_digest(), Ok(("r/models/m", digest)));
        }
        for wrong in ["r/models/m", "r/models/m:", "r:5000/models/m", &format!("r/models/m:live@{digest}")] {
            assert_eq!(of(wrong).unwrap_err().code, Code::ReferenceInvalid, "{wrong}");
        }
        let fixed = |s: &mut Settings| {
            promoted(s);
            (s.models[0].replaceable, s.models[0].reference) = (false, "r/models/m:live".into());
        };
        assert_eq!(code(fixed), Code::ReferenceInvalid);
        assert_eq!(code(|s| s.models[0].replaceable = true), Code::ConfigurationInvalid);
        // What is not said is not written: a document keeps its digest.
        assert!(!String::from_utf8(Deployment::render(&settings()).unwrap()).unwrap().contains("replaceable"));
    }

    #[test]
    fn vendor_root_with_the_hardware_s_own_attester_accepted() {
        let vendor = |s: &mut Settings| {
            (s.root, s.attester, s.access) = (Root::Amd, Attester::ConfigfsTsm, Access::default());
        };
        assert!(parsed(vendor).is_ok());
    }

    #[test]
    fn document_of_another_version_or_algorithm_or_without_settings_refused() {
        let raw = String::from_utf8(Deployment::render(&settings()).unwrap()).unwrap();
        let code = |text: String| Deployment::parse(text.as_bytes()).unwrap_err().code;
        assert_eq!(code(raw.replacen("0.1.0", "0.2.0", 1)), Code::VersionUnsupported);
        assert_eq!(code(raw.replacen("sha256", "sha384", 1)), Code::Malformed);
        assert_eq!(code(raw.replacen("strongroom.toml", "other.toml", 1)), Code::DeploymentMissing);
        assert_eq!(code(String::new()), Code::DeploymentMissing);
        assert_eq!(code(format!("extra = 1\n{raw}")), Code::UnknownField);
        assert_eq!(code("x".repeat(limits::DEPLOYMENT + 1)), Code::TooLarge);
    }

    #[test]
    fn unknown_member_of_the_settings_refused() {
        let text = toml::to_string(&settings()).unwrap();
        let init = |text: &str| {
            let data = BTreeMap::from([(SETTINGS.to_owned(), text.to_owned())]);
            toml::to_string(&InitData { version: "0.1.0".into(), algorithm: "sha256".into(), data }).unwrap()
        };
        assert!(Deployment::parse(init(&text).as_bytes()).is_ok());
        let more = init(&format!("skip-verification = true\n{text}"));
        assert_eq!(Deployment::parse(more.as_bytes()).unwrap_err().code, Code::UnknownField);
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text: String) {
            prop_assert!(Deployment::parse(text.as_bytes()).is_err());
        }
    }
}
