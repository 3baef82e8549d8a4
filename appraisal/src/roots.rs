//! The roots that are trusted, and the intermediates that AMD publishes for everybody.
//!
//! A root is trusted for its key alone. AMD's certificates stand beside this file as AMD publishes them; they are public
//! facts, and a test compares their keys' digests with those written here.

use crate::certificate::Certificate;
use crate::endorsements::read_pem;
use strongroom_wire::{Code, Realm, Refusal, Result, Root};

/// The trusted roots of one realm.
#[derive(Debug, Clone)]
pub struct Roots {
    realm: Realm,
    roots: Vec<Certificate>,
    intermediates: Vec<Certificate>,
}

const AMD_ROOTS: &[&[u8]] = &[
    include_bytes!("roots/ark-milan.pem"),
    include_bytes!("roots/ark-genoa.pem"),
    include_bytes!("roots/ark-turin.pem"),
];

const AMD_INTERMEDIATES: &[&[u8]] = &[
    include_bytes!("roots/ask-milan.pem"),
    include_bytes!("roots/ask-genoa.pem"),
    include_bytes!("roots/ask-turin.pem"),
];

impl Roots {
    /// AMD's ARKs of Milan, Genoa and Turin.
    pub fn builtin() -> Result<Self> {
        let parse = |pems: &[&[u8]]| pems.iter().map(|pem| single(pem)).collect::<Result<Vec<_>>>();
        Ok(Self { realm: Realm::Vendor, roots: parse(AMD_ROOTS)?, intermediates: parse(AMD_INTERMEDIATES)? })
    }

    /// One root of somebody's choosing, PEM or DER, in place of the vendors'. Its realm is `test:` and its key's digest,
    /// so what it vouches for can never be taken for a vendor's. Refused where it is one of the vendors' own.
    pub fn test(root: &[u8]) -> Result<Self> {
        let roots = Self::named(&[root])?;
        match roots.realm {
            Realm::Test(_) => Ok(roots),
            Realm::Vendor => Err(Refusal::new(Code::RealmMismatch, "test root").got("a vendor's root key")),
        }
    }

    /// These roots alone, each PEM or DER: some of the vendors' own, or test roots, but never both.
    pub fn named(roots: &[&[u8]]) -> Result<Self> {
        let builtin = Self::builtin()?;
        let roots = roots.iter().map(|root| single(root)).collect::<Result<Vec<_>>>()?;
        roots.iter().try_for_each(Certificate::verify_authority)?;
        let Some(first) = roots.first() else {
            return Err(Refusal::new(Code::Usage, "roots").got("none").want("at least one"));
        };
        match roots.iter().filter(|root| is_amd(&builtin, root)).count() {
            0 => Ok(Self { realm: Realm::Test(first.key_id()), roots, intermediates: Vec::new() }),
            vendors if vendors == roots.len() => Ok(Self { roots, ..builtin }),
            _ => Err(Refusal::new(Code::RealmMismatch, "roots").got("a vendor's root and a test root")),
        }
    }

    /// Vendor or test.
    pub const fn realm(&self) -> Realm {
        self.realm
    }

    pub(crate) fn roots(&self) -> &[Certificate] {
        &self.roots
    }

    pub(crate) fn intermediates(&self) -> &[Certificate] {
        &self.intermediates
    }

    /// How evidence that ends at `root`, one of these, is labelled.
    pub(crate) fn label(&self, root: &Certificate) -> Root {
        match self.realm {
            Realm::Vendor => Root::Amd,
            Realm::Test(_) => Root::Test(root.key_id()),
        }
    }
}

fn is_amd(builtin: &Roots, root: &Certificate) -> bool {
    builtin.roots.iter().any(|vendor| vendor.spki == root.spki)
}

fn single(bytes: &[u8]) -> Result<Certificate> {
    if !bytes.starts_with(b"-----BEGIN") {
        return Certificate::parse(bytes);
    }
    let mut blocks = read_pem(bytes)?.into_iter();
    match (blocks.next(), blocks.next()) {
        (Some((label, der)), None) if label == "CERTIFICATE" => Certificate::parse(&der),
        _ => Err(Refusal::malformed("root", "not exactly one certificate")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of the SubjectPublicKeyInfo of ARK-Milan, ARK-Genoa and ARK-Turin.
    const PINS: &[&str] = &[
        "9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9",
        "429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831",
        "4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08",
    ];

    #[test]
    fn built_in_roots_are_the_pinned_keys_and_sign_themselves_and_their_intermediates() {
        let builtin = Roots::builtin().unwrap();
        let keys: Vec<String> = builtin.roots.iter().map(|root| root.key_id().to_string()).collect();
        assert_eq!(keys, PINS);
        for (root, intermediate) in builtin.roots.iter().zip(&builtin.intermediates) {
            assert!(root.is_signed_by(root), "{}", root.subject);
            assert!(intermediate.is_signed_by(root), "{}", intermediate.subject);
            root.verify_authority().unwrap();
            intermediate.verify_authority().unwrap();
        }
    }

    #[test]
    fn vendor_root_as_test_root_refused_and_by_its_own_name_accepted() {
        assert_eq!(Roots::test(AMD_ROOTS[0]).unwrap_err().code, Code::RealmMismatch);
        assert_eq!(Roots::named(&[AMD_ROOTS[0]]).unwrap().realm(), Realm::Vendor);
    }
}
