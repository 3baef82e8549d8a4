//! The table `[access]` of a deployment document: who may call the inference API beside those with bearer keys, what each may do, and
//! how much of it.

use super::Principal;
use crate::spiffe::{SpiffeId, TrustDomain};
use crate::{Code, Realm, Refusal, Result, limits};
use core::fmt;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Who else may call, what they may do, and how much. Nothing of it but what is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Access {
    /// Cedar policies over callers and models. Without any text, callers with bearer keys may do everything and nobody else anything;
    /// a text without a policy permits nobody anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policies: Option<String>,
    /// Whether callers who generate text may ask how likely its tokens were, and others in their place. That says more of a model than its
    /// words do: with enough of it, a model can be copied. No, where nothing is said.
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    pub log_probabilities: bool,
    /// How much every identity may use for which `identities` says nothing else.
    #[serde(skip_serializing_if = "Limits::are_none")]
    pub limits: Limits,
    /// How much single ones may use.
    #[serde(rename = "identity", skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<IdentityLimits>,
    /// Whose tokens name callers.
    #[serde(rename = "issuer", skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<Issuer>,
    /// Whose X.509-SVIDs name callers.
    #[serde(rename = "trust-domain", skip_serializing_if = "Vec::is_empty")]
    pub trust_domains: Vec<TrustedDomain>,
}

/// By what a caller is known. Names of one kind are no names of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdentityKind {
    /// A bearer key of the document, by the name of its principal.
    ApiKey,
    /// An X.509-SVID, by its SPIFFE id.
    Workload,
    /// A token, by its issuer, `#` and its subject.
    Subject,
}

/// How much one identity may use; what is absent is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Limits {
    /// Requests of a minute, of which as many may come at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Tokens of a minute, of inputs and outputs together. They are counted once they are known, so that the request that goes beyond
    /// is answered, and those after it wait until it is made up for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u32>,
    /// Requests at one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
}

/// How much a single identity may use, in place of what all others may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IdentityLimits {
    /// By what it is known.
    pub kind: IdentityKind,
    /// Its name of that kind.
    pub name: String,
    /// How much it may use.
    pub limits: Limits,
}

/// An issuer of tokens that name callers: an OpenID provider, or anything that signs JWTs (RFC 7519).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Issuer {
    /// What its tokens say in `iss`: `https://…`, without `#`.
    pub issuer: String,
    /// What they must say in `aud`.
    pub audience: String,
    /// Its JWK set, as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<String>,
    /// `https://…` of its JWK set, in place of the set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// PEM certificates of the authority behind that URL; absent: the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// By what it may sign (RFC 7518 §3.1, RFC 8037 §3.1).
    #[serde(default = "algorithms")]
    pub algorithms: BTreeSet<TokenAlgorithm>,
    /// What its tokens may say in `typ`; one that says nothing is a `JWT`.
    #[serde(default = "types")]
    pub types: BTreeSet<String>,
    /// The claim that has a caller's groups: a text, or a list of texts.
    #[serde(default = "groups")]
    pub groups_claim: String,
    /// Other claims that policies may ask about, where they are texts.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub claims: BTreeSet<String>,
}

/// How tokens of an issuer may be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TokenAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// A trust domain whose workloads may call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TrustedDomain {
    /// Its name.
    pub name: TrustDomain,
    /// Its authorities: a SPIFFE bundle, as JSON text.
    pub bundle: String,
}

fn algorithms() -> BTreeSet<TokenAlgorithm> {
    [TokenAlgorithm::Es256, TokenAlgorithm::Rs256, TokenAlgorithm::EdDsa].into()
}

/// Access tokens as RFC 9068 §2.1 has them.
fn types() -> BTreeSet<String> {
    ["at+jwt".to_owned()].into()
}

fn groups() -> String {
    "groups".to_owned()
}

impl IdentityKind {
    /// As documents and logs write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api-key",
            Self::Workload => "workload",
            Self::Subject => "subject",
        }
    }
}

impl fmt::Display for IdentityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Limits {
    /// Whether it limits nothing.
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }

    fn verify_shape(self) -> Result<()> {
        let stated = [self.requests_per_minute, self.tokens_per_minute, self.concurrent];
        if stated.contains(&Some(0)) {
            return Err(wrong("limits").got(0).want("1 at least; whom a policy does not permit may do nothing"));
        }
        Ok(())
    }
}

