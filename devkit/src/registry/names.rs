//! Repository names, tags and digests: what a URL may name. Whatever parses here is safe as the name of one file.

use super::error::{Answer, ErrorCode, OciError};
use core::fmt;
use strongroom_wire::digest::Sha256;

/// The longest repository name, in bytes: the name becomes one folder's name, and file systems end those at 255.
const NAME: usize = 255;
/// The longest tag, in bytes (distribution specification 1.1, "Pulling manifests").
const TAG: usize = 128;

/// A repository's name: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` between slashes (distribution specification 1.1, "Pulling
/// manifests"). No component can be `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repository(String);

impl Repository {
    /// The repository called `text`, or `NAME_INVALID`.
    pub(super) fn parse(text: &str) -> Answer<Self> {
        if text.len() <= NAME && text.split('/').all(is_component) {
            return Ok(Self(text.to_owned()));
        }
        Err(OciError::new(ErrorCode::NameInvalid, "the repository name is not one of the specification's grammar"))
    }

    /// The name of the one folder that holds it. `+` is in no name, so two repositories never share a folder and none
    /// lies inside another.
    pub(super) fn folder(&self) -> String {
        self.0.replace('/', "+")
    }

    /// The name of the repository that [`Self::folder`] gave this folder.
    pub(super) fn name_of_folder(folder: &str) -> String {
        folder.replace('+', "/")
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_component(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    // What lies between two letters or digits is empty or one separator.
    let separator = |s: &str| matches!(s, "" | "." | "_" | "__") || s.bytes().all(|b| b == b'-');
    text.starts_with(alphanumeric) && text.ends_with(alphanumeric) && text.split(alphanumeric).all(separator)
}

/// How a manifest is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reference {
    /// By a tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
    Tag(String),
    /// By its digest.
    Digest(Sha256),
}

impl Reference {
    /// The reference in `text`; what holds a colon is a digest, since no tag does.
    pub(super) fn parse(text: &str) -> Answer<Self> {
        if text.contains(':') {
            return parse_digest(text).map(Self::Digest);
        }
        let first = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let rest = |c: char| first(c) || c == '.' || c == '-';
        if text.len() <= TAG && text.starts_with(first) && text.chars().all(rest) {
            return Ok(Self::Tag(text.to_owned()));
        }
        Err(OciError::new(ErrorCode::ManifestInvalid, "the tag is not one of the specification's grammar"))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => f.write_str(&digest.oci()),
        }
    }
}

/// The SHA-256 digest in `text`, or `DIGEST_INVALID`: this registry keeps no content under another algorithm.
pub(super) fn parse_digest(text: &str) -> Answer<Sha256> {
    Sha256::from_oci(text).map_err(|refusal| OciError::new(ErrorCode::DigestInvalid, refusal.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_names_of_the_grammar_accepted_and_others_refused() {
        for name in ["a", "models/gemma", "a.b_c__d---e/9", &"a".repeat(NAME)] {
            assert_eq!(Repository::parse(name).unwrap().to_string(), name);
        }
        let long = "a".repeat(NAME + 1);
        for name in
            ["", "/", "a/", "/a", "a//b", "A", "a..b", "a___b", "-a", "a-", ".", "..", "a/../b", "a+b", "a%2fb", &long]
        {
            assert_eq!(Repository::parse(name).unwrap_err().code(), ErrorCode::NameInvalid, "{name}");
        }
    }

    #[test]
    fn folder_of_a_nested_name_is_one_component_and_gives_the_name_back() {
        let repository = Repository::parse("a/b/c").unwrap();
        assert_eq!(repository.folder(), "a+b+c");
        assert_eq!(Repository::name_of_folder("a+b+c"), "a/b/c");
    }

    #[test]
    fn tags_of_the_grammar_accepted_and_others_refused() {
        for tag in ["latest", "_", "v1.0-rc.1", &"a".repeat(TAG)] {
            assert_eq!(Reference::parse(tag).unwrap(), Reference::Tag(tag.to_owned()));
        }
        for tag in ["", ".hidden", "-a", "..", "a b", &"a".repeat(TAG + 1)] {
            assert_eq!(Reference::parse(tag).unwrap_err().code(), ErrorCode::ManifestInvalid, "{tag}");
        }
    }

    #[test]
    fn digest_of_sha256_accepted_and_of_another_algorithm_refused() {
        let digest = Sha256::of(b"x");
        assert_eq!(Reference::parse(&digest.oci()).unwrap(), Reference::Digest(digest));
        let other = digest.oci().replace("sha256", "sha512");
        assert_eq!(Reference::parse(&other).unwrap_err().code(), ErrorCode::DigestInvalid);
    }
}
