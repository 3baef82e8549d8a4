//! `strongroom evidence inspect|verify`.

use crate::files::read as read_file;
use crate::{output, roots};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use strongroom_appraisal::{Endorsements, Expected, Policy, Roots, UnixTime, Verdict, appraise, authenticate_traced};
use strongroom_wire::snp::{Report, SigningKey, Tcb};
use strongroom_wire::{Check, Code, Fault, Refusal, Result, Root, limits};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show what evidence says. Verifies nothing.
    #[command(after_help = "Example:\n  strongroom evidence inspect report.bin")]
    Inspect {
        /// A raw SNP report or a configfs-tsm outblob.
        file: PathBuf,
    },
    /// Verify who signed evidence and judge what it says.
    ///
    /// Without --policy the platform's defaults are demanded (no debugging, VMPL 0, no migration agent) and the verdict is
    /// at most `authentic`: the software was not judged.
    Verify(Verify),
}

#[derive(Args)]
#[command(
    after_help = "Example:\n  strongroom evidence verify report.bin --endorsement vcek.der --policy policy.toml --json"
)]
pub(crate) struct Verify {
    /// A raw SNP report or a configfs-tsm outblob.
    file: PathBuf,
    /// VCEK/VLEK, ASK/ASVK, ARK, CRL as DER or PEM, or a GHCB certificate table; a folder is read whole. Repeatable.
    #[arg(long = "endorsement", value_name = "PATH")]
    endorsements: Vec<PathBuf>,
    /// Judge as of this moment instead of now.
    #[arg(long, value_name = "UNIX_SECONDS")]
    at: Option<UnixTime>,
    /// Trust this root instead of the built-in ones of AMD. Repeatable.
    #[arg(long = "root", value_name = "PEM_OR_DER")]
    roots: Vec<PathBuf>,
    /// The appraisal policy.
    #[arg(long, value_name = "FILE", conflicts_with = "authenticate_only")]
    policy: Option<PathBuf>,
    /// Judge chain, validity, revocation, signature and TCB alone, whatever the platform's state is.
    #[arg(long)]
    authenticate_only: bool,
}

/// The JSON document. What a report says is shown even where it was refused; `verdict` says what it is worth.
#[derive(Serialize)]
struct Answer {
    verdict: &'static str,
    code: Option<Code>,
    platform: &'static str,
    root: Option<Root>,
    product: Option<String>,
    report_version: u32,
    signing_key: &'static str,
    debug: bool,
    vmpl: u32,
    measurement: String,
    host_data: String,
    report_data: String,
    chip_id: String,
    guest_policy: String,
    platform_info: String,
    tcb: Tcb,
    committed_tcb: Tcb,
    current_tcb: Tcb,
    launch_tcb: Tcb,
    tcb_status: Option<&'static str>,
    advisories: Vec<String>,
    checks: Vec<Check>,
}

pub(crate) fn run(command: Command, json: bool) -> Result<ExitCode> {
    match command {
        Command::Inspect { file } => inspect(&file, json),
        Command::Verify(arguments) => verify(&arguments, json),
    }
}