impl Access {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Holds it together, for a guest of `realm`. What policies, keys and bundles say is for those who use them to parse.
    ///
    /// # Errors
    /// `configuration-invalid`; `too-large`; `realm-mismatch`: a trust domain of the other realm.
    pub(super) fn verify_shape(&self, realm: Realm, principals: &[Principal]) -> Result<()> {
        bounded("issuers", self.issuers.len(), limits::ISSUERS)?;
        bounded("trust domains", self.trust_domains.len(), limits::TRUST_DOMAINS)?;
        bounded("limits of single identities", self.identities.len(), limits::IDENTITY_LIMITS)?;
        if self.policies.is_none() && !(self.issuers.is_empty() && self.trust_domains.is_empty()) {
            let nobody = wrong("issuers and trust domains").got("no policies");
            return Err(nobody.want("`policies`: without them nobody whom these vouch for may do anything"));
        }
        let mut issuers = BTreeSet::new();
        for issuer in &self.issuers {
            issuer.verify_shape().map_err(|refusal| refusal.within(format!("issuer `{}`", issuer.issuer)))?;
            once(&mut issuers, &issuer.issuer, "issuer")?;
        }
        let mut domains = BTreeSet::new();
        for domain in &self.trust_domains {
            domain.name.verify_realm(realm)?;
            once(&mut domains, &domain.name, "trust domain")?;
        }
        self.limits.verify_shape()?;
        let mut identities = BTreeSet::new();
        for identity in &self.identities {
            identity.limits.verify_shape().map_err(|refusal| refusal.within(format!("`{}`", identity.name)))?;
            once(&mut identities, (identity.kind, &identity.name), "identity")?;
            if !self.knows(identity, principals) {
                // A name that is mistyped would leave its identity to the limits of all others.
                return Err(wrong("identity").got(&identity.name).want("one that the document could know a caller by"));
            }
        }
        Ok(())
    }

    fn knows(&self, identity: &IdentityLimits, principals: &[Principal]) -> bool {
        let name = identity.name.as_str();
        match identity.kind {
            IdentityKind::ApiKey => principals.iter().any(|principal| principal.name == name),
            IdentityKind::Workload => SpiffeId::parse(name)
                .is_ok_and(|id| self.trust_domains.iter().any(|domain| domain.name == id.trust_domain())),
            IdentityKind::Subject => {
                let issued = name.split_once('#').filter(|(_, subject)| !subject.is_empty());
                issued.is_some_and(|(issuer, _)| self.issuers.iter().any(|one| one.issuer == issuer))
            }
        }
    }
}

impl Issuer {
    fn verify_shape(&self) -> Result<()> {
        // It ends what a caller is named by up to the subject.
        if !self.issuer.starts_with("https://") || self.issuer.contains('#') {
            return Err(wrong("`issuer`").got(&self.issuer).want("https://…, without `#`"));
        }
        if self.audience.is_empty() || self.groups_claim.is_empty() {
            return Err(wrong("`audience` and `groups-claim`").want("some text"));
        }
        if self.algorithms.is_empty() || self.types.is_empty() {
            return Err(wrong("`algorithms` and `types`").got("none").want("one at least"));
        }
        bounded("claims", self.claims.len(), limits::TOKEN_CLAIMS)?;
        match (&self.jwks, &self.jwks_url) {
            (Some(_), None) if self.ca.is_some() => Err(wrong("`ca`").want("only beside `jwks-url`")),
            (Some(_), None) => Ok(()),
            (None, Some(url)) if url.starts_with("https://") => Ok(()),
            (None, Some(url)) => Err(wrong("`jwks-url`").got(url).want("https://…")),
            _ => Err(wrong("keys").want("one of `jwks` and `jwks-url`")),
        }
    }
}

fn wrong(what: &str) -> Refusal {
    Refusal::new(Code::ConfigurationInvalid, what).within("[access]")
}

fn bounded(what: &str, count: usize, most: usize) -> Result<()> {
    if count > most { Err(Refusal::too_large(what, count, most).within("[access]")) } else { Ok(()) }
}

