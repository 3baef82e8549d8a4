//! Who may administer: the one place where a caller becomes a person with roles. There is no way past it.
//!
//! A person comes in by a certificate under an authority of the configuration, by a token of one of its issuers, or by the break-glass
//! token, each only where the configuration has it. How, stands with their name in every entry of the audit log.

mod break_glass;
mod failures;
mod roles;

pub use roles::Role;

use crate::config::{AdminCertificates, AdminIssuer, Config, load};
use break_glass::BreakGlass;
use failures::Failures;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use roles::{Entries, Roles};
use serde::Serialize;
use std::net::IpAddr;
use strongroom_appraisal::UnixTime;
use strongroom_jose::Algorithm;
use strongroom_oidc::{Expected, Issuer, Source};
use strongroom_transport::{ClientAuthority, PeerCertificates, ServerTrust};
use strongroom_wire::{Code, Refusal, Result, limits};

/// The gate in front of the admin API.
#[derive(Debug)]
pub(crate) struct AdminGate {
    break_glass: Option<BreakGlass>,
    certificates: Option<Certificates>,
    issuers: Vec<Issuer>,
    entries: Entries,
    failures: Failures,
}

#[derive(Debug)]
struct Certificates {
    authority: ClientAuthority,
    configured: AdminCertificates,
}

/// What a request says of its caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) headers: &'a HeaderMap,
    /// What the handshake proved the key of.
    pub(crate) shown: Option<&'a PeerCertificates>,
    pub(crate) peer: Option<IpAddr>,
}

/// Who a caller has shown to be, by which of the ways in.
#[derive(Debug)]
enum Login {
    BreakGlass,
    /// The name in a certificate.
    Certificate(String),
    /// The claims of a token.
    Token {
        issuer: String,
        subject: String,
        groups: Vec<String>,
    },
}

/// A person, as the audit log names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Person {
    /// Two that are the same are the same person; two that are not may be one all the same.
    pub(crate) name: String,
    /// How they came in: `certificate`, `token` or `break-glass`.
    pub(crate) by: String,
    /// What the certificate or token calls them, where the configuration gives them another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) login: Option<String>,
}

/// Proof that a person asked. The only way to one is [`AdminGate::authorize`].
#[derive(Debug)]
pub(crate) struct Administrator {
    person: Person,
    roles: Roles,
}

/// Proof that they have the role that it takes. The only way to one is [`Administrator::permit`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Permitted<'a>(&'a Administrator);

impl Administrator {
    pub(crate) const fn person(&self) -> &Person {
        &self.person
    }

    /// # Errors
    /// `role-insufficient`.
    pub(crate) fn permit(&self, role: Role) -> Result<Permitted<'_>> {
        if self.roles.have(role) {
            return Ok(Permitted(self));
        }
        Err(Refusal::new(Code::RoleInsufficient, format!("roles of `{}`", self.person.name))
            .got(&self.roles)
            .want(role))
    }
}

impl Permitted<'_> {
    pub(crate) const fn person(&self) -> &Person {
        &self.0.person
    }

    /// # Errors
    /// As [`Administrator::permit`].
    pub(crate) fn permit(&self, role: Role) -> Result<()> {
        self.0.permit(role).map(drop)
    }
}

impl Person {
    /// Whether it is certain that these are two people: one book lists both, under names of their own. A certificate and a token may be
    /// one person's, and so may two names of which the configuration has given but one; and the break-glass token is anybody's.
    pub(crate) fn is_certainly_another_than(&self, other: &Self) -> bool {
        let known = !self.is_break_glass() && !other.is_break_glass();
        known && self.book() == other.book() && self.name != other.name && self.login() != other.login()
    }

    pub(crate) fn is_break_glass(&self) -> bool {
        self.by == roles::BREAK_GLASS
    }

    /// Who keeps people apart: the configuration, an issuer, or the authorities for one kind of name.
    fn book(&self) -> (&str, &str) {
        let until = |end| self.name.split_once(end).map_or("", |(book, _)| book);
        match (&self.login, self.by.as_str()) {
            (Some(_), _) => ("configuration", ""),
            (None, by @ "token") => (by, until('#')),
            (None, by) => (by, until(':')),
        }
    }

    fn login(&self) -> &str {
        self.login.as_deref().unwrap_or(&self.name)
    }
}

