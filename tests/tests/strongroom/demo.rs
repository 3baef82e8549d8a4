//! `strongroom-dev demo`: the whole main job and every adversary.

use crate::peers;
use crate::system::process::run;
use crate::system::program;
use std::process::Command;
use strongroom_wire::Code;

/// What the demo promises to show refused: with which code, by whom, and words that name the adversary.
const REFUSED: [(Code, &str, &str); 18] = [
    (Code::LayerDigestMismatch, "enclave", "flips one bit in a sealed layer"),
    (Code::ModelUnsigned, "enclave", "without its signature"),
    (Code::SignerUntrusted, "enclave", "a stranger who signs"),
    (Code::KeyCommitmentMismatch, "opener", "opens under two keys"),
    (Code::PromotionMissing, "enclave", "a model which nobody promoted"),
    (Code::PromotionDemoted, "verifier", "hides a demotion"),
    (Code::PromotionSuperseded, "verifier", "the older of two promoted models"),
    (Code::MeasurementNotApproved, "verifier", "boots other software"),
    (Code::DebugEnabled, "verifier", "can debug the guest"),
    (Code::PolicyDenied, "verifier", "outside the zone"),
    (Code::DeploymentMismatch, "enclave", "hands over another deployment document"),
    (Code::DeploymentMismatch, "verifier", "a patched enclave"),
    (Code::ReportDataMismatch, "verifier", "evidence replayed"),
    (Code::ChannelKeyMismatch, "client", "a relay that forwards genuine evidence"),
    (Code::HandshakeSignatureInvalid, "client", "certificate without its key"),
    (Code::ReportDataMismatch, "client", "a TLS key other than the attested one"),
    (Code::RootUntrusted, "verifier", "knows only AMD's roots"),
    (Code::NoReferenceValues, "client", "a proxy without reference values"),
];

#[test]
fn demo_does_the_whole_job_and_shows_every_refusal() {
    let mut command = Command::new(program("strongroom-dev"));
    command.arg("demo");
    for (flag, variable) in [("--onnxruntime", "ORT_LIB"), ("--model", "MODEL_MINILM"), ("--small-model", "MODEL_TINY")]
    {
        let Some(path) = peers::find(variable) else { return };
        command.arg(flag).arg(path);
    }
    let said = run(&mut command).ok().stdout;
    for (code, by, adversary) in REFUSED {
        let shows = |line: &str| line.contains(&format!(" by the {by} ")) && line.contains(adversary);
        let shown = said.lines().any(|line| line.contains(&format!(" {code} ")) && shows(line));
        assert!(shown, "{adversary}: {code} by the {by} is missing in:\n{said}");
    }
    assert!(said.contains(&format!("{} adversaries were refused", REFUSED.len())), "{said}");
}
