//! A guest whose model may be replaced, those who ask it, and who says what is promoted.

use crate::peers;
use crate::promotions::{key, world};
use crate::system::guest::{Guest, hardware, launch_named};
use crate::system::http::{Answer, Http};
use crate::system::process::Process;
use crate::system::world::{API_KEY, Published, World};
use crate::system::{program, strongroom, text};
use http::Method;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use strongroom_devkit::psp::PspServer;
use strongroom_wire::Code;
use strongroom_wire::deployment::{Model, Settings};
use strongroom_wire::digest::Sha256;

const PATIENCE: Duration = Duration::from_secs(60);

/// What lets the model be replaced by whoever has the tests' key.
pub(crate) fn replaceable(settings: &mut Settings) {
    settings.models[0].replaceable = true;
    let manage = r#"@id("tests") permit (principal == Strongroom::ApiKey::"tests", action, resource);"#;
    settings.access.policies = Some(manage.into());
}

/// A guest that may be launched, of a model that is promoted.
pub(crate) struct Stage {
    // Before the world, in whose folder its socket is.
    hardware: Arc<PspServer>,
    pub(crate) world: World,
    pub(crate) model: Published,
    pub(crate) document: Vec<u8>,
    onnxruntime: PathBuf,
    pub(crate) folder: PathBuf,
}

impl Stage {
    /// `None`, with a message, where the set-up is not there.
    pub(crate) fn start(model: &str, change: impl FnOnce(&mut Settings)) -> Option<Self> {
        Self::start_beside(model, &[], change)
    }

    /// The same beside other models, by the names that requests use.
    pub(crate) fn start_beside(
        model: &str,
        others: &[(&str, &str)],
        change: impl FnOnce(&mut Settings),
    ) -> Option<Self> {
        let (onnxruntime, folder) = (peers::find("ORT_LIB")?, peers::find(model)?);
        let others: Vec<_> =
            others.iter().map(|(name, variable)| Some((*name, peers::find(variable)?))).collect::<Option<_>>()?;
        let world = world(1);
        let model = world.publish(&folder, "model");
        let others: Vec<_> = others.iter().map(|(name, folder)| world.publish(folder, name)).collect();
        let document = world.document_with(&model, Sha256::of(&fs::read(&onnxruntime).unwrap()), |settings| {
            let other = |other: &Published| Model {
                name: other.name.clone(),
                reference: other.reference.clone(),
                replaceable: false,
            };
            settings.models.extend(others.iter().map(other));
            change(settings);
        });
        let hardware = Arc::new(hardware(&world, &document));
        let stage = Self { hardware, world, model, document, onnxruntime, folder };
        for model in others.iter().chain([&stage.model]) {
            stage.world.approve(model, &stage.document);
            stage.promote(model);
        }
        Some(stage)
    }

    /// Launches the guest, with `more` in its configuration.
    pub(crate) fn launch(&self, more: &str) -> Result<Guest, Code> {
        let at = format!("listen = '127.0.0.1:0'\n{more}");
        launch_named("guest", &at, &self.world, Arc::clone(&self.hardware), &self.document, &self.onnxruntime)
    }

    /// Another version of the model, whose key the guest may have.
    pub(crate) fn publish(&self, version: &str, signer: &str) -> Published {
        self.publish_files(&self.folder, version, signer)
    }

    /// The same, of other files.
    pub(crate) fn publish_files(&self, folder: &Path, version: &str, signer: &str) -> Published {
        let model = self.world.publish_version(folder, "model", version, signer);
        self.world.approve(&model, &self.document);
        model
    }

    pub(crate) fn keygen(&self, name: &str) {
        strongroom(&["model", "keygen", text(&self.world.office.path().join(name))]).ok();
    }

    /// Promotes to production, and tells the verifier.
    pub(crate) fn promote(&self, model: &Published) {
        let key = key(&self.world, "anna");
        let said = ["model", "promote", &model.reference, "--to", "production", "--sign-key", text(&key)];
        self.world.administer(&[&said[..], &["--plain-http"]].concat()).ok();
    }

    /// Promotes in the registry alone.
    pub(crate) fn promote_silently(&self, model: &Published, environment: &str) {
        let key = key(&self.world, "anna");
        let said = ["model", "promote", &model.reference, "--to", environment, "--sign-key", text(&key)];
        strongroom(&[&said[..], &["--sequence", "50", "--plain-http"]].concat()).ok();
    }

    /// `strongroom proxy` in front of the guest.
    pub(crate) fn proxy(&self, guest: &Guest, policy: &Path) -> Proxied {
        let mut command = Command::new(program("strongroom"));
        command.args(["proxy", "--listen", "127.0.0.1:0", "--to"]).arg(format!("https://{}", guest.address));
        command.arg("--policy").arg(policy).arg("--root").arg(self.world.path().join("ark.pem"));
        let process = Process::start(&mut command);
        let url = format!("http://{}", process.address(""));
        Proxied { caller: Caller { http: Http::plain(), url }, _process: process }
    }