impl AdminGate {
    /// The gate that `config` describes. The break-glass token is made where it is absent.
    ///
    /// # Errors
    /// `file-mode-unsafe`; `io`; `too-large`; `key-invalid`: a token that is too short, keys of an issuer that are none;
    /// `malformed`; `configuration-invalid`: no authority's certificate, or not the address of keys.
    pub(crate) fn load(config: &Config) -> Result<Self> {
        let certificates = config.admin_certificates.clone().map(|configured| {
            let authority = ClientAuthority::new(configured.ca.as_bytes());
            let authority = authority.map_err(|refusal| refusal.within("[admin-certificates]"))?;
            Ok(Certificates { authority, configured })
        });
        Ok(Self {
            break_glass: config.admin_token.as_deref().map(BreakGlass::load).transpose()?,
            certificates: certificates.transpose()?,
            issuers: config.admin_issuers.iter().map(issuer).collect::<Result<_>>()?,
            entries: Entries::new(config.admins.clone()),
            failures: Failures::default(),
        })
    }

    /// Finds out who asks, however often others were wrong from the same address. What is in `Authorization` counts; without it, the
    /// certificate.
    ///
    /// # Errors
    /// `admin-unauthorized`: nothing that proves who they are; `busy`: the same, of a peer that was wrong ten times within this
    /// minute.
    pub(crate) async fn authorize(&self, caller: Caller<'_>, now: UnixTime) -> Result<Administrator> {
        match self.login(caller, now).await {
            Ok(login) => Ok(self.entries.administrator(&login)),
            Err(refusal) => {
                self.failures.count(caller.peer, now)?;
                Err(refusal)
            }
        }
    }

    async fn login(&self, caller: Caller<'_>, now: UnixTime) -> Result<Login> {
        let unauthorized = |what: &str| Refusal::new(Code::AdminUnauthorized, what);
        let why = |what: &str, refusal: &Refusal| unauthorized(what).got(refusal);
        match (caller.headers.get(AUTHORIZATION), caller.shown) {
            (Some(header), shown) => {
                let token = header.as_bytes().strip_prefix(b"Bearer ").unwrap_or_default();
                if self.break_glass.as_ref().is_some_and(|break_glass| break_glass.is(token)) {
                    return Ok(Login::BreakGlass);
                }
                let text = core::str::from_utf8(token).ok().filter(|text| text.matches('.').count() == 2);
                let named =
                    |text| self.issuers.iter().find(|issuer| issuer.is_named_in(text)).map(|issuer| (issuer, text));
                if let Some((issuer, text)) = text.and_then(named) {
                    let subject = issuer.subject(text, shown.and_then(PeerCertificates::thumbprint), now).await;
                    let subject = subject.map_err(|refused| why("admin token", &refused))?;
                    let issuer = issuer.name().to_owned();
                    return Ok(Login::Token { issuer, subject: subject.subject, groups: subject.groups });
                }
                Err(unauthorized("admin token").got("a wrong one"))
            }
            (None, Some(shown)) => {
                let Some(certificates) = &self.certificates else {
                    return Err(unauthorized("admin certificate")
                        .got("one")
                        .want("a token: no authority is configured"));
                };
                let name = certificates.verify(shown, now).map_err(|refusal| why("admin certificate", &refusal))?;
                Ok(Login::Certificate(name))
            }
            (None, None) => Err(unauthorized("admin token or certificate").got("none")),
        }
    }
}

/// # Errors
/// `io`, `too-large`, `malformed`, `key-invalid`: of the file; `configuration-invalid`: no address, or no certificate.
fn issuer(configured: &AdminIssuer) -> Result<Issuer> {
    let within = |refusal: Refusal| refusal.within("[[admin-issuer]]");
    let keys = match (&configured.jwks_file, &configured.jwks_url) {
        (Some(path), _) => Source::Set(load(path, limits::JWKS).map_err(within)?),
        (None, url) => {
            let trust = configured.ca.clone();
            let trust = trust.map_or(ServerTrust::WebPki, |pem| ServerTrust::Ca(pem.into_bytes()));
            Source::At { url: url.clone().unwrap_or_default(), trust }
        }
    };
    let expected = Expected {
        issuer: configured.issuer.clone(),
        audience: configured.audience.clone(),
        algorithms: vec![Algorithm::Es256, Algorithm::Rs256, Algorithm::EdDsa],
        types: None,
        groups_claim: configured.groups_claim.clone(),
        claims: Vec::new(),
    };
    Issuer::new(expected, keys).map_err(within)
}

