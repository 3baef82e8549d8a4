//! `strongroom evidence verify-azure`: an Azure guest's paravisor report, TPM quote and PCRs. A platform that is named, never guessed.

use super::answer::Answer;
use super::{conclude, endorsements, for_people, load_policy, now, remember, sighted, snp, tdx};
use crate::files::read as read_file;
use crate::reference_values::Given;
use crate::state::State;
use crate::{output, roots};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;
use strongroom_appraisal::azure::{
    AuthenticVtpm, appraise_snp, appraise_tdx, authenticate_snp_recording, authenticate_tdx_recording,
};
use strongroom_appraisal::{Endorsements, Policy, Roots, Seen, Sightings, UnixTime, Verdict};
use strongroom_wire::azure::{Evidence, HclReport, Platform};
use strongroom_wire::{Code, Fault, Refusal, Result, Root, limits};

#[derive(Args)]
#[command(
    after_help = "Example:\n  strongroom evidence verify-azure evidence.json --platform azure-snp-vtpm --nonce 00…ff \\\n    --policy policy.toml --json"
)]
pub(crate) struct VerifyAzure {
    /// The JSON document of Confidential Containers' attesters az-snp-vtpm and az-tdx-vtpm.
    file: PathBuf,
    /// What the guest is said to run on.
    #[arg(long)]
    platform: Named,
    /// What the TPM was asked to quote, in hex.
    #[arg(long, value_name = "HEX")]
    nonce: String,
    /// As for `evidence verify`. Repeatable; a VCEK in the document counts as given.
    #[arg(long = "endorsement", value_name = "PATH")]
    endorsements: Vec<PathBuf>,
    /// Judge as of this moment instead of now.
    #[arg(long, value_name = "UNIX_SECONDS")]
    at: Option<UnixTime>,
    /// Trust this root instead of the built-in ones of AMD and Intel. Repeatable.
    #[arg(long = "root", value_name = "PEM_OR_DER")]
    roots: Vec<PathBuf>,
    /// The appraisal policy, with a section of that platform. Without it neither platform nor software is judged.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    reference_values: Given,
    /// As for `evidence verify`. Repeatable.
    #[arg(long = "inventory", value_name = "FILE", requires = "policy")]
    inventories: Vec<PathBuf>,
    /// As for `evidence verify`.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Named {
    AzureSnpVtpm,
    AzureTdxVtpm,
}

/// What was proven of the virtual TPM.
#[derive(Serialize)]
pub(super) struct VtpmFields {
    secure_boot: bool,
    console_enabled: bool,
    vm_id: String,
    user_data: String,
    reset_count: u32,
    pcrs: Vec<String>,
}

pub(super) fn verify(arguments: &VerifyAzure, json: bool) -> Result<ExitCode> {
    let evidence = Evidence::parse(&read_file(&arguments.file, limits::AZURE_EVIDENCE)?)?;
    let nonce = hex::decode(&arguments.nonce).map_err(|e| Refusal::new(Code::Usage, "--nonce").because(e))?;
    let mut given = endorsements::load(&arguments.endorsements)?;
    if let Some(vcek) = &evidence.vcek {
        given.add(vcek)?;
    }
    let at = arguments.at.unwrap_or_else(now);
    let mut state = arguments.state.as_deref().map(State::open).transpose()?;
    let policy = match &arguments.policy {
        Some(path) => Some(load_policy(path, &arguments.inventories, &arguments.reference_values, state.as_mut(), at)?),
        None => None,
    };
    let roots = roots::load(&arguments.roots)?;
    let terms = Terms { nonce: &nonce, endorsements: &given, roots: &roots, now: at, policy: policy.as_ref() };
    let mut answer = describe(&evidence, arguments.platform)?;
    let seen = state.as_mut().map(|state| &mut state.seen);
    let verdict = judge(&evidence, arguments.platform, &terms, seen, &mut answer);
    state.map_or(Ok(()), State::save)?;
    match verdict {
        Ok(verdict) => answer.verdict = verdict.as_str(),
        Err(refusal) if refusal.fault() == Fault::Refused => answer.code = Some(refusal.code),
        Err(refusal) => return Err(refusal),
    }
    if json {
        output::json(&answer)?;
    } else {
        output::line(&for_people(&answer, policy.is_some(), policy.is_none()))?;
    }
    Ok(ExitCode::from(u8::from(answer.code.is_some())))
}

