//! Mirrors: registries that may have what another registry names.
//!
//! Only what is named by its digest is asked of them, so that they can withhold and delay, and nothing else. What they want to
//! see of us is their own: nothing that was obtained for one host is sent to another.

use crate::access::Access;
use crate::client::RegistryClient;
use crate::reference::Reference;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// A mirror of registries.
#[derive(Debug)]
pub struct Mirror {
    host: String,
    prefix: Option<String>,
    access: Access,
}

/// A mirror, and how it is reached.
#[derive(Debug)]
pub(crate) struct ReachedMirror {
    pub(crate) client: RegistryClient,
    prefix: Option<String>,
}

impl Mirror {
    /// The mirror at `host[:port][/prefix]`, reached as `access` says. Repositories are below the prefix there. Mirrors have no
    /// mirrors and no cache of their own.
    ///
    /// # Errors
    /// `reference-invalid`: not of that form.
    pub fn new(place: &str, access: Access) -> Result<Self> {
        let invalid = || Refusal::new(Code::ReferenceInvalid, "mirror").got(place).want("host[:port][/prefix]");
        // A prefix is of a repository's grammar, which is a reference's own.
        let reference = match place.split_once('/') {
            Some(_) => Reference::parse(place),
            None => Reference::parse(&format!("{place}/prefix")),
        };
        let reference = reference.map_err(|_| invalid())?;
        if reference.tag().is_some() || reference.digest().is_some() {
            return Err(invalid());
        }
        let prefix = place.contains('/').then(|| reference.repository().to_owned());
        let access = Access { mirrors: Vec::new(), cache: None, ..access };
        Ok(Self { host: reference.host().to_owned(), prefix, access })
    }
}

impl ReachedMirror {
    pub(crate) fn new(mirror: Mirror) -> Result<Self> {
        Ok(Self { client: RegistryClient::new(&mirror.host, mirror.access)?, prefix: mirror.prefix })
    }

    /// The content `digest` of `repository` there.
    pub(crate) fn reference(&self, repository: &str, digest: Sha256) -> Result<Reference> {
        Reference::parse(&format!("{}/{}@{}", self.client.host(), self.repository(repository), digest.oci()))
    }

    /// What `repository` is called there.
    pub(crate) fn repository(&self, repository: &str) -> String {
        match &self.prefix {
            Some(prefix) => format!("{prefix}/{repository}"),
            None => repository.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_below_the_prefix() {
        for (place, want) in [("m.example:5000/a/b", "a/b/x/y"), ("m.example", "x/y")] {
            let mirror = ReachedMirror::new(Mirror::new(place, Access::default()).unwrap()).unwrap();
            assert_eq!(mirror.repository("x/y"), want);
            assert_eq!(mirror.client.host(), place.split('/').next().unwrap());
        }
    }

    #[test]
    fn place_of_another_form_refused() {
        for place in ["", "https://m.example", "m.example/a:tag", "m.example/A", "m.example/"] {
            assert_eq!(Mirror::new(place, Access::default()).unwrap_err().code, Code::ReferenceInvalid, "{place}");
        }
    }
}
