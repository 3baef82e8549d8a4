//! Names of workloads: SPIFFE ids (SPIFFE-ID, "The SPIFFE Identity and Verifiable Identity Document", §2).

use crate::{Code, Realm, Refusal, Result};
use core::fmt;
use serde::{Deserialize, Serialize};

/// `spiffe://`.
const SCHEME: &str = "spiffe://";
/// The longest trust domain, in bytes (§2.1).
const DOMAIN: usize = 255;
/// The longest id, in bytes (§2.3).
const ID: usize = 2048;
/// The end of every trust domain of the test realm, a name that nobody owns (RFC 6761 §6.2).
const TEST: &str = ".test";

/// Whose names they are: letters `a` to `z`, digits, `.`, `-` and `_`, at most 255.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(String);

/// The name of one workload: a trust domain and a path in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId {
    text: String,
    /// Where the path begins.
    path: usize,
}

impl TrustDomain {
    /// Parses a name.
    ///
    /// # Errors
    /// `identity-invalid`.
    pub fn parse(text: &str) -> Result<Self> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c);
        if text.is_empty() || text.len() > DOMAIN || !text.chars().all(allowed) {
            return Err(invalid("trust domain", text).want("letters a to z, digits, `.`, `-` and `_`, at most 255"));
        }
        Ok(Self(text.to_owned()))
    }

    /// That it is one of that realm: of the test realm are those that end in `.test`, and no others.
    ///
    /// # Errors
    /// `realm-mismatch`.
    pub fn verify_realm(&self, realm: Realm) -> Result<()> {
        let test = matches!(realm, Realm::Test(_));
        if self.0.ends_with(TEST) == test {
            return Ok(());
        }
        let want = if test { "one that ends in `.test`" } else { "one that does not end in `.test`" };
        Err(Refusal::new(Code::RealmMismatch, "trust domain").got(self).want(want))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SpiffeId {
    /// Parses `spiffe://<trust domain>/<path>`.
    ///
    /// # Errors
    /// `identity-invalid`: also an id without a path, which names a trust domain and no workload.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || invalid("SPIFFE id", text).want("spiffe://<trust domain>/<path>, at most 2048 bytes");
        let rest = text.strip_prefix(SCHEME).filter(|_| text.len() <= ID).ok_or_else(wrong)?;
        let (domain, path) = rest.split_once('/').ok_or_else(wrong)?;
        let domain = TrustDomain::parse(domain)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        let segment = |one: &str| !one.is_empty() && one != "." && one != ".." && one.chars().all(allowed);
        if !path.split('/').all(segment) {
            return Err(wrong());
        }
        Ok(Self { text: text.to_owned(), path: SCHEME.len().saturating_add(domain.0.len()) })
    }

    /// Whose name it is.
    pub fn trust_domain(&self) -> TrustDomain {
        TrustDomain(self.text.get(SCHEME.len()..self.path).unwrap_or_default().to_owned())
    }

    /// The path, which begins with a slash.
    pub fn path(&self) -> &str {
        self.text.get(self.path..).unwrap_or_default()
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn invalid(what: &str, text: &str) -> Refusal {
    Refusal::new(Code::IdentityInvalid, what).got(text.chars().take(300).collect::<String>())
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for TrustDomain {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<TrustDomain> for String {
    fn from(domain: TrustDomain) -> Self {
        domain.0
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256;

    #[test]
    fn id_of_a_workload_accepted_with_its_parts() {
        let (domain, path) = ("a".repeat(DOMAIN), format!("/{}", "b".repeat(ID - DOMAIN - SCHEME.len() - 1)));
        let longest = format!("spiffe://{domain}{path}");
        for (text, domain, path) in [
            ("spiffe://example.org/a", "example.org", "/a"),
            ("spiffe://ex-1_a.org/models/Embed_1.0/...", "ex-1_a.org", "/models/Embed_1.0/..."),
            (&longest, &domain, &path),
        ] {
            let id = SpiffeId::parse(text).unwrap();
            assert_eq!((id.trust_domain().as_str(), id.path()), (domain, path));
            assert_eq!(
                (id.as_str(), id.to_string(), String::from(id.clone())),
                (text, text.to_owned(), text.to_owned())
            );
            let named = id.trust_domain();
            assert_eq!((named.to_string(), String::from(named)), (domain.to_owned(), domain.to_owned()));
        }
    }

    #[test]
    fn what_is_no_id_of_a_workload_refused() {
        let long = format!("spiffe://{}/{}", "a".repeat(DOMAIN), "b".repeat(ID - DOMAIN - SCHEME.len()));
        let domain = format!("spiffe://{}/b", "a".repeat(DOMAIN + 1));
        for text in [
            "",
            "spiffe://",
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe:///a",
            "SPIFFE://example.org/a",
            "https://example.org/a",
            "spiffe://Example.org/a",
            "spiffe://example.org:8443/a",
            "spiffe://user@example.org/a",
            "spiffe://example.org/a/",
            "spiffe://example.org//a",
            "spiffe://example.org/./a",
            "spiffe://example.org/a/..",
            "spiffe://example.org/a%20b",
            "spiffe://example.org/a?b",
            "spiffe://example.org/a#b",
            "spiffe://example.org/ä",
            &long,
            &domain,
        ] {
            assert_eq!(SpiffeId::parse(text).unwrap_err().code, Code::IdentityInvalid, "{text}");
        }
    }

    #[test]
    fn trust_domain_of_the_test_realm_is_one_of_no_other() {
        let code = |text: &str, realm| TrustDomain::parse(text).unwrap().verify_realm(realm).map_err(|e| e.code);
        let test = Realm::Test(Sha256([1; 32]));
        assert_eq!(code("example.test", test), Ok(()));
        assert_eq!(code("example.test", Realm::Vendor), Err(Code::RealmMismatch));
        assert_eq!(code("example.org", Realm::Vendor), Ok(()));
        assert_eq!(code("example.org", test), Err(Code::RealmMismatch));
    }
}