fn inspect(file: &Path, json: bool) -> Result<ExitCode> {
    let answer = describe(&report(&read_file(file, limits::EVIDENCE)?)?);
    if json {
        output::json(&answer)?;
    } else {
        output::line(&format!("{}nothing was verified: anybody can write these bytes\n", fields(&answer)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(arguments: &Verify, json: bool) -> Result<ExitCode> {
    let evidence = read_file(&arguments.file, limits::EVIDENCE)?;
    let policy = match &arguments.policy {
        Some(path) => Some(Policy::parse(&read_file(path, limits::POLICY)?)?),
        None => None,
    };
    let roots = roots::load(&arguments.roots)?;
    let endorsements = load_endorsements(&arguments.endorsements)?;
    let mut answer = describe(&report(&evidence)?);
    match judge(arguments, &evidence, &endorsements, &roots, policy.as_ref(), &mut answer) {
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

fn judge(
    arguments: &Verify,
    evidence: &[u8],
    endorsements: &Endorsements,
    roots: &Roots,
    policy: Option<&Policy>,
    answer: &mut Answer,
) -> Result<Verdict> {
    let now = arguments.at.unwrap_or_else(now);
    let authentic = authenticate_traced(evidence, endorsements, roots, now, &mut answer.checks)?;
    answer.root = Some(authentic.root());
    answer.product = Some(authentic.product().to_owned());
    if arguments.authenticate_only {
        return Ok(Verdict::Authentic);
    }
    let defaults = Policy::platform_defaults();
    let appraisal = appraise(&authentic, policy.unwrap_or(&defaults), &Expected::default());
    answer.checks.extend(appraisal.checks.iter().cloned());
    match appraisal.refusal() {
        Some(refusal) => Err(refusal),
        None => Ok(appraisal.verdict()),
    }
}

/// Tells a TDX quote (DCAP quote header: u16 version 4 or 5, u32 TEE type 0x81 at 4) from an SNP report.
fn report(evidence: &[u8]) -> Result<Report> {
    let is_tdx = matches!(evidence.get(..8), Some([4 | 5, 0, _, _, 0x81, 0, 0, 0]));
    if is_tdx {
        return Err(Refusal::new(Code::PlatformUnsupported, "evidence").got("a TDX quote").want("an SNP report"));
    }
    Report::parse(evidence)
}

/// Reads files and folders. In a folder, files that are no endorsements are passed over; one that was named is refused.
fn load_endorsements(paths: &[PathBuf]) -> Result<Endorsements> {
    let mut endorsements = Endorsements::new();
    for path in paths {
        if !path.is_dir() {
            let added = endorsements.add(&read_file(path, limits::ENDORSEMENT)?);
            added.map_err(|refusal| refusal.within(format!("`{}`", path.display())))?;
            continue;
        }
        let io = |e: std::io::Error| Refusal::io(path.display(), &e);
        let mut files = std::fs::read_dir(path).map_err(io)?.collect::<std::io::Result<Vec<_>>>().map_err(io)?;
        files.sort_by_key(std::fs::DirEntry::file_name);
        for file in files.iter().map(std::fs::DirEntry::path).filter(|file| file.is_file()) {
            match endorsements.add(&read_file(&file, limits::ENDORSEMENT)?) {
                Err(refusal) if refusal.code == Code::TooLarge => return Err(refusal),
                _ => {}
            }
        }
    }
    Ok(endorsements)
}

fn describe(report: &Report) -> Answer {
    let tcb = |raw| report.tcb_layout().read(raw);
    Answer {
        verdict: Verdict::Refused.as_str(),
        code: None,
        platform: "snp",
        root: None,
        product: None,
        report_version: report.version,
        signing_key: match report.key_info.signing_key() {
            SigningKey::Vcek => "VCEK",
            SigningKey::Vlek => "VLEK",
            SigningKey::None => "none",
            SigningKey::Other(_) => "unknown",
        },
        debug: report.policy.debug(),
        vmpl: report.vmpl,
        measurement: hex::encode(report.measurement),
        host_data: hex::encode(report.host_data),
        report_data: hex::encode(report.report_data),
        chip_id: hex::encode(report.chip_id),
        guest_policy: format!("{:#x}", report.policy.0),
        platform_info: format!("{:#x}", report.platform_info.0),
        tcb: tcb(report.reported_tcb),
        committed_tcb: tcb(report.committed_tcb),
        current_tcb: tcb(report.current_tcb),
        launch_tcb: tcb(report.launch_tcb),
        tcb_status: None,
        advisories: Vec::new(),
        checks: Vec::new(),
    }
}

fn fields(answer: &Answer) -> String {
    let rows = [
        (
            "platform",
            format!(
                "{} report version {}, signed with a {}",
                answer.platform, answer.report_version, answer.signing_key
            ),
        ),
        ("MEASUREMENT", answer.measurement.clone()),
        ("HOST_DATA", answer.host_data.clone()),
        ("REPORT_DATA", answer.report_data.clone()),
        ("CHIP_ID", answer.chip_id.clone()),
        ("POLICY", format!("{}{}", answer.guest_policy, if answer.debug { " (debugging allowed)" } else { "" })),
        ("PLATFORM_INFO", answer.platform_info.clone()),
        ("VMPL", answer.vmpl.to_string()),
        ("REPORTED_TCB", answer.tcb.to_string()),
        ("COMMITTED_TCB", answer.committed_tcb.to_string()),
        ("CURRENT_TCB", answer.current_tcb.to_string()),
        ("LAUNCH_TCB", answer.launch_tcb.to_string()),
    ];
    rows.iter().map(|(name, value)| format!("{name:14} {value}\n")).collect()
}

fn for_people(answer: &Answer, policy: bool, authenticate_only: bool) -> String {
    let mut text = format!("{}\n{}\n", fields(answer), output::checks(&answer.checks));
    let root = answer.root.map_or_else(String::new, |root| format!(" under root {root}"));
    text.push_str(&format!("{}{root}\n", answer.verdict));
    match answer.code {
        Some(code) => text.push_str(&output::advice(code)),
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
