//! Revocation lists (RFC 5280 §5), which name withdrawn certificates by serial. AMD's are signed by the ARK and name ASKs
//! and ASVKs; Intel's are signed by the root and by the two PCK authorities, and name what those issued.

use crate::UnixTime;
use crate::certificate::{Certificate, Signed, common_name};
use crate::window::Window;
use der::Decode;
use strongroom_wire::{Code, Refusal, Result};
use x509_cert::crl::TbsCertList;

/// A parsed revocation list. Nothing about it is verified.
#[derive(Debug, Clone)]
pub(crate) struct Crl {
    signed: Signed,
    tbs: TbsCertList,
    /// Common name of the issuer.
    pub(crate) issuer: String,
}

/// The lists of one issuer that were signed by it, at least one of which is current.
#[derive(Debug, Clone)]
pub(crate) struct Revocations<'a> {
    lists: Vec<&'a Crl>,
}

impl Crl {
    /// Parses one DER CertificateList.
    pub(crate) fn parse(der: &[u8]) -> Result<Self> {
        let signed = Signed::split(der, "revocation list")?;
        let list =
            x509_cert::crl::CertificateList::from_der(der).map_err(|e| Refusal::malformed("revocation list", e))?;
        let issuer = common_name(&list.tbs_cert_list.issuer)?;
        Ok(Self { signed, tbs: list.tbs_cert_list, issuer })
    }

    fn is_current(&self, now: UnixTime) -> bool {
        let begins = self.tbs.this_update.to_unix_duration().as_secs();
        let ends = self.tbs.next_update.map(|time| time.to_unix_duration().as_secs());
        begins <= now && ends.is_some_and(|ends| now <= ends)
    }
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
        if lists.iter().any(|crl| crl.signed.verify(&issuer.spki).is_err()) {
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
