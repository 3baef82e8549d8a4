//! Served models of tensors against Python's ONNX Runtime, by the Open Inference Protocol's own client and by curl; and what the
//! service answers against its own OpenAPI document.

use crate::peers;
use crate::system::guest::Deployed;
use crate::system::process::{Process, run};
use crate::system::world::API_KEY;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// How far an element may be off.
const TOLERANCE: f64 = 1e-5;

/// A served model behind the proxy of a client that verified it.
struct Served {
    url: String,
    _proxy: Process,
    deployed: Deployed,
}

impl Served {
    fn start(variable: &str) -> Option<Self> {
        let deployed = Deployed::start(variable)?;
        let (proxy, url) = deployed.proxy();
        Some(Self { url, _proxy: proxy, deployed })
    }

    /// What `tests/peers/triton_infer.py` found.
    fn by_tritonclient(&self, variable: &str, inputs: &Value) -> Option<Value> {
        let (mut command, folder) = (peers::script("triton_infer.py")?, peers::find(variable)?);
        let inputs = self.deployed.world.file("inputs.json", inputs.to_string());
        let address = self.url.strip_prefix("http://").unwrap();
        command.args([address, API_KEY, "model"]).arg(folder.join("model.onnx")).arg(inputs);
        Some(run(&mut command).ok().json())
    }

    fn curl(&self, program: &Path, arguments: &[&str], path: &str) -> Value {
        let mut command = Command::new(program);
        command.args(["--silent", "--show-error", "--header", &format!("Authorization: Bearer {API_KEY}")]);
        run(command.args(arguments).arg(format!("{}{path}", self.url))).ok().json()
    }
}

#[track_caller]
fn assert_refused(found: &Value) {
    let refused = |what: &str| {
        let refused = &found["refused"][what];
        let message = refused["message"].as_str().unwrap();
        (refused["status"].as_str().unwrap().to_owned(), message.split(':').next().unwrap().to_owned())
    };
    let told = |status: &str, code: &str| (status.to_owned(), code.to_owned());
    assert_eq!(refused("stranger"), told("401", "unauthenticated"));
    assert_eq!(refused("model"), told("404", "model-unknown"));
    assert_eq!(refused("version"), told("404", "model-unknown"));
    assert_eq!(refused("inputs"), told("400", "request-invalid"));
    assert_eq!(refused("output"), told("400", "request-invalid"));
}

#[test]
fn tritonclient_gets_what_onnx_runtime_gives_of_a_model_of_one_input() {
    let Some(served) = Served::start("MODEL_MAGIKA") else { return };
    let inputs = json!({"bytes": {"shape": [3, 2048], "low": 0, "high": 257}});
    let Some(found) = served.by_tritonclient("MODEL_MAGIKA", &inputs) else { return };
    assert!(found["furthest"].as_f64().unwrap() < TOLERANCE, "{found}");
    assert_eq!(found["runs"], 15);
    let manifest = served.deployed.model.manifest.oci();
    assert_eq!((&found["metadata"]["name"], &found["metadata"]["versions"]), (&json!("model"), &json!([manifest])));
    assert_eq!(found["metadata"]["inputs"], json!([{"name": "bytes", "datatype": "INT32", "shape": [-1, 2048]}]));
    assert_eq!(found["server"]["extensions"], json!(["binary_tensor_data", "model_repository"]));
    assert_refused(&found);
}

#[test]
fn tritonclient_gets_what_onnx_runtime_gives_of_a_model_with_state_and_a_scalar() {
    let Some(served) = Served::start("MODEL_SILERO") else { return };
    let inputs = json!({
        "input": {"shape": [2, 576], "low": -0.5, "high": 0.5},
        "state": {"shape": [2, 2, 128], "low": -0.1, "high": 0.1},
        "sr": {"shape": [], "low": 16000, "high": 16001},
    });
    let Some(found) = served.by_tritonclient("MODEL_SILERO", &inputs) else { return };
    assert!(found["furthest"].as_f64().unwrap() < TOLERANCE, "{found}");
    assert_refused(&found);
}

#[test]
fn curl_gets_scores_in_json_and_refusals_in_the_protocol_s_shape() {
    let (Some(served), Some(curl)) = (Served::start("MODEL_MAGIKA"), peers::find("CURL")) else { return };
    let ask = |length: usize| {
        let tensor = json!({"name": "bytes", "datatype": "INT32", "shape": [1, length], "data": vec![256; length]});
        served.deployed.world.file("ask.json", json!({"inputs": [tensor]}).to_string())
    };
    let infer = |length: usize| {
        let body = format!("@{}", ask(length).display());
        served.curl(&curl, &["--json", &body], "/v2/models/model/infer")
    };
    let scores: Vec<f64> = serde_json::from_value(infer(2048)["outputs"][0]["data"].clone()).unwrap();
    assert_eq!(scores.len(), 214);
    assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-4);
    let refused = infer(2047);
    assert_eq!(refused["code"], "request-invalid");
    assert!(refused["error"].as_str().unwrap().starts_with("request-invalid: shape of input `bytes`"), "{refused}");
    assert_eq!(served.curl(&curl, &[], "/v2/health/ready"), json!({"ready": true}));
    assert_eq!(served.curl(&curl, &[], "/openapi.json")["openapi"], "3.1.0");
}

/// Schemathesis makes requests of the document, good ones and bad ones, and holds the answers to it. It asks the guest itself: the
/// proxy answers probes on its own.
#[test]
fn service_answers_as_its_openapi_document_says() {
    let (Some(deployed), Some(python)) = (Deployed::start("MODEL_MAGIKA"), peers::find("PEERS_PYTHON")) else { return };
    // Of the model that there is; what else it draws names another one now and then all the same.
    let version = deployed.model.manifest.oci();
    let parameters = format!("[parameters]\n\"path.name\" = \"model\"\n\"path.version\" = \"{version}\"\n");
    deployed.world.file("schemathesis.toml", parameters);
    let mut command = Command::new(python.with_file_name("schemathesis"));
    command.args(["run", "--no-color", "--seed", "1", "--max-examples", "10", "--phases", "coverage,fuzzing"]);
    command.args(["--request-timeout", "30", "--request-retries", "2", "--generation-database", "none"]);
    let checks = [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "unsupported_method",
        "allow_header_conformance",
        "ignored_auth",
    ];
    // The certificate is the guest's own, which evidence vouches for and no authority.
    command.args(["--checks", &checks.join(","), "--tls-verify", "false"]);
    command.args(["--header", &format!("Authorization: Bearer {API_KEY}")]);
    command.arg(format!("https://{}/openapi.json", deployed.guest.address)).current_dir(deployed.world.path());
    run(&mut command).ok();
}
