//! `strongroom evidence inspect|verify|fetch-endorsements`: SNP reports and TDX quotes, told apart by content.

mod answer;
mod azure;
mod endorsements;
mod fetch;
mod snp;
mod tdx;

use crate::files::read as read_file;
use crate::reference_values::Given;
use crate::state::State;
use crate::{output, policy, roots};
use answer::Answer;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use strongroom_appraisal::{Appraisal, Endorsements, Expected, Policy, Roots, Seen, Sightings, UnixTime, Verdict};
use strongroom_wire::tdx::looks_like_quote;
use strongroom_wire::{Check, Code, Fault, Refusal, Result, limits};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show what evidence says. Verifies nothing.
    #[command(after_help = "Example:\n  strongroom evidence inspect report.bin")]
    Inspect {
        /// A raw SNP report, a raw TDX quote, or a configfs-tsm outblob.
        file: PathBuf,
    },
    /// Verify who signed evidence and judge what it says.
    ///
    /// Without --policy the platform's defaults are demanded (no debugging, VMPL 0, no migration agent, TDX status
    /// UpToDate) and the verdict is at most `authentic`: the software was not judged.
    Verify(Verify),
    /// Verify who signed evidence of an Azure guest behind a virtual TPM, for a nonce, and judge its platform and PCRs.
    VerifyAzure(azure::VerifyAzure),
    /// Fetch what the platform's vendor vouches with: certificates and revocation list, or collateral.
    ///
    /// Asks AMD's or Intel's service, and keeps what comes in a cache: a chip's certificate is asked for once, everything
    /// else when it is due for an update. Verifies nothing; `evidence verify` does.
    FetchEndorsements(fetch::Fetch),
}

#[derive(Args)]
#[command(
    after_help = "Example:\n  strongroom evidence verify report.bin --endorsement vcek.der --policy policy.toml --json"
)]
pub(crate) struct Verify {
    /// A raw SNP report, a raw TDX quote, or a configfs-tsm outblob.
    file: PathBuf,
    /// VCEK/VLEK, ASK/ASVK, ARK, CRL as DER or PEM, a GHCB certificate table, or Intel's collateral as QuoteCollateralV3
    /// JSON; of a folder, every file that is any of them. Repeatable.
    #[arg(long = "endorsement", value_name = "PATH")]
    endorsements: Vec<PathBuf>,
    /// Judge as of this moment instead of now.
    #[arg(long, value_name = "UNIX_SECONDS")]
    at: Option<UnixTime>,
    /// Trust this root instead of the built-in ones of AMD and Intel. Repeatable.
    #[arg(long = "root", value_name = "PEM_OR_DER")]
    roots: Vec<PathBuf>,
    /// The guest's event log, the memory that its ACPI table CCEL names: replayed, it must give the quote's RTMRs. TDX only.
    #[arg(long, value_name = "FILE")]
    event_log: Option<PathBuf>,
    /// The appraisal policy.
    #[arg(long, value_name = "FILE", conflicts_with = "authenticate_only")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    reference_values: Given,
    /// Remember in this file the newest collateral, revocation lists, inventories and reference values that were seen, and
    /// refuse older ones than those. Made where there is none; keep it where nobody but you writes.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// A signed inventory of machines, for each that the policy names. Repeatable.
    #[arg(long = "inventory", value_name = "FILE", requires = "policy")]
    inventories: Vec<PathBuf>,
    /// Judge chains, validity, revocation, signatures and TCB matching alone, whatever the platform's state is.
    #[arg(long)]
    authenticate_only: bool,
}

pub(crate) fn run(command: Command, json: bool) -> Result<ExitCode> {
    match command {
        Command::Inspect { file } => inspect(&file, json),
        Command::Verify(arguments) => verify(&arguments, json),
        Command::FetchEndorsements(arguments) => fetch::run(&arguments, json),
        Command::VerifyAzure(arguments) => azure::verify(&arguments, json),
    }
}

