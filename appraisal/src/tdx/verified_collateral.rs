//! Collateral that Intel signed and that is current.

use super::collateral::{Collateral, SignedText};
use super::documents::{Date, QeIdentity, TcbInfo};
use super::pck::{PckChain, verify_pck_authority};
use crate::certificate::Certificate;
use crate::crl::{Crl, Edition, Revocations};
use crate::newest::{Sighting, Sightings};
use crate::seen::SeenKind;
use crate::trace::traced;
use crate::window::Window;
use crate::{Roots, UnixTime};
use core::ops::RangeInclusive;
use std::sync::Arc;
use strongroom_wire::{Check, Code, Refusal, Result, Root};

const TCB_SIGNING: &str = "Intel SGX TCB Signing";

/// Collateral whose chains, signatures, lists and dates held at a given time.
///
/// ```compile_fail,E0451
/// // There is no other way to one than `VerifiedCollateral::verify`.
/// let forged = strongroom_appraisal::tdx::VerifiedCollateral {
///     root: todo!(), pck_authority: todo!(), tcb_info: todo!(), qe_identity: todo!(), root_ca_crl: todo!(), pck_crl: todo!(),
///     label: todo!(), window: todo!(),
/// };
/// ```
#[derive(Debug, Clone)]
pub struct VerifiedCollateral {
    pub(super) root: Certificate,
    pub(super) pck_authority: Certificate,
    pub(super) tcb_info: TcbInfo,
    pub(super) qe_identity: QeIdentity,
    root_ca_crl: Arc<Crl>,
    pck_crl: Arc<Crl>,
    label: Root,
    window: Window,
}

impl VerifiedCollateral {
    /// Verifies `collateral` at `now`.
    ///
    /// 1. The PCK's authority and the TCB signing keys are of a trusted root, valid, and of the right kind.
    /// 2. The root's revocation list is signed, current, and names none of them.
    /// 3. The authority's revocation list is signed and current.
    /// 4. TCB info and QE identity are signed, over the bytes as received.
    /// 5. Only then they are parsed, and `now` is within their dates.
    pub fn verify(collateral: &Collateral, roots: &Roots, now: UnixTime) -> Result<Self> {
        let (mut trace, mut sightings) = (Vec::new(), Sightings::default());
        Self::verify_among(
            collateral,
            &[],
            None,
            roots,
            now,
            &mut Record { trace: &mut trace, sightings: &mut sightings },
        )
    }

    /// [`Self::verify`] of one set `among` others, whose root lists count for what they revoke too. `verified` is a platform's
    /// chain that was verified under the same roots at the same time: its authority is not verified again.
    pub(super) fn verify_among(
        collateral: &Collateral,
        among: &[Collateral],
        verified: Option<&PckChain>,
        roots: &Roots,
        now: UnixTime,
        record: &mut Record<'_>,
    ) -> Result<Self> {
        let Record { trace, sightings } = record;
        let chains = traced(trace, "collateral-chains", Chains::verify(collateral, verified, roots, now))?;
        let label = roots.label(chains.root);
        let revocation = chains.verify_revocation(collateral, among, label, now, sightings);
        traced(trace, "collateral-revocation", revocation)?;
        let signatures = verify_text(&collateral.tcb_info, chains.tcb_signer, "TCB info").and(verify_text(
            &collateral.qe_identity,
            chains.qe_signer,
            "QE identity",
        ));
        traced(trace, "collateral-signatures", signatures)?;
        let parsed = TcbInfo::parse(&collateral.tcb_info.text)
            .and_then(|info| Ok((info, QeIdentity::parse(&collateral.qe_identity.text)?)));
        let (tcb_info, qe_identity) = traced(trace, "collateral-format", parsed)?;
        let dates = verify_dates("TCB info", tcb_info.issue_date, tcb_info.next_update, now).and(verify_dates(
            "QE identity",
            qe_identity.issue_date,
            qe_identity.next_update,
            now,
        ));
        traced(trace, "collateral-dates", dates)?;
        let certificates =
            [chains.root, chains.authority, chains.tcb_signer, chains.qe_signer].map(Certificate::validity);
        let lists = [collateral.root_ca_crl.validity(), collateral.pck_crl.validity()];
        let documents =
            [(tcb_info.issue_date.0, tcb_info.next_update.0), (qe_identity.issue_date.0, qe_identity.next_update.0)];
        let window = certificates.into_iter().chain(lists).chain(documents).fold(Window::ALWAYS, Window::and);
        let verified = Self {
            label,
            root: chains.root.clone(),
            pck_authority: chains.authority.clone(),
            tcb_info,
            qe_identity,
            root_ca_crl: collateral.root_ca_crl.clone(),
            pck_crl: collateral.pck_crl.clone(),
            window,
        };
        sightings.extend(verified.sightings());
        Ok(verified)
    }

