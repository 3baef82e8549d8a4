//! Step 1: who asks, by what the request shows.

use super::Identity;
use super::keys::Keys;
use crate::clock::Clock;
use axum::http::{HeaderMap, HeaderValue, header};
use std::collections::BTreeMap;
use strongroom_jose::Algorithm;
use strongroom_oidc::{Expected, Issuer, Source};
use strongroom_svid::{Bundle, Side};
use strongroom_transport::{PeerCertificates, ServerTrust};
use strongroom_wire::deployment::{self, IdentityKind, Settings, TokenAlgorithm};
use strongroom_wire::{Code, Refusal, Result};

/// Whose word on who somebody is counts.
#[derive(Debug)]
pub(super) struct Credentials {
    keys: Keys,
    issuers: Vec<Issuer>,
    trust_domains: Vec<Bundle>,
}

/// Proof that a request is of somebody. [`Credentials::authenticate`] alone makes one.
#[derive(Debug)]
pub(super) struct Authenticated {
    pub(super) identity: Identity,
    pub(super) groups: Vec<String>,
    pub(super) claims: BTreeMap<String, String>,
    /// Whether the caller has proven to have the key of a certificate that is its own.
    pub(super) certificate: bool,
}

impl From<Identity> for Authenticated {
    fn from(identity: Identity) -> Self {
        Self { identity, groups: Vec::new(), claims: BTreeMap::new(), certificate: false }
    }
}

impl Credentials {
    /// # Errors
    /// Those of [`Bundle::parse`] and [`Issuer::new`].
    pub(super) fn of(settings: &Settings) -> Result<Self> {
        let access = &settings.access;
        let bundle = |domain: &deployment::TrustedDomain| {
            let bundle = Bundle::parse(domain.name.clone(), domain.bundle.as_bytes());
            bundle.map_err(|refusal| refusal.within(format!("trust domain `{}`", domain.name)))
        };
        Ok(Self {
            keys: Keys::new(&settings.principals),
            issuers: access.issuers.iter().map(issuer).collect::<Result<_>>()?,
            trust_domains: access.trust_domains.iter().map(bundle).collect::<Result<_>>()?,
        })
    }

    /// Who it is that sends `headers` and has shown `shown` in the handshake, of which it has the key of the first.
    ///
    /// A certificate goes with a token that is bound to it. With a key, or with any other token, it would name a second caller, where the
    /// document knows callers by certificates at all; where it does not, a certificate names nobody.
    ///
    /// # Errors
    /// `unauthenticated`: of a bearer key it is not told what is wrong with it, of tokens and certificates it is; `clock-behind`.
    pub(super) async fn authenticate(
        &self,
        headers: &HeaderMap,
        shown: Option<&PeerCertificates>,
        clock: &Clock,
    ) -> Result<Authenticated> {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let authenticated = match (given.next(), given.next(), shown) {
            (Some(value), None, shown) => self.bearer(value, shown, clock).await?,
            (None, _, Some(shown)) if !self.trust_domains.is_empty() => return self.workload(shown, clock),
            _ => return Err(nobody()),
        };
        if shown.is_some() && !authenticated.certificate && !self.trust_domains.is_empty() {
            let two = unauthenticated("credentials").got("a certificate, and a key or token that is not bound to it");
            return Err(two.want("one of them"));
        }
        Ok(authenticated)
    }

    async fn bearer(
        &self,
        value: &HeaderValue,
        shown: Option<&PeerCertificates>,
        clock: &Clock,
    ) -> Result<Authenticated> {
        let secret = bearer(value.as_bytes()).ok_or_else(nobody)?;
        // A key that looks like a token of an issuer would be one that the issuer could have made.
        let text = core::str::from_utf8(secret).ok().filter(|text| text.matches('.').count() == 2);
        let named = text.and_then(|text| Some((self.issuers.iter().find(|issuer| issuer.is_named_in(text))?, text)));
        let Some((issuer, token)) = named else {
            return self.keys.bearer_of(secret).map(Authenticated::from).ok_or_else(nobody);
        };
        let subject = issuer.subject(token, shown.and_then(PeerCertificates::thumbprint), clock.now()?).await;
        // Which check it was, and nothing of what the token says: nobody has vouched for it.
        let subject = subject.map_err(|refusal| unauthenticated(&check(&refusal)).got("a token that does not hold"))?;
        let name = format!("{}#{}", issuer.name(), subject.subject);
        Ok(Authenticated {
            identity: Identity::new(IdentityKind::Subject, name),
            groups: subject.groups,
            claims: subject.claims,
            certificate: subject.bound,
        })
    }

    fn workload(&self, shown: &PeerCertificates, clock: &Clock) -> Result<Authenticated> {
        let now = clock.now()?;
        let verified = self.trust_domains.iter().find_map(|one| one.verify(shown.chain(), Side::Client, now).ok());
        // Which trust domains there are is not told to everybody who connects.
        let id = verified.ok_or_else(|| unauthenticated("certificate").got("none that is vouched for"))?;
        let identity = Identity::new(IdentityKind::Workload, id.as_str());
        Ok(Authenticated { certificate: true, ..identity.into() })
    }
}

fn issuer(stated: &deployment::Issuer) -> Result<Issuer> {
    let keys = match (&stated.jwks, &stated.jwks_url) {
        (Some(set), _) => Source::Set(set.clone().into_bytes()),
        (None, url) => {
            let trust = stated.ca.clone();
            let trust = trust.map_or(ServerTrust::WebPki, |pem| ServerTrust::Ca(pem.into_bytes()));
            Source::At { url: url.clone().unwrap_or_default(), trust }
        }
    };
    let algorithm = |algorithm: &TokenAlgorithm| match algorithm {
        TokenAlgorithm::Es256 => Algorithm::Es256,
        TokenAlgorithm::Rs256 => Algorithm::Rs256,
        TokenAlgorithm::EdDsa => Algorithm::EdDsa,
    };
    let expected = Expected {
        issuer: stated.issuer.clone(),
        audience: stated.audience.clone(),
        algorithms: stated.algorithms.iter().map(algorithm).collect(),
        types: Some(stated.types.iter().cloned().collect()),
        groups_claim: stated.groups_claim.clone(),
        claims: stated.claims.iter().cloned().collect(),
    };
    Issuer::new(expected, keys)
}

/// The first words of a refusal about a token, which are ours.
fn check(refusal: &Refusal) -> String {
    refusal.what.split(": ").take(2).collect::<Vec<_>>().join(": ")
}

/// The scheme is compared without case (RFC 9110 §11.1); an empty key is none.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, secret) = value.split_at_checked(7)?;
    let secret = secret.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !secret.is_empty()).then_some(secret)
}

fn nobody() -> Refusal {
    unauthenticated("bearer key").got("none that is known")
}

fn unauthenticated(what: &str) -> Refusal {
    Refusal::new(Code::Unauthenticated, what)
}

#[cfg(test)]
mod tests;
