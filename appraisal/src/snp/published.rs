//! What AMD publishes for everybody, judged by itself before any report hangs on it: who keeps it must not let a forged or an
//! older one take the place of a good one.

use crate::certificate::Certificate;
use crate::crl::Crl;
use crate::{Endorsements, Roots, UnixTime};
use strongroom_wire::{Code, Realm, Refusal, Result, Root};

/// Verifies that each certificate of `chain` (PEM or DER) is an authority that a trusted root of `product` signed: `Milan`,
/// `Genoa` or `Turin`. Says nothing about dates.
///
/// # Errors
/// `malformed`, `too-large`; `root-untrusted`, `certificate-signature-invalid`, `product-mismatch`,
/// `certificate-unsuitable`.
pub fn verify_authorities(chain: &[u8], product: &str, roots: &Roots) -> Result<()> {
    let mut given = Endorsements::new();
    given.add(chain)?;
    if given.certificates.is_empty() {
        return Err(Refusal::malformed("certificate chain", "no certificate"));
    }
    given.certificates.iter().try_for_each(|certificate| {
        let root = roots.issuer_of(certificate, Root::Amd, &given.certificates)?;
        verify_product(root, product, roots)?;
        certificate.verify_authority()
    })
}

/// Verifies that a trusted root of `product` signed `list` (DER) at `now` or before, and that it is not older than `kept`
/// where that is one of the same root. Says nothing about when it ends.
///
/// # Errors
/// `malformed`; `crl-signature-invalid`, `product-mismatch`; `crl-expired`: it is of a time to come; `crl-too-old`: the one
/// that is kept is newer.
pub fn verify_revocation_list(
    list: &[u8],
    kept: Option<&[u8]>,
    product: &str,
    roots: &Roots,
    now: UnixTime,
) -> Result<()> {
    let list = Crl::parse(list)?;
    verify_product(roots.signer_of(&list)?, product, roots)?;
    let new = list.edition();
    if new.this_update > now {
        return Err(Refusal::new(Code::CrlExpired, &list.issuer).got(new.describe()).want(format!("one of {now}")));
    }
    let kept = kept.and_then(|der| Crl::parse(der).ok());
    let kept = kept.filter(|kept| kept.issuer == list.issuer && roots.signer_of(kept).is_ok());
    // One of a time to come is that of a clock that was set back since.
    let Some(old) = kept.map(|kept| kept.edition()).filter(|old| old.this_update <= now) else { return Ok(()) };
    if new.number < old.number || new.this_update < old.this_update {
        return Err(Refusal::new(Code::CrlTooOld, &list.issuer).got(new.describe()).want(old.describe()));
    }
    Ok(())
}

/// A vendor's root is named after its product; a test root vouches for all of them.
fn verify_product(root: &Certificate, product: &str, roots: &Roots) -> Result<()> {
    let want = format!("ARK-{product}");
    if roots.realm() == Realm::Vendor && root.subject != want {
        return Err(Refusal::new(Code::ProductMismatch, "root").got(&root.subject).want(want));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_devkit::amd::{ALWAYS, Authority, Hierarchy};

    const NOW: UnixTime = 1_800_000_000;

    #[test]
    fn authorities_under_a_trusted_root_accepted_and_others_refused() {
        let hierarchy = Hierarchy::shared().unwrap();
        let roots = Roots::test(hierarchy.ark.certificate()).unwrap();
        let code = |chain: &[u8]| verify_authorities(chain, "Milan", &roots).err().map(|refusal| refusal.code);
        let (ask, ark) = (hierarchy.ask.certificate_pem().unwrap(), hierarchy.ark.certificate_pem().unwrap());
        assert_eq!(code(format!("{ask}{ark}").as_bytes()), None);
        let elsewhere = hierarchy.ask.reissue(&hierarchy.asvk, 9, ALWAYS).unwrap();
        assert_eq!(code(&elsewhere), Some(Code::RootUntrusted));
        let vek = hierarchy.ark.issue(strongroom_devkit::amd::VekSpec::default()).unwrap();
        assert_eq!(code(&vek.certificate), Some(Code::CertificateUnsuitable));
        assert_eq!(code(&hierarchy.ark.crl(&[], ALWAYS).unwrap()), Some(Code::Malformed));
        // AMD's own, and each under its own product alone.
        let roots = Roots::builtin().unwrap();
        let milan = include_bytes!("../roots/ask-milan.pem");
        assert!(verify_authorities(milan, "Milan", &roots).is_ok());
        assert_eq!(verify_authorities(milan, "Genoa", &roots).unwrap_err().code, Code::ProductMismatch);
    }

    #[test]
    fn list_takes_the_place_of_one_that_is_not_newer_and_of_no_other() {
        let hierarchy = Hierarchy::shared().unwrap();
        let roots = Roots::test(hierarchy.ark.certificate()).unwrap();
        let list = |number, begins| hierarchy.ark.numbered_crl(&[], begins..NOW + 1000, number).unwrap();
        let code = |new: &[u8], kept: Option<&[u8]>| {
            verify_revocation_list(new, kept, "Milan", &roots, NOW).err().map(|refusal| refusal.code)
        };
        let kept = list(Some(5), NOW - 100);
        for (new, want) in [
            (list(Some(5), NOW - 100), None),
            (list(Some(6), NOW), None),
            (list(Some(4), NOW), Some(Code::CrlTooOld)),
            (list(None, NOW), Some(Code::CrlTooOld)),
            (list(Some(6), NOW - 101), Some(Code::CrlTooOld)),
            (list(Some(6), NOW + 1), Some(Code::CrlExpired)),
            (hierarchy.ask.crl(&[], ALWAYS).unwrap(), Some(Code::CrlSignatureInvalid)),
        ] {
            assert_eq!(code(&new, Some(&kept)), want);
        }
        // What somebody else signed is no measure, nor what is damaged.
        let forged = hierarchy.ask.numbered_crl(&[], NOW - 100..NOW + 1000, Some(9)).unwrap();
        let elsewhere =
            Authority::root("ARK-Milan", ALWAYS).unwrap().numbered_crl(&[], NOW - 100..NOW, Some(9)).unwrap();
        let old = list(Some(1), NOW - 1000);
        for kept in [None, Some(&forged[..]), Some(&elsewhere[..]), Some(&b"damaged"[..])] {
            assert_eq!(code(&old, kept), None);
        }
        let mut flipped = list(Some(6), NOW);
        *flipped.last_mut().unwrap() ^= 1;
        assert_eq!(code(&flipped, None), Some(Code::CrlSignatureInvalid));
    }
}