/// What the hardware's evidence says; that of the platform named, whatever the paravisor's report says it is.
fn describe(evidence: &Evidence, named: Named) -> Result<Answer> {
    let (answer, platform) = match (named, &evidence.td_quote) {
        (Named::AzureSnpVtpm, _) => {
            (snp::describe(HclReport::parse(&evidence.hcl_report)?.hardware.as_ref())?, Platform::AzureSnpVtpm)
        }
        (Named::AzureTdxVtpm, Some(quote)) => (tdx::describe(quote)?, Platform::AzureTdxVtpm),
        (Named::AzureTdxVtpm, None) => return Err(Refusal::malformed("Azure evidence", "no TDX quote")),
    };
    Ok(Answer { platform: platform.as_str(), ..answer })
}

/// What evidence is judged by.
struct Terms<'a> {
    nonce: &'a [u8],
    endorsements: &'a Endorsements,
    roots: &'a Roots,
    now: UnixTime,
    /// `None` where evidence is authenticated only.
    policy: Option<&'a Policy>,
}

fn judge(
    evidence: &Evidence,
    named: Named,
    terms: &Terms<'_>,
    mut seen: Option<&mut Seen>,
    answer: &mut Answer,
) -> Result<Verdict> {
    let Terms { nonce, endorsements, roots, now: at, policy } = *terms;
    let (trace, mut sightings) = (&mut answer.checks, Sightings::default());
    match named {
        Named::AzureSnpVtpm => {
            let vtpm = authenticate_snp_recording(evidence, nonce, endorsements, roots, at, trace, &mut sightings);
            let vtpm = vtpm.inspect_err(|_| sighted(seen.as_deref_mut(), &sightings))?;
            answer.product = Some(vtpm.hardware().product().to_owned());
            answer.learn(&vtpm, vtpm.hardware().root());
            remember(seen, |seen| vtpm.verify_newest(seen), answer)?;
            policy.map_or(Ok(Verdict::Authentic), |policy| conclude(&appraise_snp(&vtpm, policy, None), answer))
        }
        Named::AzureTdxVtpm => {
            let vtpm = authenticate_tdx_recording(evidence, nonce, endorsements, roots, at, trace, &mut sightings);
            let vtpm = vtpm.inspect_err(|_| sighted(seen.as_deref_mut(), &sightings))?;
            answer.tcb_status = Some(vtpm.hardware().tcb_status().as_str());
            answer.advisories = vtpm.hardware().advisories().map(str::to_owned).collect();
            answer.learn(&vtpm, vtpm.hardware().root());
            remember(seen, |seen| vtpm.verify_newest(seen), answer)?;
            policy.map_or(Ok(Verdict::Authentic), |policy| conclude(&appraise_tdx(&vtpm, policy, None), answer))
        }
    }
}

impl Answer {
    fn learn<E>(&mut self, vtpm: &AuthenticVtpm<E>, root: Root) {
        let runtime = vtpm.runtime();
        self.root = Some(root);
        self.vtpm = Some(VtpmFields {
            secure_boot: runtime.secure_boot,
            console_enabled: runtime.console_enabled,
            vm_id: runtime.vm_id.clone(),
            user_data: runtime.user_data.clone(),
            reset_count: vtpm.quote().reset_count,
            pcrs: vtpm.pcrs().iter().map(hex::encode).collect(),
        });
    }
}

impl VtpmFields {
    /// For people: one line a field.
    pub(super) fn rows(&self) -> Vec<(String, String)> {
        let head = [("secure boot", self.secure_boot.to_string()), ("console", self.console_enabled.to_string())];
        let head = head.into_iter().map(|(name, value)| (name.to_owned(), value));
        head.chain(self.pcrs.iter().enumerate().map(|(number, pcr)| (format!("PCR {number}"), pcr.clone()))).collect()
    }
}
