//! Revocation lists (RFC 5280 §5), which name withdrawn certificates by serial. AMD's are signed by the ARK and name ASKs
//! and ASVKs; Intel's are signed by the root and by the two PCK authorities, and name what those issued.

use crate::UnixTime;
use crate::certificate::{Certificate, Signed, common_name, verify_identifier};
use crate::newest::Sighting;
use crate::seen::SeenKind;
use crate::window::Window;
use der::Decode;
use der::oid::AssociatedOid;
use der::referenced::OwnedToRef;
use strongroom_wire::{Code, Refusal, Result};
use x509_cert::crl::TbsCertList;
use x509_cert::ext::pkix::CrlNumber;

/// A parsed revocation list. Nothing about it is verified.
#[derive(Debug, Clone)]
pub(crate) struct Crl {
    signed: Signed,
    tbs: TbsCertList,
    /// Common name of the issuer.
    pub(crate) issuer: String,
    number: Option<u64>,
}

/// How new the newest current list of an issuer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edition {
    /// The highest cRLNumber; `None` where no list has one.
    pub(crate) number: Option<u64>,
    /// The latest thisUpdate.
    pub(crate) this_update: UnixTime,
}

/// The lists of one issuer that were signed by it, at least one of which is current.
#[derive(Debug, Clone)]
pub(crate) struct Revocations<'a> {
    lists: Vec<&'a Crl>,
}

impl Edition {
    /// What is remembered of the list of that issuer.
    pub(crate) fn sightings(self, issuer: &str) -> impl Iterator<Item = Sighting> + use<> {
        let number = self.number.map(|number| (SeenKind::CrlNumber, issuer.to_owned(), number));
        number.into_iter().chain([(SeenKind::CrlThisUpdate, issuer.to_owned(), self.this_update)])
    }

    /// In words.
    pub(crate) fn describe(self) -> String {
        let number = self.number.map_or_else(|| "without a number".to_owned(), |number| format!("of number {number}"));
        format!("a current list {number}, thisUpdate {}", self.this_update)
    }
}

impl Crl {
    /// Parses one DER CertificateList.
    pub(crate) fn parse(der: &[u8]) -> Result<Self> {
        let (signed, identifier) = Signed::split(der, "revocation list")?;
        let list = TbsCertList::from_der(signed.bytes()).map_err(|e| Refusal::malformed("revocation list", e))?;
        verify_identifier(&identifier, &list.signature.owned_to_ref(), "revocation list")?;
        let issuer = common_name(&list.issuer)?;
        let number = crl_number(&list)?;
        Ok(Self { signed, tbs: list, issuer, number })
    }

    /// How new it is. Says nothing about who signed it.
    pub(crate) fn edition(&self) -> Edition {
        Edition { number: self.number, this_update: self.validity().0 }
    }

    /// Whether `issuer` signed it.
    pub(crate) fn is_signed_by(&self, issuer: &Certificate) -> bool {
        self.issuer == issuer.subject && self.signed.verify(issuer).is_ok()
    }

    fn is_current(&self, now: UnixTime) -> bool {
        let begins = self.tbs.this_update.to_unix_duration().as_secs();
        let ends = self.tbs.next_update.map(|time| time.to_unix_duration().as_secs());
        begins <= now && ends.is_some_and(|ends| now <= ends)
    }
}

