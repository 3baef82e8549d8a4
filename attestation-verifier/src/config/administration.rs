//! Who may administer, as the configuration says it. There is no configuration with which nobody has to say who they are.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use strongroom_wire::{Code, Refusal, Result};

use super::Config;
use crate::admin::Change;
use crate::admin_gate::Role;

/// Issuers that are asked at most: each may be tried for a token.
const ISSUERS: usize = 8;
/// Entries; a name is compared with each.
const ENTRIES: usize = 1024;

/// Authorities whose certificates name people.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdminCertificates {
    /// PEM certificates of the authorities.
    pub ca: String,
    /// PEM file of their revocation lists, read anew for every call; every authority on the way to a certificate must have one in
    /// it that is in date. Absent: none is revoked before it ends.
    #[serde(default)]
    pub crl_file: Option<PathBuf>,
}

/// An issuer of tokens that name people: an OpenID provider, or anything that signs JWTs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdminIssuer {
    /// What its tokens say in `iss`.
    pub issuer: String,
    /// What they must say in `aud`.
    pub audience: String,
    /// File of its JWK set.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// `https://…` of its JWK set.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// PEM certificates of the authority behind that URL; absent: the public ones.
    #[serde(default)]
    pub ca: Option<String>,
    /// The claim that has a person's groups: a text, or a list of texts.
    #[serde(default = "groups")]
    pub groups_claim: String,
}

/// Who has which roles. One of `certificate`, `subject` and `group` says who.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdminEntry {
    /// What the person is called in the audit log, and by whom entries of the same name mean the same person. Absent: what the
    /// certificate or token says.
    #[serde(default)]
    pub name: Option<String>,
    /// The URI in a certificate's subjectAltName, or `mailto:` and its e-mail address. One `*` stands for one or more characters
    /// other than `/`.
    #[serde(default)]
    pub certificate: Option<String>,
    /// The `issuer` of `subject` or `group`.
    #[serde(default)]
    pub issuer: Option<String>,
    /// The claim `sub` of a token.
    #[serde(default)]
    pub subject: Option<String>,
    /// One of the groups in a token.
    #[serde(default)]
    pub group: Option<String>,
    /// What they may do.
    pub roles: BTreeSet<Role>,
}

fn groups() -> String {
    "groups".to_owned()
}

impl Config {
    /// Holds what it says of administration together: nobody comes in by something that is not there, everybody says who they are, and
    /// what needs two people can be done by two.
    ///
    /// # Errors
    /// `configuration-invalid`.
    pub(super) fn verify_administration(&self) -> Result<()> {
        let wrong = |what: &str| Refusal::new(Code::ConfigurationInvalid, what);
        if self.admin_token.is_none() && self.admins.is_empty() {
            return Err(wrong("administration").got("nobody").want("`admin-token`, or an `[[admin]]` entry"));
        }
        if self.admins.len() > ENTRIES || self.admin_issuers.len() > ISSUERS {
            let got = format!("{} entries, {} issuers", self.admins.len(), self.admin_issuers.len());
            return Err(wrong("administration").got(got).want(format!("at most {ENTRIES} and {ISSUERS}")));
        }
        let mut issuers = BTreeMap::new();
        for issuer in &self.admin_issuers {
            issuer.verify().map_err(|refusal| refusal.within(format!("[[admin-issuer]] `{}`", issuer.issuer)))?;
            if issuers.insert(&issuer.issuer, ()).is_some() {
                return Err(wrong("[[admin-issuer]]").got(format!("`{}` twice", issuer.issuer)));
            }
        }
        for entry in &self.admins {
            entry.verify().map_err(|refusal| refusal.within("[[admin]]"))?;
            let known = entry.issuer.as_ref().is_none_or(|issuer| issuers.contains_key(issuer));
            if !known || (entry.certificate.is_some() && self.admin_certificates.is_none()) {
                let who = entry.issuer.as_ref().or(entry.certificate.as_ref()).cloned().unwrap_or_default();
                let want = "an `[[admin-issuer]]` of that name, or `[admin-certificates]`";
                return Err(wrong("[[admin]]: nobody vouches for it").got(who).want(want));
            }
        }
        let may_approve = |entry: &AdminEntry| entry.roles.contains(&Role::Approver);
        if !self.admin_approval.is_empty() && !self.admins.iter().any(may_approve) {
            return Err(wrong("`admin-approval`")
                .got(names(&self.admin_approval))
                .want("an `[[admin]]` entry with the role `approver`: nobody approves their own change"));
        }
        Ok(())
    }
}

fn names(changes: &BTreeSet<Change>) -> String {
    changes.iter().map(|change| change.as_str()).collect::<Vec<_>>().join(", ")
}

impl AdminIssuer {
    fn verify(&self) -> Result<()> {
        let wrong = |what: &str| Refusal::new(Code::ConfigurationInvalid, what);
        if self.issuer.is_empty() || self.audience.is_empty() || self.groups_claim.is_empty() {
            return Err(wrong("`issuer`, `audience` and `groups-claim`").want("some text"));
        }
        // It ends what a person is called by up to the subject.
        if self.issuer.contains('#') {
            return Err(wrong("`issuer`").got(&self.issuer).want("no `#`"));
        }
        match (&self.jwks_file, &self.jwks_url) {
            (Some(_), None) if self.ca.is_some() => Err(wrong("`ca`").want("only beside `jwks-url`")),
            (Some(_), None) => Ok(()),
            (None, Some(url)) if url.starts_with("https://") => Ok(()),
            (None, Some(url)) => Err(wrong("`jwks-url`").got(url).want("https://…")),
            _ => Err(wrong("keys").want("one of `jwks-file` and `jwks-url`")),
        }
    }
}

