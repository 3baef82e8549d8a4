//! References to models: `host[:port]/repo[:tag][@sha256:…]`.

use core::fmt;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, limits};

/// The longest repository name with its host, in bytes (distribution specification 1.1, "Pulling manifests": many clients
/// end host and name together at 255).
const NAME: usize = 255;
/// The longest tag, in bytes (distribution specification 1.1, "Pulling manifests").
const TAG: usize = 128;

/// Where a manifest is and what it is called there. Every part is of its grammar, so it can be put into a URL as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Sha256>,
}

impl Reference {
    /// Parses a reference. The host is never implied: what stands before the first `/` has a dot, a port or is
    /// `localhost`, as other tools take `models/a` for a repository of a public registry.
    ///
    /// # Errors
    /// `reference-invalid`: host, repository or tag is not of its grammar, or the digest is not SHA-256.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > limits::REFERENCE {
            let got = format!("{} bytes", text.len());
            return Err(invalid().got(got).want(format!("at most {} bytes", limits::REFERENCE)));
        }
        let wrong = |part: &str| invalid().within(part).got(text).want("host[:port]/repo[:tag][@sha256:…]");
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(Sha256::from_oci(digest).map_err(|_| wrong("digest"))?)),
            None => (text, None),
        };
        let (host, path) = named.split_once('/').ok_or_else(|| wrong("host"))?;
        let (repository, tag) = match path.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        if !is_host(host) {
            return Err(wrong("host"));
        }
        if host.len() + 1 + repository.len() > NAME || !repository.split('/').all(is_component) {
            return Err(wrong("repository"));
        }
        if !tag.is_none_or(is_tag) {
            return Err(wrong("tag"));
        }
        Ok(Self { host: host.to_owned(), repository: repository.to_owned(), tag: tag.map(str::to_owned), digest })
    }

    /// `host[:port]` of the registry.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository's name on that host.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, which plays no part where there is a digest too.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest.
    pub const fn digest(&self) -> Option<Sha256> {
        self.digest
    }

    /// `host[:port]/repo`, as trust files name repositories.
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// The same repository, and the manifest `digest` in it.
    #[must_use]
    pub fn pinned(&self, digest: Sha256) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// The same repository, and the manifest `digest` in it, without a tag: the one way to write it.
    #[must_use]
    pub fn untagged(&self, digest: Sha256) -> Self {
        Self { tag: None, ..self.pinned(digest) }
    }

    /// The same repository, and what `tag` names in it.
    pub(crate) fn tagged(&self, tag: &str) -> Self {
        Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() }
    }

    /// How the registry's API names the manifest: the digest, else the tag, else the tag `latest`.
    pub(crate) fn selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.oci(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{}", digest.oci())?;
        }
        Ok(())
    }
}

impl core::str::FromStr for Reference {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

fn invalid() -> Refusal {
    Refusal::new(Code::ReferenceInvalid, "reference")
}

/// Whether `text` is a host with an optional port: names of letters, digits and inner hyphens, or an IPv6 address in
/// brackets.
pub(crate) fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (text, None),
    };
    if !port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()) {
        return false;
    }
    if let Some(address) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<core::net::Ipv6Addr>().is_ok();
    }
    let explicit = port.is_some() || name.contains('.') || name == "localhost";
    let label = |label: &str| {
        let edge = |c: char| c.is_ascii_alphanumeric();
        label.starts_with(edge) && label.ends_with(edge) && label.chars().all(|c| edge(c) || c == '-')
    };
    explicit && name.split('.').all(label)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`: no component is `.` or `..`.
fn is_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    // What lies between two letters or digits is empty or one separator.
    let separator = |s: &str| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-');
    text.starts_with(alphanumeric) && text.ends_with(alphanumeric) && text.split(alphanumeric).all(separator)
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
fn is_tag(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= TAG && text.starts_with(first) && text.chars().all(|c| first(c) || c == '.' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn references_of_the_grammar_are_shown_as_they_were_written() {
        for text in [
            "127.0.0.1:5000/a",
            "localhost/models/gemma:v1",
            "registry.example/a.b_c__d---e/9:_",
            "[::1]:5000/a",
            &format!("r:5000/a@{DIGEST}"),
            &format!("r:5000/a:latest@{DIGEST}"),
        ] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn parts_of_a_reference_are_told_apart() {
        let reference = Reference::parse(&format!("r:5000/a/b:v1@{DIGEST}")).unwrap();
        assert_eq!((reference.host(), reference.repository(), reference.tag()), ("r:5000", "a/b", Some("v1")));
        assert_eq!(reference.digest().unwrap().oci(), DIGEST);
        assert_eq!(reference.name(), "r:5000/a/b");
        assert_eq!(reference.selector(), DIGEST);
        assert_eq!(reference.tagged("v2").selector(), "v2");
        assert_eq!(Reference::parse("r:5000/a").unwrap().selector(), "latest");
    }

    #[test]
    fn references_outside_the_grammar_refused() {
        let long = "a".repeat(NAME);
        for text in [
            "",
            "a",
            "models/a",
            "r:5000/",
            "r:5000/A",
            "r:5000/a:",
            "r:5000/a:.b",
            "r:5000/a@",
            "r:5000/a@sha512:00",
            "r:5000/../a",
            "r:5000/a/../b",
            "r:5000/a//b",
            "r:70000/a",
            "r:+5/a",
            "-r.x/a",
            "https://r:5000/a",
            "u@r:5000/a",
            "r:5000/a?b",
            "r:5000/a:b:c",
            "[zz]:1/a",
            "r:/a",
            &format!("r:5000/{long}"),
        ] {
            assert_eq!(Reference::parse(text).unwrap_err().code, Code::ReferenceInvalid, "{text}");
        }
    }
}
