//! Signed documents that a policy names in place of repeating what they say: who must have signed one, when it counts, and
//! that no older one takes its place.
//!
//! The payload of a DSSE envelope, by its own type. Kinds: [`crate::ReferenceValues`], [`strongroom_wire::inventory::Inventory`].

use crate::UnixTime;
use crate::dsse::Signers;
use crate::policy::Floor;
use crate::seen::{Seen, SeenKind};
use crate::window::{Validity, Window};
use core::fmt;
use core::marker::PhantomData;
use serde::Deserialize;
use strongroom_wire::digest::Sha256;
use strongroom_wire::dsse::Envelope;
use strongroom_wire::{Code, Refusal, Result};

/// A kind of document that others sign and policies name.
pub trait SignedDocument: Clone + fmt::Debug {
    /// The payload type of its envelope.
    const PAYLOAD_TYPE: &'static str;
    /// What one is called in messages.
    const WHAT: &'static str;
    /// What the memory of its versions is called.
    const SEEN: SeenKind;
    /// What one is refused with.
    const CODES: DocumentCodes;

    /// Reads the document. Nothing of it is verified.
    fn parse(payload: &[u8]) -> Result<Self>;
    /// By what policies name it. Versions of documents of different names are never compared.
    fn name(&self) -> &str;
    /// Grows with every change.
    fn version(&self) -> u64;
    /// First and last second at which it counts.
    fn validity(&self) -> (UnixTime, UnixTime);
}

/// The codes of one kind of document. What is older than what was seen is refused with [`SeenKind::code`].
#[derive(Debug, Clone, Copy)]
pub struct DocumentCodes {
    /// Another document than the one that is named.
    pub invalid: Code,
    /// Not yet valid.
    pub early: Code,
    /// No longer valid.
    pub late: Code,
    /// Named and not given.
    pub missing: Code,
}

/// A document that a policy takes something from: an entry of its `[[reference-values]]` or `[[inventory]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, bound = "")]
pub struct Source<D> {
    /// The document's name.
    pub name: String,
    /// Who must have signed it.
    pub signers: Signers,
    /// Its version; by default any, which leaves rollback to the memory of what was seen.
    #[serde(default = "remembered")]
    pub version: Floor<u64>,
    #[serde(skip)]
    kind: PhantomData<D>,
}

fn remembered() -> Floor<u64> {
    Floor::any("the memory of what was seen judges it")
}

/// A document that enough of a source's keys signed and that was valid when it was looked at.
///
/// ```compile_fail,E0451
/// // There is no other way to one than `Source::verify`.
/// let forged: strongroom_appraisal::VerifiedInventory =
///     strongroom_appraisal::Verified { document: todo!(), digest: todo!(), signers: todo!() };
/// ```
#[derive(Debug, Clone)]
pub struct Verified<D> {
    document: D,
    digest: Sha256,
    /// Of the source's signers.
    signers: Sha256,
}

impl<D: SignedDocument> Source<D> {
    /// The document of that name by these signers, of any version.
    pub fn new(name: String, signers: Signers) -> Self {
        Self { name, signers, version: remembered(), kind: PhantomData }
    }

    /// Verifies that `envelope` is this source's document at `now`: signatures first, then shape, name, dates and version.
    ///
    /// # Errors
    /// `malformed`, `too-large`, `signature-invalid`; what [`SignedDocument::parse`] refuses; [`SignedDocument::CODES`]: of
    /// another name, not yet or no longer valid; the code of [`SignedDocument::SEEN`] below the policy's version.
    pub fn verify(&self, envelope: &[u8], now: UnixTime) -> Result<Verified<D>> {
        self.verify_parsed(&Envelope::parse(envelope)?, now)
    }

    fn verify_parsed(&self, envelope: &Envelope, now: UnixTime) -> Result<Verified<D>> {
        let signed = self.signers.verify(envelope, D::PAYLOAD_TYPE);
        let payload = signed.map_err(|refusal| refusal.within(self.what()))?;
        let document = D::parse(&payload)?;
        if document.name() != self.name {
            let refusal = Refusal::new(D::CODES.invalid, format!("name of {}", D::WHAT));
            return Err(refusal.got(document.name()).want(&self.name));
        }
        let verified = Verified { document, digest: Sha256::of(&payload), signers: self.signers.digest() };
        self.judge(&verified, now)?;
        Ok(verified)
    }

