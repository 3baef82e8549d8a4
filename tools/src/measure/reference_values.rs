//! The document of reference values that a measurement goes into.

use crate::{evidence, files};
use clap::Args;
use std::path::{Path, PathBuf};
use strongroom_appraisal::{Label, ReferenceValues, SnpGuest, TdxGuest, UnixTime};
use strongroom_wire::{Code, Refusal, Result, limits};

/// Seconds for which a new document is valid by default: 90 days.
const VALIDITY: UnixTime = 90 * 24 * 60 * 60;

/// Where the guest is written as a reference value.
#[derive(Args)]
pub(super) struct Destination {
    /// Write a document of reference values, to sign with `strongroom reference-values sign`. Where OUT is one already, the
    /// guest is added to it, and what is given of the following replaces its own.
    #[arg(long = "reference-values", value_name = "OUT")]
    out: Option<PathBuf>,
    /// The document's name. A new document must have one.
    #[arg(long, requires = "out")]
    name: Option<String>,
    /// The document's version, which grows with every change. A new document must have one.
    #[arg(long, value_name = "N", requires = "out")]
    version: Option<u64>,
    /// First second of its validity; by default now.
    #[arg(long, value_name = "UNIX_SECONDS", requires = "expires")]
    issued: Option<UnixTime>,
    /// Last second of its validity; by default 90 days from now.
    #[arg(long, value_name = "UNIX_SECONDS", requires = "issued")]
    expires: Option<UnixTime>,
    /// The name of the guest's image, for people; by default the document's.
    #[arg(long, requires = "out")]
    image: Option<String>,
    /// The version of the guest's image, for people; by default the document's.
    #[arg(long, value_name = "VERSION", requires = "out")]
    image_version: Option<String>,
}

impl Destination {
    /// Where the document is, if one is written.
    pub(super) fn path(&self) -> Option<&Path> {
        self.out.as_deref()
    }

    /// Adds an SNP guest.
    pub(super) fn add_snp(&self, guest: impl FnOnce(Label) -> SnpGuest) -> Result<()> {
        self.change(|values, label| add(&mut values.snp.get_or_insert_default().guests, guest(label)))
    }

    /// Adds a trust domain.
    pub(super) fn add_tdx(&self, guest: impl FnOnce(Label) -> TdxGuest) -> Result<()> {
        self.change(|values, label| add(&mut values.tdx.get_or_insert_default().guests, guest(label)))
    }

    fn change(&self, add: impl FnOnce(&mut ReferenceValues, Label)) -> Result<()> {
        let Some(path) = &self.out else { return Ok(()) };
        let mut values = if path.exists() { self.known(path)? } else { self.new_document()? };
        let label = Label {
            image: self.image.clone().unwrap_or_else(|| values.name.clone()),
            version: self.image_version.clone().unwrap_or_else(|| values.version.to_string()),
        };
        add(&mut values, label);
        files::write(path, &values.to_json()?)
    }

    fn known(&self, path: &Path) -> Result<ReferenceValues> {
        let values = ReferenceValues::parse(&files::read(path, limits::SIGNED_DOCUMENT)?)
            .map_err(|refusal| refusal.within(format!("`{}`", path.display())))?;
        Ok(ReferenceValues {
            name: self.name.clone().unwrap_or(values.name),
            version: self.version.unwrap_or(values.version),
            issued: self.issued.unwrap_or(values.issued),
            expires: self.expires.unwrap_or(values.expires),
            ..values
        })
    }

    fn new_document(&self) -> Result<ReferenceValues> {
        let missing = |flag| Refusal::new(Code::Usage, "a new document").got(format!("no {flag}")).want(flag);
        let now = evidence::now();
        Ok(ReferenceValues {
            format: 1,
            name: self.name.clone().ok_or_else(|| missing("--name"))?,
            version: self.version.ok_or_else(|| missing("--version"))?,
            issued: self.issued.unwrap_or(now),
            expires: self.expires.unwrap_or_else(|| now.saturating_add(VALIDITY)),
            snp: None,
            tdx: None,
        })
    }
}

/// A guest that is there already is not listed twice.
fn add<T: PartialEq>(guests: &mut Vec<T>, guest: T) {
    if !guests.contains(&guest) {
        guests.push(guest);
    }
}