impl AdminEntry {
    fn verify(&self) -> Result<()> {
        let wrong = |what: &str| Refusal::new(Code::ConfigurationInvalid, what);
        let (certificate, issuer) = (self.certificate.as_deref(), self.issuer.as_deref());
        let (subject, group) = (self.subject.as_deref(), self.group.as_deref());
        let who = match (certificate, issuer, subject, group) {
            (Some(who), None, None, None) | (None, Some(_), Some(who), None) | (None, Some(_), None, Some(who)) => who,
            _ => return Err(wrong("who").want("`certificate`, or `issuer` with `subject` or with `group`")),
        };
        if who.is_empty() || self.name.as_deref() == Some("") || self.roles.is_empty() {
            return Err(wrong("who, `name` and `roles`").want("none that is empty"));
        }
        if certificate.is_some_and(|pattern| pattern.matches('*').count() > 1) {
            return Err(wrong("`certificate`").got(who).want("at most one `*`"));
        }
        // A name that many share would make them one person, none of whom could approve what another asked for.
        if self.name.is_some() && (group.is_some() || who.contains('*') && certificate.is_some()) {
            return Err(wrong("`name`").got(who).want("none where many may come in by the entry"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "listen = 'a:1'\nadmin-listen = 'a:2'\nstate = 's'\nmaster-key = 'm'\n";
    const TOKEN: &str = "admin-token = 't'\n";
    const CERTIFICATES: &str = "[admin-certificates]\nca = 'pem'\n";
    const ISSUER: &str = "[[admin-issuer]]\nissuer = 'https://i'\naudience = 'a'\njwks-file = 'j'\n";

    fn code(parts: &[&str]) -> Option<Code> {
        Config::parse(format!("{BASE}{}", parts.concat()).as_bytes()).err().map(|refusal| refusal.code)
    }

    fn admin(more: &str) -> String {
        format!("[[admin]]\nroles = ['viewer']\n{more}\n")
    }

    #[test]
    fn somebody_must_be_able_to_come_in_and_nobody_unnamed() {
        let invalid = Some(Code::ConfigurationInvalid);
        assert_eq!(code(&[TOKEN]), None);
        assert_eq!(code(&[]), invalid);
        assert_eq!(code(&[CERTIFICATES, ISSUER]), invalid, "nobody is let in by them");
        let (certificate, subject) =
            (admin("certificate = 'spiffe://a/b'"), admin("issuer = 'https://i'\nsubject = 's'"));
        assert_eq!(code(&[CERTIFICATES, &certificate]), None);
        assert_eq!(code(&[TOKEN, &certificate]), invalid, "no authority");
        assert_eq!(code(&[ISSUER, &subject]), None);
        assert_eq!(code(&[TOKEN, &subject]), invalid, "no issuer");
    }

    #[test]
    fn entry_says_who_in_one_way() {
        let of = |more: &str| code(&[CERTIFICATES, ISSUER, &admin(more)]);
        for sound in [
            "certificate = 'mailto:*@example.org'",
            "issuer = 'https://i'\ngroup = 'ops'",
            "name = 'a'\ncertificate = 'spiffe://a/b'",
            "name = 'a'\nissuer = 'https://i'\nsubject = '*'",
        ] {
            assert_eq!(of(sound), None, "{sound}");
        }
        for wrong in [
            "",
            "name = 'a'",
            "certificate = ''",
            "certificate = 'a/*/*'",
            "subject = 's'",
            "issuer = 'https://i'",
            "issuer = 'https://i'\nsubject = 's'\ngroup = 'g'",
            "certificate = 'a'\nissuer = 'https://i'\nsubject = 's'",
            "name = 'a'\ncertificate = 'spiffe://a/*'",
            "name = 'a'\nissuer = 'https://i'\ngroup = 'g'",
            "name = ''\ncertificate = 'a'",
        ] {
            assert_eq!(of(wrong), Some(Code::ConfigurationInvalid), "{wrong}");
        }
        let root = "[[admin]]\ncertificate = 'a'\nroles = ['root']";
        assert_eq!(code(&[CERTIFICATES, root]), Some(Code::ConfigurationInvalid));
    }

    #[test]
    fn keys_of_an_issuer_come_from_one_place_and_never_over_plain_http() {
        let of = |more: &str| code(&[TOKEN, "[[admin-issuer]]\nissuer = 'i'\naudience = 'a'\n", more]);
        assert_eq!(of("jwks-url = 'https://i/jwks'\nca = 'pem'"), None);
        for wrong in [
            "",
            "jwks-url = 'http://i/jwks'",
            "jwks-url = 'https://i'\njwks-file = 'j'",
            "jwks-file = 'j'\nca = 'pem'",
            "jwks-file = 'j'\ngroups-claim = ''",
        ] {
            assert_eq!(of(wrong), Some(Code::ConfigurationInvalid), "{wrong}");
        }
        assert_eq!(code(&[TOKEN, ISSUER, ISSUER]), Some(Code::ConfigurationInvalid), "twice");
    }

    #[test]
    fn change_that_needs_approval_needs_somebody_who_may_approve() {
        let approval = "admin-approval = ['key-disable']\n";
        let entry = |role: &str| format!("[[admin]]\nroles = ['{role}']\ncertificate = 'a'\n");
        let [operator, approver] = ["operator", "approver"].map(entry);
        assert_eq!(code(&[approval, CERTIFICATES, &operator, &approver]), None);
        assert_eq!(code(&[approval, TOKEN, CERTIFICATES, &operator]), Some(Code::ConfigurationInvalid));
        assert_eq!(code(&["admin-approval = ['all']\n", TOKEN]), Some(Code::ConfigurationInvalid));
    }
}