    /// Dates and version, of a document that is this source's.
    fn judge(&self, verified: &Verified<D>, now: UnixTime) -> Result<()> {
        verified.validity().verify(now)?;
        let version = verified.document.version();
        let newest =
            self.version.check(&format!("version of {}", self.what()), D::SEEN.code(), Some(&version), u64::ge);
        newest.refusal().map_or(Ok(()), Err)
    }

    fn missing(&self) -> Refusal {
        Refusal::new(D::CODES.missing, self.what()).got("not given").want("the signed document of that name")
    }

    /// What the signers are: versions are compared of what the same keys and threshold signed alone.
    pub fn signed_by(&self) -> Sha256 {
        self.signers.digest()
    }

    /// Refuses versions that nobody could have.
    pub(crate) fn is_sound(&self) -> bool {
        self.version.is_sound()
    }

    fn what(&self) -> String {
        format!("{} `{}`", D::WHAT, self.name)
    }
}

impl<D: SignedDocument> Verified<D> {
    /// [`Source::signed_by`] of the source that it was verified for.
    pub const fn signed_by(&self) -> Sha256 {
        self.signers
    }

    /// What it says.
    pub const fn document(&self) -> &D {
        &self.document
    }

    /// SHA-256 of the signed document.
    pub const fn digest(&self) -> Sha256 {
        self.digest
    }

    /// Refuses a version lower than one of the same name from a source with the same signers that `seen` remembers, and another
    /// document of that version ([`SeenKind::code`]); else remembers this one.
    pub fn verify_newest(&self, seen: &mut Seen) -> Result<()> {
        let subject = format!("{}/{}", self.document.name(), self.signers);
        seen.check_and_raise_document(D::SEEN, &subject, self.document.version(), self.digest)
    }

    /// When it counts.
    pub(crate) fn validity(&self) -> Validity {
        validity(&self.document)
    }
}

/// The document of each of `sources`, in their order, from `envelopes` in any order. `seen` is raised to their versions; what
/// is raised where one is refused is for the caller to forget.
pub(crate) fn verify_each<D: SignedDocument>(
    sources: &[Source<D>],
    envelopes: &[&[u8]],
    seen: &mut Seen,
    now: UnixTime,
) -> Result<Vec<Verified<D>>> {
    let mut given: Vec<Option<Verified<D>>> = vec![None; sources.len()];
    for envelope in envelopes {
        let envelope = Envelope::parse(envelope)?;
        // The name is not verified yet. It only chooses whose keys are asked, and is compared again under their signature.
        let unverified = D::parse(&envelope.payload)?;
        let named = sources.iter().zip(given.iter_mut()).find(|(source, _)| source.name == unverified.name());
        let Some((source, place)) = named else {
            let names: Vec<_> = sources.iter().map(|source| source.name.as_str()).collect();
            let refusal = Refusal::new(D::CODES.invalid, format!("{} that the policy does not name", D::WHAT));
            return Err(refusal.got(unverified.name()).want(names.join(" or ")));
        };
        let verified = source.verify_parsed(&envelope, now)?;
        verified.verify_newest(seen)?;
        if place.replace(verified).is_some() {
            return Err(Refusal::new(D::CODES.invalid, source.what()).got("given twice").want("once"));
        }
    }
    sources.iter().zip(given).map(|(source, given)| given.ok_or_else(|| source.missing())).collect()
}

/// The document of each of `sources`, in their order, from those that were verified before, whenever that was: dates and
/// version are judged at `now`.
pub(crate) fn judge_each<'a, D: SignedDocument>(
    sources: &[Source<D>],
    verified: &[&'a Verified<D>],
    now: UnixTime,
) -> Result<Vec<&'a Verified<D>>> {
    let judge = |source: &Source<D>| {
        let (name, signers) = (source.name.as_str(), source.signed_by());
        let own = verified.iter().find(|one| one.document.name() == name && one.signers == signers);
        let own = *own.ok_or_else(|| source.missing())?;
        source.judge(own, now).map(|()| own)
    };
    sources.iter().map(judge).collect()
}

fn validity<D: SignedDocument>(document: &D) -> Validity {
    Validity {
        of: format!("{} `{}`", D::WHAT, document.name()),
        window: Window::ALWAYS.and(document.validity()),
        early: D::CODES.early,
        late: D::CODES.late,
    }
}
