//! `strongroom-dev demo`: the whole main job and every adversary.

use crate::peers;
use crate::system::process::run;
use crate::system::program;
use std::process::Command;
use strongroom_wire::Code;

/// What the demo promises to show refused.
const REFUSED: [Code; 12] = [
    Code::LayerDigestMismatch,
    Code::ModelUnsigned,
    Code::SignerUntrusted,
    Code::KeyCommitmentMismatch,
    Code::MeasurementNotApproved,
    Code::DebugEnabled,
    Code::DeploymentMismatch,
    Code::ReportDataMismatch,
    Code::ChannelKeyMismatch,
    Code::HandshakeSignatureInvalid,
    Code::RootUntrusted,
    Code::NoReferenceValues,
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
    let finished = run(&mut command).ok();
    for code in REFUSED {
        assert!(finished.stdout.contains(code.as_str()), "no {code} in:\n{}", finished.stdout);
    }
}