fn inspect(file: &Path, json: bool) -> Result<ExitCode> {
    let answer = describe(&read_file(file, limits::EVIDENCE)?)?;
    if json {
        output::json(&answer)?;
    } else {
        output::line(&format!("{}nothing was verified: anybody can write these bytes\n", answer.rows()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(arguments: &Verify, json: bool) -> Result<ExitCode> {
    let evidence = read_file(&arguments.file, limits::EVIDENCE)?;
    let now = arguments.at.unwrap_or_else(now);
    let mut state = arguments.state.as_deref().map(State::open).transpose()?;
    let policy = match &arguments.policy {
        Some(path) => {
            Some(load_policy(path, &arguments.inventories, &arguments.reference_values, state.as_mut(), now)?)
        }
        None => None,
    };
    let roots = roots::load(&arguments.roots)?;
    let endorsements = endorsements::load(&arguments.endorsements)?;
    let event_log = match &arguments.event_log {
        Some(_) if !looks_like_quote(&evidence) => {
            return Err(Refusal::new(Code::Usage, "--event-log").got("an SNP report").want("a TDX quote"));
        }
        Some(path) => Some(read_file(path, limits::EVENT_LOG)?),
        None => None,
    };
    let mut answer = describe(&evidence)?;
    let defaults = Policy::platform_defaults();
    let terms = Terms {
        endorsements: &endorsements,
        roots: &roots,
        now,
        event_log: event_log.as_deref(),
        policy: (!arguments.authenticate_only).then(|| policy.as_ref().unwrap_or(&defaults)),
    };
    let seen = state.as_mut().map(|state| &mut state.seen);
    let judge = if looks_like_quote(&evidence) { tdx::judge } else { snp::judge };
    let verdict = judge(&evidence, &terms, seen, &mut answer);
    state.map_or(Ok(()), State::save)?;
    match verdict {
        Ok(verdict) => answer.verdict = verdict.as_str(),
        Err(refusal) if refusal.fault() == Fault::Refused => answer.code = Some(refusal.code),
        Err(refusal) => return Err(refusal),
    }
    if json {
        output::json(&answer)?;
    } else {
        output::line(&for_people(&answer, policy.is_some(), arguments.authenticate_only))?;
    }
    Ok(ExitCode::from(u8::from(answer.code.is_some())))
}

/// What evidence is judged by.
struct Terms<'a> {
    endorsements: &'a Endorsements,
    roots: &'a Roots,
    now: UnixTime,
    /// Only beside a quote.
    event_log: Option<&'a [u8]>,
    /// `None` where evidence is authenticated only.
    policy: Option<&'a Policy>,
}

impl Terms<'_> {
    /// The verdict of an appraisal by the policy, with its checks in the answer.
    fn appraise<E>(
        &self,
        authentic: &E,
        appraise: impl Fn(&E, &Policy, &Expected) -> Appraisal<E>,
        answer: &mut Answer,
    ) -> Result<Verdict> {
        let Some(policy) = self.policy else { return Ok(Verdict::Authentic) };
        let appraisal = appraise(authentic, policy, &Expected::UNBOUND);
        conclude(&appraisal, answer)
    }
}

/// Remembers what was verified before the evidence was refused, where there is a memory: the list that revokes above all.
fn sighted(seen: Option<&mut Seen>, sightings: &Sightings) {
    if let Some(seen) = seen {
        sightings.remember(seen);
    }
}

/// Holds authentic evidence against the memory, where there is one, with that check in the answer.
fn remember(
    seen: Option<&mut Seen>,
    verify_newest: impl FnOnce(&mut Seen) -> Result<()>,
    answer: &mut Answer,
) -> Result<()> {
    let Some(seen) = seen else { return Ok(()) };
    let outcome = verify_newest(seen);
    let (code, got, want) = match &outcome {
        Ok(()) => (None, None, None),
        Err(refusal) => {
            let got = format!("{}: {}", refusal.what, refusal.got.as_deref().unwrap_or_default());
            (Some(refusal.code), Some(got), refusal.want.clone())
        }
    };
    answer.checks.push(Check { name: "newest-seen".to_owned(), ok: outcome.is_ok(), code, got, want });
    outcome
}

/// The verdict of an appraisal, with its checks in the answer.
fn conclude<E>(appraisal: &Appraisal<E>, answer: &mut Answer) -> Result<Verdict> {
    answer.checks.extend(appraisal.checks().iter().cloned());
    appraisal.refusal().map_or_else(|| Ok(appraisal.verdict()), Err)
}

/// The policy, or that of a release policy, with what it takes from inventories and reference values, whose versions the memory compares where there is
/// one. What was verified stays in it, whatever is refused afterwards.
pub(crate) fn load_policy(
    path: &Path,
    inventories: &[PathBuf],
    reference_values: &Given,
    mut state: Option<&mut State>,
    now: UnixTime,
) -> Result<Policy> {
    let policy = policy::appraisal(&read_file(path, limits::POLICY)?);
    let policy = policy.map_err(|refusal| refusal.within(format!("`{}`", path.display())))?;
    let given: Vec<Vec<u8>> =
        inventories.iter().map(|path| read_file(path, limits::SIGNED_DOCUMENT)).collect::<Result<_>>()?;
    let given: Vec<&[u8]> = given.iter().map(Vec::as_slice).collect();
    let mut nothing = Seen::default();
    let seen = state.as_deref_mut().map_or(&mut nothing, |state| &mut state.seen);
    let policy = policy.with_inventories(&given, seen, now);
    let policy = policy.and_then(|policy| reference_values.take(&policy, seen, now));
    state.map_or(Ok(()), State::keep)?;
    policy
}

fn describe(evidence: &[u8]) -> Result<Answer> {
    if looks_like_quote(evidence) { tdx::describe(evidence) } else { snp::describe(evidence) }
}

fn for_people(answer: &Answer, policy: bool, authenticate_only: bool) -> String {
    let mut text = format!("{}\n{}\n", answer.rows(), output::checks(&answer.checks));
    let root = answer.root.map_or_else(String::new, |root| format!(" under root {root}"));
    let code = answer.code.map_or_else(String::new, |code| format!(": {code}"));
    text.push_str(&format!("{}{root}{code}\n", answer.verdict));
    match answer.code {
        Some(_) => {}
        None if authenticate_only => text.push_str("neither platform state nor software was judged\n"),
        None if !policy => text.push_str("the software was not judged: pass --policy to say what you approve\n"),
        None => {}
    }
    text
}

/// Now, by this machine's clock.
pub(crate) fn now() -> UnixTime {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