    /// The first and the last second in which all of it is valid: the tightest of all its dates.
    pub fn valid(&self) -> RangeInclusive<UnixTime> {
        self.window.range()
    }

    pub(super) const fn window(&self) -> Window {
        self.window
    }

    /// The root that it was verified under.
    pub const fn root(&self) -> Root {
        self.label
    }

    /// The FMSPC that the TCB info is for.
    pub const fn fmspc(&self) -> [u8; 6] {
        self.tcb_info.fmspc.0
    }

    /// tcbEvaluationDataNumber, the lower of TCB info's and QE identity's.
    pub fn evaluation(&self) -> u32 {
        self.tcb_info.tcb_evaluation_data_number.min(self.qe_identity.tcb_evaluation_data_number)
    }

    /// The earlier issueDate of TCB info and QE identity.
    pub fn issued(&self) -> UnixTime {
        self.tcb_info.issue_date.0.min(self.qe_identity.issue_date.0)
    }

    /// How new the root's revocation list is.
    pub(crate) fn root_list(&self) -> Edition {
        self.root_ca_crl.edition()
    }

    /// How new the revocation list of the PCK's authority is.
    pub(crate) fn pck_list(&self) -> Edition {
        self.pck_crl.edition()
    }

    /// What is remembered of it. Each FMSPC has a TCB info of its own; lists and the QE identity's evaluation are the root's. When the
    /// QE identity was issued is remembered for each FMSPC: Intel signs it anew every few hours, and sets of different kinds of
    /// platform are fetched at different times.
    pub(crate) fn sightings(&self) -> Vec<Sighting> {
        let root = self.label;
        let (info, identity) = (&self.tcb_info, &self.qe_identity);
        let fmspc = hex::encode(info.fmspc.0);
        let (of_info, of_identity) = (format!("{root}/tcb-info/{fmspc}"), format!("{root}/qe-identity"));
        let documents = [
            (SeenKind::TcbEvaluation, of_info.clone(), u64::from(info.tcb_evaluation_data_number)),
            (SeenKind::IssueDate, of_info, info.issue_date.0),
            (SeenKind::TcbEvaluation, of_identity.clone(), u64::from(identity.tcb_evaluation_data_number)),
            (SeenKind::IssueDate, format!("{of_identity}/{fmspc}"), identity.issue_date.0),
        ];
        let lists = [(&self.root.subject, self.root_list()), (&self.pck_authority.subject, self.pck_list())];
        documents
            .into_iter()
            .chain(lists.iter().flat_map(|(issuer, list)| list.sightings(&format!("{root}/{issuer}"))))
            .collect()
    }

    /// What the newest of several sets has the most of.
    pub(super) fn age(&self) -> (u32, UnixTime) {
        (self.evaluation(), self.tcb_info.issue_date.0)
    }
}

/// What is written down on the way, whatever it leads to.
pub(super) struct Record<'a> {
    /// Each check that was made.
    pub(super) trace: &'a mut Vec<Check>,
    /// Each list and document that was verified.
    pub(super) sightings: &'a mut Sightings,
}

/// Who signed what of one set.
struct Chains<'a> {
    root: &'a Certificate,
    authority: &'a Certificate,
    tcb_signer: &'a Certificate,
    qe_signer: &'a Certificate,
}