fn once<T: Ord>(seen: &mut BTreeSet<T>, one: T, what: &str) -> Result<()> {
    if seen.insert(one) { Ok(()) } else { Err(wrong(what).got("one twice")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256;

    fn issuer() -> Issuer {
        let text = "issuer = 'https://i'\naudience = 'a'\njwks = '{}'";
        toml::from_str(text).unwrap()
    }

    fn domain(name: &str) -> TrustedDomain {
        TrustedDomain { name: TrustDomain::parse(name).unwrap(), bundle: "{}".into() }
    }

    fn code(change: impl FnOnce(&mut Access)) -> Option<Code> {
        let mut access = Access {
            policies: Some(String::new()),
            issuers: vec![issuer()],
            trust_domains: vec![domain("a.test")],
            ..Access::default()
        };
        change(&mut access);
        let principals = [Principal { name: "a".into(), key_sha256: Sha256([4; 32]) }];
        access.verify_shape(Realm::Test(Sha256([1; 32])), &principals).err().map(|refusal| refusal.code)
    }

    const INVALID: Option<Code> = Some(Code::ConfigurationInvalid);

    #[test]
    fn issuer_says_the_least_and_the_rest_is_strict() {
        let issuer = issuer();
        assert_eq!(issuer.types.iter().collect::<Vec<_>>(), ["at+jwt"]);
        assert_eq!((issuer.algorithms.len(), issuer.groups_claim.as_str()), (3, "groups"));
        let none = "issuer = 'https://i'\naudience = 'a'\njwks = '{}'\nalgorithms = ['none']";
        assert!(toml::from_str::<Issuer>(none).is_err());
    }

    #[test]
    fn what_says_nothing_is_left_out_of_the_document_and_kinds_are_named_as_they_are_written() {
        assert!(Access::default().is_empty() && Limits::default().are_none());
        let limits = Limits { concurrent: Some(1), ..Limits::default() };
        assert!(!limits.are_none() && !Access { limits, ..Access::default() }.is_empty());
        for (kind, name) in [
            (IdentityKind::ApiKey, "api-key"),
            (IdentityKind::Workload, "workload"),
            (IdentityKind::Subject, "subject"),
        ] {
            assert_eq!((kind.as_str(), kind.to_string().as_str()), (name, name));
            assert_eq!(serde_json::to_value(kind).unwrap(), name);
        }
    }

    #[test]
    fn keys_over_plain_http_are_refused_as_such_and_none_as_none() {
        let want = |jwks_url: Option<&str>| {
            let issuer = Issuer { jwks: None, jwks_url: jwks_url.map(str::to_owned), ..issuer() };
            issuer.verify_shape().unwrap_err().want
        };
        assert_eq!(want(Some("http://i/jwks")).as_deref(), Some("https://…"));
        assert_eq!(want(None).as_deref(), Some("one of `jwks` and `jwks-url`"));
    }

    #[test]
    fn issuer_that_cannot_vouch_for_anybody_refused() {
        assert_eq!(code(|_| ()), None);
        assert_eq!(code(|a| a.issuers[0].issuer = "http://i".into()), INVALID);
        assert_eq!(code(|a| a.issuers[0].issuer = "https://i#".into()), INVALID);
        assert_eq!(code(|a| a.issuers[0].audience.clear()), INVALID);
        assert_eq!(code(|a| a.issuers[0].groups_claim.clear()), INVALID);
        assert_eq!(code(|a| a.issuers[0].algorithms.clear()), INVALID);
        assert_eq!(code(|a| a.issuers[0].types.clear()), INVALID);
        assert_eq!(code(|a| a.issuers[0].jwks = None), INVALID);
        assert_eq!(code(|a| a.issuers[0].jwks_url = Some("https://i".into())), INVALID, "both");
        assert_eq!(code(|a| a.issuers[0].ca = Some("PEM".into())), INVALID);
        let fetched = |url: &str| {
            let url = url.to_owned();
            move |a: &mut Access| (a.issuers[0].jwks, a.issuers[0].jwks_url) = (None, Some(url))
        };
        assert_eq!(code(fetched("https://i/jwks")), None);
        assert_eq!(code(fetched("http://i/jwks")), INVALID);
        assert_eq!(code(|a| a.issuers.push(issuer())), INVALID, "twice");
    }

    #[test]
    fn those_whom_no_policy_could_permit_refused() {
        assert_eq!(code(|a| a.policies = None), INVALID);
        assert_eq!(code(|a| *a = Access { issuers: Vec::new(), policies: None, ..a.clone() }), INVALID);
        assert_eq!(code(|a| *a = Access::default()), None);
    }

    #[test]
    fn trust_domain_of_the_other_realm_or_twice_refused() {
        assert_eq!(code(|a| a.trust_domains.push(domain("b.test"))), None);
        assert_eq!(code(|a| a.trust_domains.push(domain("a.test"))), INVALID);
        assert_eq!(code(|a| a.trust_domains.push(domain("a.org"))), Some(Code::RealmMismatch));
    }

    #[test]
    fn limit_of_nothing_and_two_of_one_identity_refused() {
        let limits = |count| Limits { concurrent: Some(count), ..Limits::default() };
        let of = |kind, name: &str| IdentityLimits { kind, name: name.into(), limits: limits(1) };
        assert_eq!(code(|a| a.limits = limits(1)), None);
        assert_eq!(code(|a| a.limits = limits(0)), INVALID);
        let two = |kind, name: &str| vec![of(IdentityKind::ApiKey, "a"), of(kind, name)];
        assert_eq!(code(|a| a.identities = two(IdentityKind::Workload, "spiffe://a.test/a")), None);
        assert_eq!(code(|a| a.identities = two(IdentityKind::ApiKey, "a")), INVALID);
    }

    #[test]
    fn limits_of_a_name_that_nobody_could_have_refused() {
        let of = |kind, name: &str| {
            let one = IdentityLimits { kind, name: name.into(), limits: Limits::default() };
            code(|a| a.identities = vec![one])
        };
        for (kind, name, other) in [
            (IdentityKind::ApiKey, "a", "b"),
            (IdentityKind::Workload, "spiffe://a.test/x", "spiffe://b.test/x"),
            (IdentityKind::Workload, "spiffe://a.test/x", "x"),
            (IdentityKind::Subject, "https://i#x", "https://j#x"),
            (IdentityKind::Subject, "https://i#x", "https://i#"),
        ] {
            assert_eq!((of(kind, name), of(kind, other)), (None, INVALID), "{other}");
        }
    }

    #[test]
    fn as_many_as_the_limits_accepted_and_one_more_refused() {
        let domains = |count: usize| {
            move |a: &mut Access| {
                a.trust_domains = (0..count).map(|n| domain(&format!("{n}.test"))).collect();
            }
        };
        assert_eq!(code(domains(limits::TRUST_DOMAINS)), None);
        assert_eq!(code(domains(limits::TRUST_DOMAINS + 1)), Some(Code::TooLarge));
        let issuers = |count: usize| {
            move |a: &mut Access| {
                a.issuers = (0..count).map(|n| Issuer { issuer: format!("https://{n}"), ..issuer() }).collect();
            }
        };
        assert_eq!(code(issuers(limits::ISSUERS)), None);
        assert_eq!(code(issuers(limits::ISSUERS + 1)), Some(Code::TooLarge));
        let claims = |count: usize| {
            move |a: &mut Access| {
                a.issuers[0].claims = (0..count).map(|n| n.to_string()).collect();
            }
        };
        assert_eq!(code(claims(limits::TOKEN_CLAIMS)), None);
        assert_eq!(code(claims(limits::TOKEN_CLAIMS + 1)), Some(Code::TooLarge));
        let identities = |count: usize| {
            move |a: &mut Access| {
                let one = |n: usize| IdentityLimits {
                    kind: IdentityKind::Subject,
                    name: format!("https://i#{n}"),
                    limits: Limits::default(),
                };
                a.identities = (0..count).map(one).collect();
            }
        };
        assert_eq!(code(identities(limits::IDENTITY_LIMITS)), None);
        assert_eq!(code(identities(limits::IDENTITY_LIMITS + 1)), Some(Code::TooLarge));
    }
}
