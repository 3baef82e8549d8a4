//! Boots of the image. There are three, and no more: without acceleration each takes the better part of a minute.

use super::{built, figures};
use crate::peers;
use crate::system::guest::launch;
use crate::system::http::Http;
use crate::system::process::{Process, run};
use crate::system::world::{API_KEY, Published, World};
use crate::system::{program, strongroom, text};
use http::Method;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strongroom_devkit::amd::VekSpec;
use strongroom_devkit::psp::{Psp, PspServer};
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::Code;
use strongroom_wire::digest::Sha256;

/// How long an emulated guest may take to its next line on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(400);
/// More than one, so that whatever one holds up the others need not wait for.
const VCPUS: &str = "2";
/// What `run emulated` adds to the measured command line.
const FIRST_PROCESS: &str = " rdinit=/emulated/init";

/// A world around guests of the image, whose verifier and clients approve these and nothing else.
struct Stage {
    world: World,
    image: PathBuf,
    model: Published,
    document: Vec<u8>,
    onnxruntime: PathBuf,
}

/// A guest in its machine.
struct Guest {
    process: Process,
    address: String,
}

impl Stage {
    fn start() -> Option<Self> {
        let (image, _) = (built()?, peers::find("QEMU")?);
        let (onnxruntime, folder) = (peers::find("ORT_LIB")?, peers::find("MODEL_TINY")?);
        let world = World::start();
        let model = world.publish(&folder, "model");
        let document = world.document(&model, Sha256::of(&fs::read(&onnxruntime).unwrap()));
        world.file("deployment.toml", &document);
        let mut stage = Self { world, image, model, document, onnxruntime };
        let prepared = run(&mut stage.command("deployment.toml", &["--print"])).ok();
        assert!(prepared.stderr.contains(FIRST_PROCESS), "{}", prepared.stderr);
        let archive = fs::read(stage.world.path().join("initramfs.cpio")).unwrap();
        stage.world.measurement = stage.measured(&archive, &stage.command_line());
        Some(stage)
    }

    /// `strongroom-image run emulated`, for a document in the world's folder.
    fn command(&self, document: &str, more: &[&str]) -> Command {
        let mut command = Command::new(program("strongroom-image"));
        command.args(["run", "emulated", "--vcpus", VCPUS, "--image", text(&self.image)]);
        for address in [&self.world.registry, &self.world.verifier.kbs] {
            command.args(["--share", address.rsplit_once(':').unwrap().1]);
        }
        command
            .arg("--document")
            .arg(self.world.path().join(document))
            .arg("--scratch")
            .arg(self.world.path())
            .args(more);
        command
    }

    /// What the kernel is told in these boots.
    fn command_line(&self) -> String {
        fs::read_to_string(self.image.join("command-line")).unwrap().trim_end().to_owned() + FIRST_PROCESS
    }

    /// MEASUREMENT, as whoever approves the image computes it.
    fn measured(&self, archive: &[u8], command_line: &str) -> [u8; 48] {
        let archive = self.world.file("measured.cpio", archive);
        let [firmware, kernel] = ["OVMF.amdsev.fd", "vmlinuz"].map(|name| self.image.join(name));
        let mut arguments = vec!["measure", "snp", "--json", "--vcpus", VCPUS, "--vcpu-type", "EPYC-Milan"];
        arguments.extend(["--ovmf", text(&firmware), "--kernel", text(&kernel), "--initrd", text(&archive)]);
        arguments.extend(["--append", command_line]);
        let measured = strongroom(&arguments).ok().json();
        hex::decode(measured["measurement"].as_str().unwrap()).unwrap().try_into().unwrap()
    }

    fn boot(&self, document: &str, more: &[&str]) -> Guest {
        // Nobody else asks for a port just now; QEMU says so if somebody did.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let more = [&["--forward", &address], more].concat();
        Guest { process: Process::start(&mut self.command(document, &more)), address }
    }

    /// A host that launches something else, with the processor that measured it.
    fn processor(&self, measurement: [u8; 48]) -> Arc<PspServer> {
        let guest = ReportSpec { measurement, host_data: Sha256::of(&self.document).0, ..ReportSpec::default() };
        let vek = self.world.hierarchy.issue(VekSpec::default()).unwrap();
        let psp = Psp::new(&self.world.hierarchy, vek, guest).unwrap();
        psp.serve(&self.world.path().join("processor.sock")).unwrap().into()
    }
}

