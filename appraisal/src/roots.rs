//! The roots that are trusted, and the intermediates that AMD publishes for everybody.
//!
//! A root is trusted for its key alone. The vendors' certificates stand beside this file as they publish them; they are
//! public facts, and a test compares their keys' digests with those written here.

use crate::certificate::Certificate;
use crate::crl::Crl;
use crate::pem::read_pem;
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

/// Intel SGX Root CA, which vouches for SGX and TDX platforms alike.
const INTEL_ROOT: &[u8] = include_bytes!("roots/intel-sgx-root.pem");

/// SHA-256 of its SubjectPublicKeyInfo: what tells Intel's root from AMD's among the vendors'.
const INTEL_PIN: &str = "a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e";

impl Roots {
    /// AMD's ARKs of Milan, Genoa and Turin, and Intel's SGX Root CA.
    pub fn builtin() -> Result<Self> {
        let parse = |pems: &[&[u8]]| pems.iter().map(|pem| single(pem)).collect::<Result<Vec<_>>>();
        let mut roots = parse(AMD_ROOTS)?;
        roots.push(single(INTEL_ROOT)?);
        Ok(Self { realm: Realm::Vendor, roots, intermediates: parse(AMD_INTERMEDIATES)? })
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
        match roots.iter().filter(|root| is_vendors(&builtin, root)).count() {
            0 => Ok(Self { realm: Realm::Test(first.key_id()), roots, intermediates: Vec::new() }),
            vendors if vendors == roots.len() => Ok(Self { roots, ..builtin }),
            _ => Err(Refusal::new(Code::RealmMismatch, "roots").got("a vendor's root and a test root")),
        }
    }

    /// Vendor or test.
    pub const fn realm(&self) -> Realm {
        self.realm
    }

    pub(crate) fn intermediates(&self) -> &[Certificate] {
        &self.intermediates
    }

    /// The trusted root that signed `issuer`. `vendor` is whose evidence this is: [`Root::Amd`] or [`Root::Intel`]; one
    /// vendor's root never vouches for the other's evidence.
    ///
    /// Tells an unknown root (`root-untrusted`: the chain of `given` is whole but ends elsewhere) from a broken signature.
    pub(crate) fn issuer_of(&self, issuer: &Certificate, vendor: Root, given: &[Certificate]) -> Result<&Certificate> {
        let trusted =
            || self.roots.iter().filter(|root| matches!(self.label(root), Root::Test(_)) || self.label(root) == vendor);
        if let Some(root) = trusted().find(|root| root.subject == issuer.issuer && issuer.is_signed_by(root)) {
            return Ok(root);
        }
        let named = trusted().any(|root| root.subject == issuer.issuer);
        let foreign = given.iter().find(|c| c.subject == issuer.issuer && issuer.is_signed_by(c));
        let code = if named && foreign.is_none() { Code::CertificateSignatureInvalid } else { Code::RootUntrusted };
        let show = |root: &Certificate| format!("{} sha256:{}", root.subject, root.key_id());
        let got = foreign.map_or_else(|| issuer.issuer.clone(), show);
        let want: Vec<String> = trusted().map(show).collect();
        Err(Refusal::new(code, format!("issuer of {}", issuer.subject)).got(got).want(want.join(" or ")))
    }

    /// The trusted root of AMD's that signed `list`.
    pub(crate) fn signer_of(&self, list: &Crl) -> Result<&Certificate> {
        let mut amd = self.roots.iter().filter(|root| self.label(root) != Root::Intel);
        amd.find(|root| list.is_signed_by(root))
            .ok_or_else(|| Refusal::new(Code::CrlSignatureInvalid, &list.issuer).want("a signature by a trusted root"))
    }

    /// How evidence that ends at `root`, one of these, is labelled.
    pub(crate) fn label(&self, root: &Certificate) -> Root {
        match self.realm {
            Realm::Vendor if root.key_id().to_string() == INTEL_PIN => Root::Intel,
            Realm::Vendor => Root::Amd,
            Realm::Test(_) => Root::Test(root.key_id()),
        }
    }
}

fn is_vendors(builtin: &Roots, root: &Certificate) -> bool {
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

    /// SHA-256 of the SubjectPublicKeyInfo of ARK-Milan, ARK-Genoa, ARK-Turin and Intel SGX Root CA.
    const PINS: &[&str] = &[
        "9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9",
        "429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831",
        "4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08",
        INTEL_PIN,
    ];

    #[test]
    fn built_in_roots_are_the_pinned_keys_and_sign_themselves_and_their_intermediates() {
        let builtin = Roots::builtin().unwrap();
        let keys: Vec<String> = builtin.roots.iter().map(|root| root.key_id().to_string()).collect();
        assert_eq!(keys, PINS);
        let intel = builtin.roots.last().unwrap();
        assert!(intel.is_signed_by(intel) && builtin.label(intel) == Root::Intel);
        intel.verify_authority().unwrap();
        assert!(builtin.roots.iter().take(3).all(|root| builtin.label(root) == Root::Amd));
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
