//! Signing, verifying and showing what policies name: `strongroom reference-values sign|verify|show` and the same of inventories.

use crate::state::State;
use crate::{evidence, files, output};
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use strongroom_appraisal::{DocumentKey, SignedDocument, Signers, Source, UnixTime};
use strongroom_wire::dsse::Envelope;
use strongroom_wire::{Code, Refusal, Result, limits};

/// A kind of document that these commands are for.
pub(crate) trait Shown: SignedDocument {
    /// What holds the document in what is printed as JSON.
    const MEMBER: &'static str;

    /// What it says, for people.
    fn for_people(&self) -> String;
}

#[derive(Args)]
pub(crate) struct Sign {
    /// The JSON document, or what others signed, to add a signature.
    file: PathBuf,
    /// The signer's private key; an encrypted one opens with the password in COSIGN_PASSWORD.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where what was signed is written.
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
}

#[derive(Args)]
pub(crate) struct Verify {
    /// What was signed.
    file: PathBuf,
    /// The public key of one who may sign: PEM, ECDSA or Ed25519. Repeatable.
    #[arg(long = "public-key", value_name = "FILE", required = true)]
    public_keys: Vec<PathBuf>,
    /// How many of them must have signed.
    #[arg(long, value_name = "N", default_value_t = 1)]
    threshold: usize,
    /// The name that it must have; by default whatever it says. With --state it must be given: by it a version is remembered.
    #[arg(long)]
    name: Option<String>,
    /// Remember in this file the highest version that was seen of that name from these signers, and refuse older ones.
    #[arg(long, value_name = "FILE", requires = "name")]
    state: Option<PathBuf>,
    /// Judge as of this moment instead of now.
    #[arg(long, value_name = "UNIX_SECONDS")]
    at: Option<UnixTime>,
}

pub(crate) fn sign<D: Shown>(arguments: &Sign, as_json: bool) -> Result<()> {
    let key = files::read_signing_key(&arguments.key)?;
    let (document, mut envelope) = read::<D>(&arguments.file)?;
    envelope.signatures.push(key.sign(&envelope.signed_bytes())?);
    let signatures = envelope.signatures.len();
    files::write(&arguments.out, &envelope.to_json()?)?;
    let signer = key.public().fingerprint();
    let (name, version) = (document.name(), document.version());
    if as_json {
        return output::json(&json!({
            "bundle": arguments.out, "name": name, "version": version, "signer": signer, "signatures": signatures,
        }));
    }
    output::line(&format!("signed `{name}` version {version} with key sha256:{signer}: {signatures} signatures\n"))
}

pub(crate) fn verify<D: Shown>(arguments: &Verify, as_json: bool) -> Result<()> {
    let signers = Signers::new(read_public_keys(&arguments.public_keys)?, arguments.threshold)
        .map_err(|refusal| Refusal { code: Code::Usage, ..refusal })?;
    let file = files::read(&arguments.file, limits::SIGNED_DOCUMENT)?;
    // What it calls itself counts for nothing before the signature over it held.
    let named = || D::parse(&Envelope::parse(&file)?.payload).map(|document| document.name().to_owned());
    let source = Source::<D>::new(arguments.name.clone().map_or_else(named, Ok)?, signers);
    let mut state = arguments.state.as_deref().map(State::open).transpose()?;
    let verified = source.verify(&file, arguments.at.unwrap_or_else(evidence::now))?;
    if let Some(state) = &mut state {
        verified.verify_newest(&mut state.seen)?;
    }
    state.map_or(Ok(()), State::save)?;
    if as_json {
        let document = as_value(&Envelope::parse(&file)?)?;
        return output::json(&json!({ "verdict": "verified", "digest": verified.digest(), D::MEMBER: document }));
    }
    output::line(&format!("{}verified: sha256:{}\n", verified.document().for_people(), verified.digest()))
}

pub(crate) fn show<D: Shown>(file: &Path, as_json: bool) -> Result<()> {
    let (document, envelope) = read::<D>(file)?;
    let signatures = envelope.signatures.len();
    if as_json {
        return output::json(&json!({ D::MEMBER: as_value(&envelope)?, "signatures": signatures }));
    }
    output::line(&format!("{}{signatures} signatures, none of which was verified\n", document.for_people()))
}

/// A document as it would be signed, or with the signatures that it has.
pub(crate) fn read<D: SignedDocument>(path: &Path) -> Result<(D, Envelope)> {
    let bytes = files::read(path, limits::SIGNED_DOCUMENT)?;
    let envelope = match Envelope::parse(&bytes) {
        Ok(envelope) if envelope.payload_type != D::PAYLOAD_TYPE => {
            let refusal = Refusal::new(D::CODES.invalid, "payload type");
            return Err(refusal.got(envelope.payload_type).want(D::PAYLOAD_TYPE));
        }
        Ok(envelope) => envelope,
        Err(_) => Envelope { payload_type: D::PAYLOAD_TYPE.to_owned(), payload: bytes, signatures: Vec::new() },
    };
    let document = D::parse(&envelope.payload).map_err(|refusal| refusal.within(format!("`{}`", path.display())))?;
    Ok((document, envelope))
}

pub(crate) fn read_public_keys(paths: &[PathBuf]) -> Result<Vec<DocumentKey>> {
    let read = |path: &PathBuf| {
        let key = DocumentKey::from_pem(&files::read(path, limits::KEY_FILE)?);
        key.map_err(|refusal| refusal.within(format!("`{}`", path.display())))
    };
    paths.iter().map(read).collect()
}

/// `` `name` version 7, valid from … to … ``
pub(crate) fn heading(document: &impl SignedDocument) -> String {
    let (from, until) = document.validity();
    let (name, version) = (document.name(), document.version());
    format!("`{name}` version {version}, valid from {} to {}\n", output::utc(from), output::utc(until))
}

/// The document as it was written. It was parsed, so that nothing stands in it that its kind does not know.
fn as_value(envelope: &Envelope) -> Result<Value> {
    serde_json::from_slice(&envelope.payload).map_err(|error| Refusal::new(Code::Internal, "document").because(error))
}