/// cRLNumber (RFC 5280 §5.2.3), which only grows. It may have 20 bytes; one above 64 bits counts as the highest of them, and
/// so still meets every floor. No other extension is read: a list that marks one as critical (a delta list, a list of some
/// reasons only) says that it means something else without it (§5.2), and is refused.
fn crl_number(list: &TbsCertList) -> Result<Option<u64>> {
    let mut number = None;
    for extension in list.crl_extensions.iter().flatten() {
        if extension.extn_id == CrlNumber::OID {
            let CrlNumber(value) = CrlNumber::from_der(extension.extn_value.as_bytes())
                .map_err(|e| Refusal::malformed("revocation list: cRLNumber", e))?;
            let mut bytes = value.as_bytes().iter();
            let value = bytes.try_fold(0u64, |sum, byte| sum.checked_mul(256)?.checked_add(u64::from(*byte)));
            if number.replace(value.unwrap_or(u64::MAX)).is_some() {
                return Err(Refusal::malformed("revocation list", "two cRLNumbers"));
            }
        } else if extension.critical {
            let unknown = format!("critical extension {}", extension.extn_id);
            return Err(Refusal::new(Code::Malformed, "revocation list").got(unknown).want("none but cRLNumber"));
        }
    }
    Ok(number)
}

impl<'a> Revocations<'a> {
    /// Those of `crls` that `issuer` signed. `None` where no list of that issuer was given.
    ///
    /// A list under the issuer's name whose signature fails is refused, and so are lists none of which is current. Beside
    /// a current list, an older one still counts for what it revokes.
    pub(crate) fn verify(crls: &'a [Crl], issuer: &Certificate, now: UnixTime) -> Result<Option<Self>> {
        let lists: Vec<&Crl> = crls.iter().filter(|crl| crl.issuer == issuer.subject).collect();
        if lists.is_empty() {
            return Ok(None);
        }
        if lists.iter().any(|crl| crl.signed.verify(issuer).is_err()) {
            return Err(Refusal::new(Code::CrlSignatureInvalid, &issuer.subject));
        }
        if !lists.iter().any(|crl| crl.is_current(now)) {
            let windows: Vec<String> = lists.iter().map(|crl| crl.window()).collect();
            return Err(Refusal::new(Code::CrlExpired, &issuer.subject).got(now).want(windows.join(" or ")));
        }
        Ok(Some(Self { lists }))
    }

    /// The time around `now` in which one of the lists is current: that of the one that lasts longest.
    pub(crate) fn window(&self, now: UnixTime) -> Window {
        let current = self.lists.iter().filter(|crl| crl.is_current(now)).map(|crl| crl.validity());
        current
            .max_by_key(|(_, ends)| *ends)
            .map_or(Window::ALWAYS.and((now, now)), |bounds| Window::ALWAYS.and(bounds))
    }

    /// Of the lists that are current: the highest number and the latest thisUpdate. Each list given counts for what it
    /// revokes, so that having the newest is having judged by it.
    pub(crate) fn edition(&self, now: UnixTime) -> Option<Edition> {
        let current = self.lists.iter().filter(|crl| crl.is_current(now));
        current.map(|crl| crl.edition()).reduce(|one, other| Edition {
            number: one.number.max(other.number),
            this_update: one.this_update.max(other.this_update),
        })
    }

    /// Refuses a certificate whose serial stands on one of the lists.
    pub(crate) fn verify_absent(&self, certificate: &Certificate) -> Result<()> {
        self.lists.iter().try_for_each(|crl| crl.verify_absent(certificate))
    }
}

impl Crl {
    /// Refuses a certificate of this list's issuer whose serial stands on it. Says nothing about who signed the list.
    pub(crate) fn verify_absent(&self, certificate: &Certificate) -> Result<()> {
        let revoked = self.tbs.revoked_certificates.iter().flatten();
        if revoked.map(|entry| entry.serial_number.as_bytes()).any(|serial| serial == certificate.serial()) {
            return Err(Refusal::new(Code::CertificateRevoked, &certificate.subject)
                .got(format!("serial {}", hex::encode(certificate.serial())))
                .want("a serial that its issuer has not revoked"));
        }
        Ok(())
    }

    /// The same where `issuer` signed this list, current or not. What somebody else signed says nothing.
    pub(crate) fn verify_absent_under(&self, issuer: &Certificate, certificate: &Certificate) -> Result<()> {
        match self.verify_absent(certificate) {
            Err(revoked) if self.is_signed_by(issuer) => Err(revoked),
            _ => Ok(()),
        }
    }

