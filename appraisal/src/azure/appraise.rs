//! Is this Azure guest what was approved: every check of a policy, all made and all reported.

use super::AuthenticVtpm;
use crate::policy::{AzurePolicy, Pcr};
use crate::tdx::AuthenticQuote;
use crate::{Appraisal, AuthenticReport, Hex, Policy, Rule, UnixTime, snp, tdx};
use aws_lc_rs::digest::{Context, SHA256};
use strongroom_wire::azure::Platform;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Check, Code, Result};

/// Judges an authentic guest on SEV-SNP by the section `[azure-snp-vtpm]` of `policy`. Makes every check, whatever the others
/// said. `deployment` is the SHA-256 of the document that the peer showed, `None` where none was shown; the nonce was
/// compared when the quote was authenticated.
pub fn appraise_snp(
    authentic: &AuthenticVtpm<AuthenticReport>,
    policy: &Policy,
    deployment: Option<Sha256>,
) -> Appraisal<AuthenticVtpm<AuthenticReport>> {
    let Some(section) = policy.azure_snp() else {
        return not_named(authentic, authentic.hardware().at(), policy, Platform::AzureSnpVtpm);
    };
    let mut checks = snp::hardware_checks(authentic.hardware(), &section.hardware);
    checks.extend(vtpm_checks(authentic, section, deployment));
    conclude(authentic, authentic.hardware().at(), policy, checks, &section.fixes_software(), deployment)
}

/// Judges an authentic guest on TDX by the section `[azure-tdx-vtpm]` of `policy`; else as [`appraise_snp`].
pub fn appraise_tdx(
    authentic: &AuthenticVtpm<AuthenticQuote>,
    policy: &Policy,
    deployment: Option<Sha256>,
) -> Appraisal<AuthenticVtpm<AuthenticQuote>> {
    let Some(section) = policy.azure_tdx() else {
        return not_named(authentic, authentic.hardware().at(), policy, Platform::AzureTdxVtpm);
    };
    let mut checks = tdx::hardware_checks(authentic.hardware(), &section.hardware);
    checks.extend(vtpm_checks(authentic, section, deployment));
    conclude(authentic, authentic.hardware().at(), policy, checks, &section.fixes_software(), deployment)
}

fn not_named<E: Clone>(
    authentic: &AuthenticVtpm<E>,
    at: UnixTime,
    policy: &Policy,
    got: Platform,
) -> Appraisal<AuthenticVtpm<E>> {
    Appraisal::new(vec![policy.platform_not_named(got.as_str())], authentic.clone(), at, policy, false, false)
}

fn conclude<E: Clone>(
    authentic: &AuthenticVtpm<E>,
    at: UnixTime,
    policy: &Policy,
    checks: Vec<Check>,
    fixes_software: &Result<()>,
    deployment: Option<Sha256>,
) -> Appraisal<AuthenticVtpm<E>> {
    Appraisal::new(checks, authentic.clone(), at, policy, fixes_software.is_ok(), deployment.is_some())
}

fn vtpm_checks<E, H>(authentic: &AuthenticVtpm<E>, policy: &AzurePolicy<H>, deployment: Option<Sha256>) -> Vec<Check> {
    let (runtime, state) = (authentic.runtime(), Code::PlatformStateMismatch);
    let mut checks = vec![
        policy.secure_boot.check("secure-boot", state, &runtime.secure_boot, bool::to_string),
        policy.console_enabled.check("console-enabled", state, &runtime.console_enabled, bool::to_string),
        policy.vm_id.check("vm-id", Code::PlatformNotApproved, &runtime.vm_id, String::clone),
        firmware_check(authentic),
    ];
    checks.extend(policy.pcr.iter().map(|(pcr, rule)| {
        let got = Hex(value(authentic, *pcr));
        rule.check(&format!("pcr-{pcr}"), Code::MeasurementNotApproved, &got, Hex::to_string)
    }));
    checks.extend(deployment_checks(&value(authentic, policy.deployment_pcr), &policy.deployment, deployment));
    checks
}

/// Firmware that measures leaves no PCR from 0 to 7 as it found it: each has at least a separator (TCG PC Client Platform
/// Firmware Profile, §3.3.4). Where one is zero, whatever ran may extend the others as it likes.
fn firmware_check<E>(authentic: &AuthenticVtpm<E>) -> Check {
    let firmware = authentic.pcrs().iter().take(8).enumerate();
    let zero: Vec<String> =
        firmware.filter(|(_, pcr)| **pcr == [0; 32]).map(|(number, _)| format!("PCR {number} zero")).collect();
    let got = if zero.is_empty() { "each extended".to_owned() } else { zero.join(", ") };
    Check::new("firmware-measured", zero.is_empty(), Code::SoftwareNotMeasured, got, "PCR 0 to 7 extended")
}

fn deployment_checks(got: &[u8; 32], rule: &Rule<Hex<32>>, document: Option<Sha256>) -> Vec<Check> {
    let allowed = match rule {
        Rule::Exactly(digest) => *got == extended(&digest.0),
        Rule::OneOf(digests) => digests.iter().any(|digest| *got == extended(&digest.0)),
        Rule::ReferenceValues(_) => false,
        Rule::Any { .. } => true,
    };
    let show = |digest: &Hex<32>| format!("{} of document {digest}", hex::encode(extended(&digest.0)));
    let missing = *got == [0; 32];
    let code = if missing { Code::DeploymentMissing } else { Code::DeploymentNotApproved };
    let mut checks = vec![Check::new("deployment", allowed, code, hex::encode(got), rule.describe(show))];
    if let Some(document) = document {
        let code = if missing { Code::DeploymentMissing } else { Code::DeploymentMismatch };
        let want = extended(&document.0);
        checks.push(Check::new("deployment-document", *got == want, code, hex::encode(got), hex::encode(want)));
    }
    checks
}

/// What a PCR is after one TPM2_PCR_Extend by `digest` from zero: SHA-256(32 zero bytes ‖ digest).
fn extended(digest: &[u8; 32]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(&[0; 32]);
    context.update(digest);
    let mut value = [0; 32];
    value.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    value
}

fn value<E>(authentic: &AuthenticVtpm<E>, pcr: Pcr) -> [u8; 32] {
    // A `Pcr` is below 16 and there are 24; zero is what no rule of a measured guest allows.
    authentic.pcrs().get(usize::from(pcr.number())).copied().unwrap_or_default()
}