impl Certificates {
    fn verify(&self, shown: &PeerCertificates, now: UnixTime) -> Result<String> {
        let lists = || self.configured.crl_file.as_deref().map(|path| load(path, limits::CONFIGURATION)).transpose();
        self.authority.verify(shown, lists, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const BASE: &str = "listen = 'a:1'\nadmin-listen = 'a:2'\nstate = 's'\nmaster-key = 'm'\n";

    fn gate() -> (tempfile::TempDir, AdminGate, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let config = Config::parse(format!("{BASE}admin-token = '{}'\n", path.display()).as_bytes()).unwrap();
        let gate = AdminGate::load(&config).unwrap();
        let token = std::fs::read_to_string(&path).unwrap();
        (folder, gate, token)
    }

    async fn code(gate: &AdminGate, authorization: Option<&str>, peer: u8, now: u64) -> Option<Code> {
        let header = authorization.map(|text| (AUTHORIZATION, HeaderValue::from_str(text).unwrap()));
        let headers = HeaderMap::from_iter(header);
        let caller = Caller { headers: &headers, shown: None, peer: Some(IpAddr::from([127, 0, 0, peer])) };
        gate.authorize(caller, now).await.err().map(|refusal| refusal.code)
    }

    #[tokio::test]
    async fn token_of_the_file_accepted_and_others_refused() {
        let (_folder, gate, token) = gate();
        assert_eq!(token.len(), 64);
        assert_eq!(code(&gate, Some(&format!("Bearer {token}")), 1, 0).await, None);
        for wrong in
            [token.clone(), format!("Bearer {token}0"), format!("Bearer {}", token.split_at(1).1), "Bearer ".into()]
        {
            assert_eq!(code(&gate, Some(&wrong), 1, 0).await, Some(Code::AdminUnauthorized));
        }
        assert_eq!(code(&gate, None, 1, 0).await, Some(Code::AdminUnauthorized));
    }

    #[tokio::test]
    async fn bearer_of_the_break_glass_token_may_read_and_change_and_is_named_as_such() {
        let (_folder, gate, token) = gate();
        let headers =
            HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap())]);
        let caller = Caller { headers: &headers, shown: None, peer: None };
        let administrator = gate.authorize(caller, 0).await.unwrap();
        assert_eq!(administrator.permit(Role::Approver).unwrap_err().code, Code::RoleInsufficient);
        for role in [Role::Viewer, Role::Operator] {
            let permitted = administrator.permit(role).unwrap();
            assert_eq!(
                (permitted.person().name.as_str(), permitted.person().by.as_str()),
                ("break-glass", "break-glass")
            );
        }
    }

    #[test]
    fn people_are_two_where_one_book_lists_both() {
        let person = |name: &str, by: &str, login: Option<&str>| Person {
            name: name.to_owned(),
            by: by.to_owned(),
            login: login.map(str::to_owned),
        };
        let alice = person("spiffe://a/alice", "certificate", None);
        let token = person("https://i#1", "token", None);
        let named = person("alice", "certificate", Some("spiffe://a/alice"));
        for (one, other, want) in [
            (&alice, &person("spiffe://a/bob", "certificate", None), true),
            (&token, &person("https://i#2", "token", None), true),
            (&named, &person("bob", "token", Some("https://i#2")), true),
            (&alice, &alice, false),
            (&alice, &token, false),
            (&alice, &person("mailto:alice@a", "certificate", None), false),
            (&token, &person("https://j#2", "token", None), false),
            (&named, &person("alice", "token", Some("https://i#1")), false),
            (&named, &person("spiffe://a/bob", "certificate", None), false),
            (&named, &person("alicia", "certificate", Some("spiffe://a/alice")), false),
            (&alice, &person("break-glass", "break-glass", None), false),
        ] {
            assert_eq!(one.is_certainly_another_than(other), want, "{one:?} {other:?}");
            assert_eq!(other.is_certainly_another_than(one), want, "{other:?} {one:?}");
        }
    }

    #[tokio::test]
    async fn token_that_is_switched_off_lets_nobody_in() {
        let text = format!(
            "{BASE}[admin-certificates]\nca = '''{}'''\n[[admin]]\ncertificate = 'a'\nroles = ['viewer']\n",
            strongroom_transport::ServerIdentity::generate(&["ca".to_owned()]).unwrap().certificate_pem()
        );
        let gate = AdminGate::load(&Config::parse(text.as_bytes()).unwrap()).unwrap();
        for token in ["Bearer ", "Bearer 00", "Bearer a.b.c"] {
            assert_eq!(code(&gate, Some(token), 1, 0).await, Some(Code::AdminUnauthorized), "{token}");
        }
    }

    #[tokio::test]
    async fn peer_that_is_wrong_too_often_is_busy_for_a_minute_and_the_right_token_gets_through() {
        let (_folder, gate, token) = gate();
        let (right, wrong) = (format!("Bearer {token}"), Some("Bearer wrong"));
        for _ in 0..failures::MOST {
            assert_eq!(code(&gate, wrong, 1, 100).await, Some(Code::AdminUnauthorized));
        }
        assert_eq!(code(&gate, wrong, 1, 100).await, Some(Code::Busy));
        assert_eq!(code(&gate, Some(&right), 1, 100).await, None);
        assert_eq!(code(&gate, wrong, 1, 100).await, Some(Code::Busy), "a right one forgives no wrong one");
        assert_eq!(code(&gate, wrong, 2, 100).await, Some(Code::AdminUnauthorized));
        assert_eq!(code(&gate, wrong, 1, 160).await, Some(Code::AdminUnauthorized));
    }
}