    /// thisUpdate and nextUpdate; a list without the latter ends as it begins.
    pub(crate) fn validity(&self) -> (UnixTime, UnixTime) {
        let begins = self.tbs.this_update.to_unix_duration().as_secs();
        (begins, self.tbs.next_update.map_or(begins, |time| time.to_unix_duration().as_secs()))
    }

    fn window(&self) -> String {
        let (begins, ends) = self.validity();
        format!("{begins}..{ends}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use der::Encode;
    use der::asn1::OctetString;
    use strongroom_devkit::amd::{ALWAYS, Authority, Hierarchy};
    use x509_cert::ext::Extension;

    /// The parsed part of a list with these extensions: object identifier, whether critical, value.
    fn list(extensions: &[(&str, bool, &[u8])]) -> TbsCertList {
        let der = Hierarchy::shared().unwrap().ark.numbered_crl(&[], ALWAYS, None).unwrap();
        let extension = |(oid, critical, value): &(&str, bool, &[u8])| Extension {
            extn_id: oid.parse().unwrap(),
            critical: *critical,
            extn_value: OctetString::new(*value).unwrap(),
        };
        let extensions = extensions.iter().map(extension).collect();
        TbsCertList { crl_extensions: Some(extensions), ..Crl::parse(&der).unwrap().tbs }
    }

    fn number(value: &[u8]) -> Result<Option<u64>> {
        crl_number(&list(&[("2.5.29.20", false, value)]))
    }

    #[test]
    fn number_of_any_length_is_read_and_what_is_no_number_refused() {
        assert_eq!(crl_number(&list(&[])).unwrap(), None);
        for value in [0, 1, 127, 128, 0x1_0000, u64::MAX] {
            assert_eq!(number(&value.to_der().unwrap()).unwrap(), Some(value));
        }
        assert_eq!(number(&[2, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap(), Some(u64::MAX));
        for broken in [&[][..], &[2, 1, 0xff], &[4, 1, 1], &[2, 1, 1, 0], &[2, 2, 1]] {
            assert_eq!(number(broken).unwrap_err().code, Code::Malformed, "{broken:?}");
        }
    }

    #[test]
    fn second_number_refused() {
        let one = ("2.5.29.20", false, &[2, 1, 1][..]);
        assert_eq!(crl_number(&list(&[one])).unwrap(), Some(1));
        assert_eq!(crl_number(&list(&[one, one])).unwrap_err().code, Code::Malformed);
    }

    #[test]
    fn extension_that_is_not_known_refused_where_it_is_critical_and_passed_over_where_not() {
        for oid in ["2.5.29.27", "2.5.29.28", "1.2.3.4"] {
            assert_eq!(crl_number(&list(&[(oid, false, &[5, 0])])).unwrap(), None, "{oid}");
            assert_eq!(crl_number(&list(&[(oid, true, &[5, 0])])).unwrap_err().code, Code::Malformed, "{oid}");
        }
    }

    #[test]
    fn list_of_whoever_issued_a_certificate_revokes_it_and_another_s_does_not() {
        let hierarchy = Hierarchy::shared().unwrap();
        let [ark, ask] = [&hierarchy.ark, &hierarchy.ask];
        let issuer = Certificate::parse(ark.certificate()).unwrap();
        let revoked = Certificate::parse(ask.certificate()).unwrap();
        let serial = revoked.serial().iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
        let code = |signer: &Authority, serial: u32| {
            let list = signer.crl(&[serial], ALWAYS).unwrap();
            Crl::parse(&list).unwrap().verify_absent_under(&issuer, &revoked).map_err(|refusal| refusal.code)
        };
        assert_eq!(code(ark, serial), Err(Code::CertificateRevoked));
        assert_eq!(code(ark, serial + 1), Ok(()));
        assert_eq!(code(ask, serial), Ok(()));
    }
}
