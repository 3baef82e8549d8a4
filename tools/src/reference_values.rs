//! `strongroom reference-values sign|verify|import|export|show`: bundles of what approved guests measure, and the policies that take from them.

use crate::signed::{Shown, Sign, Verify, heading, read, read_public_keys, show, sign, verify};
use crate::{evidence, files, output};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use strongroom_appraisal::{CorimImport, CorimPlatform, DocumentKey, Policy, ReferenceValues, Seen, UnixTime};
use strongroom_wire::{Code, Refusal, Result, limits};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Sign reference values, or add a signature to a bundle that others signed.
    ///
    /// FILE is the JSON document: `format` 1, `name`, `version` (which grows with every change), `issued` and `expires` in
    /// seconds since 1970, at most a year apart, and `snp` and `tdx` with their `guests`. The bundle is a DSSE envelope.
    #[command(
        after_help = "Example:\n  strongroom reference-values sign reference-values.json --key release.key --out reference-values.dsse"
    )]
    Sign(Sign),
    /// Verify a bundle's signatures, dates and version.
    #[command(
        after_help = "Example:\n  strongroom reference-values verify reference-values.dsse --public-key release.pub --name guest --state seen.json"
    )]
    Verify(Verify),
    /// Write the reference values of a CoRIM as a document to sign.
    ///
    /// With --public-key the CoRIM must be signed (COSE_Sign1) by one of these keys, and its signature valid now. Without,
    /// it must be unsigned, and nothing is verified.
    #[command(
        after_help = "Example:\n  strongroom reference-values import guest.corim --public-key vendor.pub --name guest --version 7 --out reference-values.json"
    )]
    Import(Import),
    /// Write a document's or bundle's guests of one platform as a CoRIM, signed where a key is given. Verifies nothing.
    #[command(
        after_help = "Example:\n  strongroom reference-values export reference-values.dsse --platform snp --sign-key release.key --signer \"Example Inc\" --out guest.corim"
    )]
    Export(Export),
    /// Show what a document or bundle says. Verifies nothing.
    #[command(after_help = "Example:\n  strongroom reference-values show reference-values.dsse")]
    Show {
        /// The JSON document, or the bundle.
        file: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct Import {
    /// The CoRIM, of AMD's profile of SEV-SNP or of Intel's.
    corim: PathBuf,
    /// The public key of one who may have signed it: PEM, ECDSA or Ed25519. Repeatable.
    #[arg(long = "public-key", value_name = "FILE")]
    public_keys: Vec<PathBuf>,
    /// Judge the signature as of this moment instead of now.
    #[arg(long, value_name = "UNIX_SECONDS", requires = "public_keys")]
    at: Option<UnixTime>,
    /// The bundle's name.
    #[arg(long)]
    name: String,
    /// The bundle's version.
    #[arg(long)]
    version: u64,
    /// First second of its validity; where it is absent, the CoRIM's.
    #[arg(long, value_name = "UNIX_SECONDS", requires = "expires")]
    issued: Option<UnixTime>,
    /// Last second of its validity.
    #[arg(long, value_name = "UNIX_SECONDS", requires = "issued")]
    expires: Option<UnixTime>,
    /// The product whose TCB an SNP CoRIM states: Milan, Genoa or Turin.
    #[arg(long)]
    product: Option<String>,
    /// What of the CoRIM is left out: `instance`, `group`, a measurement's key, or an unknown member as `corim-2`, `comid-3` or
    /// `environment-3`. Without it what a document cannot say is refused, and so is a name of nothing in it. Repeatable.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    leave_out: Vec<String>,
    /// Where the document is written.
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
}

#[derive(Args)]
pub(crate) struct Export {
    /// The JSON document, or the bundle.
    file: PathBuf,
    /// Whose guests.
    #[arg(long)]
    platform: Platform,
    /// Sign the CoRIM with this private key; an encrypted one opens with the password in COSIGN_PASSWORD.
    #[arg(long, value_name = "FILE", requires = "signer")]
    sign_key: Option<PathBuf>,
    /// What the signer goes by, as the CoRIM says.
    #[arg(long, value_name = "NAME", requires = "sign_key")]
    signer: Option<String>,
    /// Where the CoRIM is written.
    #[arg(long, value_name = "OUT")]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Platform {
    Snp,
    Tdx,
}

/// The bundles that a policy takes its values from.
#[derive(Args)]
pub(crate) struct Given {
    /// A signed bundle of reference values that the policy names under [[reference-values]]. Repeatable.
    #[arg(long = "reference-values", value_name = "BUNDLE", requires = "policy")]
    bundles: Vec<PathBuf>,
}

impl Given {
    /// The policy with the values that it takes.
    pub(crate) fn take(&self, policy: &Policy, seen: &mut Seen, now: UnixTime) -> Result<Policy> {
        let bundles = self.bundles.iter().map(|path| files::read(path, limits::SIGNED_DOCUMENT));
        let bundles = bundles.collect::<Result<Vec<_>>>()?;
        let envelopes: Vec<&[u8]> = bundles.iter().map(Vec::as_slice).collect();
        policy.with_reference_values(&envelopes, seen, now)
    }
}

pub(crate) fn run(command: &Command, json: bool) -> Result<ExitCode> {
    match command {
        Command::Sign(arguments) => sign::<ReferenceValues>(arguments, json)?,
        Command::Verify(arguments) => verify::<ReferenceValues>(arguments, json)?,
        Command::Import(arguments) => import(arguments, json)?,
        Command::Export(arguments) => export(arguments, json)?,
        Command::Show { file } => show::<ReferenceValues>(file, json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn import(arguments: &Import, as_json: bool) -> Result<()> {
    let import = CorimImport {
        name: &arguments.name,
        version: arguments.version,
        validity: arguments.issued.zip(arguments.expires),
        product: arguments.product.as_deref(),
        leave_out: &arguments.leave_out,
    };
    let corim = files::read(&arguments.corim, limits::CORIM)?;
    let keys = read_public_keys(&arguments.public_keys)?;
    let (values, signer) = match (keys.as_slice(), ReferenceValues::is_signed_corim(&corim)) {
        ([], false) => (ReferenceValues::from_corim(&corim, &import)?, None),
        // Taken without its signature, it would pass for one that was verified.
        ([], true) => {
            let refusal = Refusal::new(Code::Usage, "signed CoRIM");
            return Err(refusal.got("no --public-key").want("the public keys of those who may have signed it"));
        }
        (keys, _) => {
            let now = arguments.at.unwrap_or_else(evidence::now);
            let (values, signer) = ReferenceValues::from_signed_corim(&corim, keys, &import, now)?;
            (values, Some(signer))
        }
    };
    files::write(&arguments.out, &values.to_json()?)?;
    if as_json {
        let signer = signer.map(|signer| json!({ "key": signer.key, "name": signer.name }));
        return output::json(&json!({ "document": arguments.out, "values": values, "signer": signer }));
    }
    let signer = match signer {
        Some(signer) => format!("signed by `{}` with key sha256:{}\n", signer.name, signer.key),
        None => "not signed, and by whoever: nothing was verified\n".to_owned(),
    };
    output::line(&format!("{}{signer}", values.for_people()))
}

fn export(arguments: &Export, as_json: bool) -> Result<()> {
    let platform = match arguments.platform {
        Platform::Snp => CorimPlatform::Snp,
        Platform::Tdx => CorimPlatform::Tdx,
    };
    let (values, _) = read::<ReferenceValues>(&arguments.file)?;
    let corim = match arguments.sign_key.as_deref().zip(arguments.signer.as_deref()) {
        None => values.to_corim(platform)?,
        Some((path, signer)) => {
            let key = files::read_signing_key(path)?;
            let public = DocumentKey::from_pem(key.public().pem().as_bytes())?;
            values.to_signed_corim(platform, &public, signer, |message| key.sign(message))?
        }
    };
    files::write(&arguments.out, &corim)?;
    if as_json {
        return output::json(&json!({ "corim": arguments.out, "name": values.name, "version": values.version }));
    }
    output::line(&format!("{}\n", arguments.out.display()))
}

impl Shown for ReferenceValues {
    const MEMBER: &'static str = "values";

    fn for_people(&self) -> String {
        let mut text = heading(self);
        let row = |platform: &str, label: &strongroom_appraisal::Label, measured: String| {
            vec![platform.to_owned(), format!("{} {}", label.image, label.version), measured]
        };
        let snp = self.snp.iter().flat_map(|snp| &snp.guests);
        let tdx = self.tdx.iter().flat_map(|tdx| &tdx.guests);
        let rows = snp.map(|guest| row("snp", &guest.label, guest.measurement.to_string()));
        let rows: Vec<_> = rows.chain(tdx.map(|guest| row("tdx", &guest.label, guest.mrtd.to_string()))).collect();
        if let Some((tcb, product)) = self.snp.as_ref().and_then(|snp| snp.tcb.zip(snp.product.as_ref())) {
            text.push_str(&format!("TCB of {product} at least {tcb}\n"));
        }
        text.push_str(&output::table(&["PLATFORM", "IMAGE", "MEASUREMENT"], &rows));
        text
    }
}