impl Guest {
    /// What the enclave ends with on the console: that it listens, or the code of its refusal.
    fn outcome(&self) -> Result<(), Code> {
        self.process.wait_within(PATIENCE, |line| {
            let line = line.trim_end();
            let refused = || {
                let document: Value = serde_json::from_str(&line[line.find(r#"{"refused""#)?..]).ok()?;
                document["refused"]["code"].as_str().and_then(Code::parse)
            };
            line.ends_with("listening on 0.0.0.0:8443").then_some(Ok(())).or_else(|| refused().map(Err))
        })
    }

    /// Waits until its machine is switched off, which is its own doing.
    fn switched_off(mut self) {
        assert!(self.process.wait().success(), "{}", self.process.log());
    }
}

fn embed(url: &str) -> Vec<f64> {
    let key = format!("Bearer {API_KEY}");
    let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
    let body = json!({ "model": "model", "input": "rain over the harbour" }).to_string();
    let answer = Http::plain().send(Method::POST, &format!("{url}/v1/embeddings"), &headers, body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    serde_json::from_value(answer.json()["data"][0]["embedding"].clone()).unwrap()
}

#[test]
fn image_boots_attests_opens_and_serves_and_its_client_verifies_it_first() {
    let Some(stage) = Stage::start() else { return };
    stage.world.approve(&stage.model, &stage.document);
    let policy = stage.world.client_policy(&stage.model, &stage.document);
    let monitor = stage.world.path().join("monitor");
    let begun = Instant::now();
    let guest = stage.boot("deployment.toml", &["--monitor", text(&monitor)]);
    let said = |words: &str| guest.process.wait_within(PATIENCE, |line| line.contains(words).then(|| begun.elapsed()));
    let (first, begins) = (said(" mounts: "), said(" enclave: starts"));
    assert_eq!(guest.outcome(), Ok(()), "{}", guest.process.log());
    figures::publish(&stage.image, [first, begins, begun.elapsed()]);

    // The stages stand in the log of the boot, with their times.
    let log = guest.process.log();
    for step in ["mounts", "modules", "entropy", "clock", "network", "document", "close", "watchdog", "enclave"] {
        let said = |line: &str| line.contains("strongroom-init ") && line.contains(&format!(" {step}: "));
        assert!(log.lines().any(said), "{step} is missing in:\n{log}");
    }
    assert!(log.contains("eth0 10.0.2.15/24 by DHCP"), "{log}");
    assert!(log.contains(" watchdog: fed while the enclave is well"), "{log}");

    let (url, root) = (format!("https://{}", guest.address), stage.world.path().join("ark.pem"));
    let verified =
        strongroom(&["verify", &url, "--policy", text(&policy), "--root", text(&root), "--json"]).ok().json();
    assert_eq!(verified["verdict"], "accepted", "{verified}");
    let mut proxy = Command::new(program("strongroom"));
    proxy.args(["proxy", "--listen", "127.0.0.1:0", "--to", &url, "--policy", text(&policy), "--root", text(&root)]);
    let proxy = Process::start(&mut proxy);
    let vector = embed(&format!("http://{}", proxy.address("")));
    assert!(vector.len() > 1 && vector.iter().any(|component| *component != 0.0));
    for secret in [API_KEY, "rain over the harbour"] {
        assert!(!guest.process.log().contains(secret));
    }
    other_images_are_refused(&stage);

    // The host presses the button: what runs is finished, and the machine goes.
    press_power_button(&monitor);
    guest.process.wait_within(PATIENCE, |line| line.contains(" power button: pressed").then_some(()));
    guest.switched_off();
}

/// As QEMU's monitor protocol has it: a greeting, the mode in which commands are taken, the command.
fn press_power_button(monitor: &Path) {
    let mut monitor = UnixStream::connect(monitor).unwrap();
    let mut answers = BufReader::new(monitor.try_clone().unwrap()).lines();
    assert!(answers.next().unwrap().unwrap().contains("QMP"));
    for command in ["qmp_capabilities", "system_powerdown"] {
        writeln!(monitor, "{}", json!({ "execute": command })).unwrap();
        assert!(answers.any(|answer| answer.unwrap().contains(r#""return""#)), "{command}");
    }
}

/// What QEMU gets with one byte changed is measured as something else, and the verifier keeps its key. The measurement is all
/// that the verifier sees of these files, so that the enclave need not be in a machine for it.
fn other_images_are_refused(stage: &Stage) {
    let world = &stage.world;
    let outcome = |measurement| {
        let launched = launch(world, stage.processor(measurement), &stage.document, &stage.onnxruntime);
        launched.map(drop)
    };
    let archive = fs::read(world.path().join("initramfs.cpio")).unwrap();
    let line = stage.command_line();
    assert_eq!(outcome(stage.measured(&archive, &line)), Ok(()));
    let mut other = archive.clone();
    let last = other.len() - 600;
    other[last] ^= 1;
    assert_eq!(outcome(stage.measured(&other, &line)), Err(Code::MeasurementNotApproved));
    let line = line.replacen("panic=-1", "panic=-2", 1);
    assert_eq!(outcome(stage.measured(&archive, &line)), Err(Code::MeasurementNotApproved));
}

/// The document with one letter of a caller's name changed, in the world's folder.
fn changed_document(world: &World, document: &[u8]) -> &'static str {
    let changed = String::from_utf8(document.to_vec()).unwrap().replacen("\"tests\"", "\"testy\"", 1);
    assert_ne!(changed.as_bytes(), document);
    world.file("changed.toml", &changed);
    "changed.toml"
}

#[test]
fn guest_that_is_handed_another_document_than_its_hardware_names_refuses_to_start_and_switches_off() {
    let Some(stage) = Stage::start() else { return };
    stage.world.approve(&stage.model, &stage.document);
    let file = changed_document(&stage.world, &stage.document);
    let (named, by_disk) = (Sha256::of(&stage.document).to_string(), ["--delivery", "disk"]);
    let guest = stage.boot(file, &[&["--host-data", &named][..], &by_disk].concat());
    assert_eq!(guest.outcome(), Err(Code::DeploymentMismatch), "{}", guest.process.log());
    assert!(guest.process.log().contains("bytes from /dev/vda"), "{}", guest.process.log());
    guest.switched_off();
}

#[test]
fn guest_with_a_document_that_nobody_approved_gets_no_key_and_switches_off() {
    let Some(stage) = Stage::start() else { return };
    stage.world.approve(&stage.model, &stage.document);
    let file = changed_document(&stage.world, &stage.document);
    let guest = stage.boot(file, &[]);
    // The verifier's code; the guest itself found nothing wrong.
    assert_eq!(guest.outcome(), Err(Code::DeploymentNotApproved), "{}", guest.process.log());
    guest.switched_off();
}