    /// As many callers who ask until they are told to end.
    pub(crate) fn load(&self, guest: &Guest, callers: usize) -> Load {
        let (over, (answered, statuses)) = (Arc::new(AtomicBool::new(false)), channel());
        let ask = |_| {
            let (caller, over, answered) = (Caller::of(guest), Arc::clone(&over), answered.clone());
            std::thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    answered.send(caller.embed()).unwrap();
                }
            })
        };
        let asking = (0..callers).map(ask).collect();
        Load { over, statuses, asking }
    }

    /// The lines of the guest's log with that message.
    pub(crate) fn log(&self, guest: &Guest, message: &str) -> Vec<Value> {
        let lines = guest.process.log();
        let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["message"] == message).collect()
    }

    /// Bytes of memory that the guest's process has (`VmRSS`, proc_pid_status(5)).
    pub(crate) fn resident(&self, guest: &Guest) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", guest.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
    }

    /// File descriptors that the guest's process has open.
    pub(crate) fn descriptors(&self, guest: &Guest) -> usize {
        fs::read_dir(format!("/proc/{}/fd", guest.process.id())).unwrap().count()
    }

    /// Threads that the guest's process has.
    pub(crate) fn threads(&self, guest: &Guest) -> usize {
        fs::read_dir(format!("/proc/{}/task", guest.process.id())).unwrap().count()
    }

    /// Until it has no more of them than that: a service lets go those that it needs no more. It is looked at until it is so.
    #[track_caller]
    pub(crate) fn until_threads(&self, guest: &Guest, most: usize) {
        let began = Instant::now();
        while self.threads(guest) > most {
            assert!(began.elapsed() < PATIENCE, "{} threads stay, {most} are wanted", self.threads(guest));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Until it has no more open than that, who asked being gone. It is looked at until it is so; nothing else tells.
    #[track_caller]
    pub(crate) fn until_descriptors(&self, guest: &Guest, most: usize) {
        let began = Instant::now();
        while self.descriptors(guest) > most {
            assert!(began.elapsed() < PATIENCE, "{} stay open, {most} were", self.descriptors(guest));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Until it has no more than that. It is looked at until it is so; nothing else tells.
    #[track_caller]
    pub(crate) fn until_resident(&self, guest: &Guest, most: u64) {
        let began = Instant::now();
        while self.resident(guest) > most {
            assert!(began.elapsed() < PATIENCE, "{} bytes stay, {most} are wanted", self.resident(guest));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Somebody with the tests' key.
pub(crate) struct Caller {
    http: Http,
    url: String,
}

/// Somebody behind a proxy.
pub(crate) struct Proxied {
    caller: Caller,
    _process: Process,
}

impl Proxied {
    /// `host:port` of the proxy.
    pub(crate) fn address(&self) -> &str {
        self.caller.url.trim_start_matches("http://")
    }

    pub(crate) fn embed(&self) -> Answer {
        self.caller.post("/v1/embeddings", &json!({"model": "model", "input": "a cat"}))
    }
}

/// Status and code of a refusal in the shape of the Open Inference Protocol.
pub(crate) fn told(answer: &Answer) -> (u16, Code) {
    answer.refusal()
}

impl Caller {
    pub(crate) fn of(guest: &Guest) -> Self {
        Self { http: Http::of_first_use(&guest.address), url: format!("https://{}", guest.address) }
    }

    pub(crate) fn send(&self, method: Method, path: &str, body: String) -> Answer {
        let key = format!("Bearer {API_KEY}");
        let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
        self.http.send(method, &format!("{}{path}", self.url), &headers, body)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, body.to_string())
    }

    /// The status of an embedding.
    pub(crate) fn embed(&self) -> u16 {
        self.post("/v1/embeddings", &json!({"model": "model", "input": "a cat"})).status
    }

    pub(crate) fn change(&self, action: &str, body: &Value) -> Answer {
        self.post(&format!("/v2/repository/models/model/{action}"), body)
    }

    pub(crate) fn index(&self) -> Value {
        self.send(Method::POST, "/v2/repository/index", String::new()).json()
    }

    /// The digest of what is served.
    pub(crate) fn served(&self) -> Value {
        self.send(Method::GET, "/v1/models/model", String::new()).json()["manifest"].clone()
    }
}

/// Callers who ask and ask.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    statuses: Receiver<u16>,
    asking: Vec<JoinHandle<()>>,
}

impl Load {
    /// Until so many more were answered, all of them with 200.
    #[track_caller]
    pub(crate) fn until_answered(&self, more: usize) {
        for _ in 0..more {
            assert_eq!(self.statuses.recv_timeout(PATIENCE), Ok(200));
        }
    }

    /// Ends them; the statuses that were not 200.
    pub(crate) fn end(self) -> Vec<u16> {
        self.over.store(true, Ordering::SeqCst);
        self.asking.into_iter().for_each(|asking| asking.join().unwrap());
        self.statuses.into_iter().filter(|status| *status != 200).collect()
    }
}