impl<'a> Chains<'a> {
    fn verify(
        collateral: &'a Collateral,
        verified: Option<&'a PckChain>,
        roots: &'a Roots,
        now: UnixTime,
    ) -> Result<Self> {
        let chain = &collateral.pck_crl_issuer_chain;
        let (authority, root) = match (chain.first(), verified) {
            (Some(authority), Some(known)) if authority.is_the_same_as(&known.authority) => {
                (&known.authority, &known.root)
            }
            _ => verify_pck_authority(chain, roots, now)?,
        };
        let tcb_signer = verify_signer(&collateral.tcb_info, roots, root, now)?;
        // One key signs both today; what was just verified is not verified again.
        let qe_signer = match collateral.qe_identity.issuer_chain.first() {
            Some(signer) if signer.is_the_same_as(tcb_signer) => tcb_signer,
            _ => verify_signer(&collateral.qe_identity, roots, root, now)?,
        };
        Ok(Self { root, authority, tcb_signer, qe_signer })
    }

    /// What is sighted is sighted before anybody looks at what it revokes.
    fn verify_revocation(
        &self,
        collateral: &Collateral,
        among: &[Collateral],
        label: Root,
        now: UnixTime,
        sightings: &mut Sightings,
    ) -> Result<()> {
        let mut list = |crl: &Crl, issuer: &Certificate, certificates: &[&Certificate]| {
            let lists = core::slice::from_ref(crl);
            let revocations = Revocations::verify(lists, issuer, now)?.ok_or_else(|| {
                Refusal::new(Code::CrlMissing, "revocation list")
                    .got(format!("one of {}", crl.issuer))
                    .want(&issuer.subject)
            })?;
            sightings.extend(crl.edition().sightings(&format!("{label}/{}", issuer.subject)));
            certificates.iter().try_for_each(|certificate| revocations.verify_absent(certificate))
        };
        let of_the_root = [self.authority, self.tcb_signer, self.qe_signer];
        list(&collateral.root_ca_crl, self.root, &of_the_root)?;
        list(&collateral.pck_crl, self.authority, &[])?;
        among.iter().try_for_each(|other| {
            of_the_root.iter().try_for_each(|certificate| other.root_ca_crl.verify_absent_under(self.root, certificate))
        })
    }
}

/// The first of a text's issuer chain, which must be a TCB signing key that `root` certified.
fn verify_signer<'a>(
    text: &'a SignedText,
    roots: &Roots,
    root: &Certificate,
    now: UnixTime,
) -> Result<&'a Certificate> {
    let (signer, given) = text.issuer_chain.split_first().ok_or_else(|| Refusal::malformed("issuer chain", "empty"))?;
    if signer.subject != TCB_SIGNING {
        return Err(Refusal::new(Code::CertificateUnsuitable, "TCB signing key")
            .got(&signer.subject)
            .want(TCB_SIGNING));
    }
    let issuer = roots.issuer_of(signer, Root::Intel, given)?;
    if issuer.spki != root.spki {
        return Err(Refusal::new(Code::CollateralMismatch, "root of the TCB signing key")
            .got(issuer.key_id())
            .want(root.key_id()));
    }
    signer.verify_validity(now)?;
    signer.verify_leaf()?;
    Ok(signer)
}

fn verify_text(signed: &SignedText, signer: &Certificate, what: &str) -> Result<()> {
    signer.p256_key()?.verify_sig(signed.text.as_bytes(), &signed.signature).map_err(|_| {
        Refusal::new(Code::CollateralSignatureInvalid, what).got("does not verify").want(format!(
            "a signature by {} sha256:{}",
            signer.subject,
            signer.key_id()
        ))
    })
}

fn verify_dates(what: &str, issued: Date, next: Date, now: UnixTime) -> Result<()> {
    if now < issued.0 {
        return Err(Refusal::new(Code::CollateralNotYetValid, what).got(now).want(issued.0));
    }
    if now > next.0 {
        return Err(Refusal::new(Code::CollateralExpired, what).got(now).want(next.0));
    }
    Ok(())
}
