//! Leases, their feed and revocation, as they are run: a verifier, two enclaves, the router in front of them, and clients.

use crate::peers;
use crate::system::guest::{Guest, hardware, launch_named};
use crate::system::http::Http;
use crate::system::process::Process;
use crate::system::world::World;
use crate::system::{program, text};
use http::Method;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use strongroom_devkit::psp::PspServer;
use strongroom_jose::{signing_key, thumbprint};
use strongroom_transport::connect_provisional;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// The name that clients ask for; nothing has to resolve another.
const NAME: &str = "localhost";
const PATIENCE: Duration = Duration::from_secs(60);

/// A verifier that gives leases, and a router that reads its feed.
struct Stage {
    router: Process,
    /// `localhost:port` of the router, and `http://host:port` of its own paths.
    address: String,
    admin: String,
    processor: Arc<PspServer>,
    document: Vec<u8>,
    onnxruntime: PathBuf,
    world: World,
    http: Http,
    runtime: Runtime,
}

/// A client's connection through the router.
struct Client {
    stream: Box<dyn Duplex>,
    /// Thumbprint of the key at which it ends.
    guest: String,
}

trait Duplex: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Duplex for T {}

impl Stage {
    fn start() -> Option<Self> {
        let (onnxruntime, folder) = (peers::find("ORT_LIB")?, peers::find("MODEL_TINY")?);
        let world = World::start();
        let model = world.publish(&folder, "model");
        let document = world.document(&model, Sha256::of(&fs::read(&onnxruntime).unwrap()));
        world.approve(&model, &document);
        let example = fs::read_to_string(crate::system::root().join("docs/examples/authorization.cedar")).unwrap();
        let routes = "@id(\"routes\") permit (principal, action == Strongroom::Action::\"Route\", resource);";
        let authorization = world.file("authorization.cedar", format!("{example}\n{routes}\n"));
        world.administer(&["policy", "authorization", "put", text(&authorization)]).ok();
        let table = format!(
            "[tenants.team]\nconnections = 100\nper-second = 100\n[routes.{NAME}]\ntenant = 'team'\ndeployments = ['{}']\n",
            Sha256::of(&document)
        );
        let table = world.file("routes.toml", table);
        world.administer(&["routes", "put", text(&table)]).ok();

        let config = format!(
            "listen = 'localhost:0'\nadmin-listen = '127.0.0.1:0'\nfeeds = ['https://{}/v1/feed']\nverifier-pin = '{}'\n\
             feed-key = '{}'\nprobe = 1\ngrace = 1\n",
            world.verifier.kbs, world.verifier.pin, world.verifier.token_key
        );
        let mut command = Command::new(program("strongroom-router"));
        command.arg("--config").arg(world.file("router.toml", config));
        let router = Process::start(&mut command);
        let admin = format!("http://{}", router.address("admin "));
        let port = router.address("").rsplit(':').next().unwrap().to_owned();
        let processor = Arc::new(hardware(&world, &document));
        let (http, runtime) = (Http::plain(), Runtime::new().unwrap());
        let address = format!("{NAME}:{port}");
        Some(Self { router, address, admin, processor, document, onnxruntime, world, http, runtime })
    }

    fn launch(&self, name: &str) -> (Guest, String) {
        // The port that routers are told of has to be known before.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = format!("listen = '127.0.0.1:{port}'\nadvertise = '127.0.0.1:{port}'\n");
        let guest =
            launch_named(name, &at, &self.world, Arc::clone(&self.processor), &self.document, &self.onnxruntime);
        let guest = guest.unwrap();
        let shown = self.runtime.block_on(connect_provisional(&guest.address, PATIENCE)).unwrap();
        (guest, thumbprint(&signing_key(&shown.spki).unwrap()).unwrap())
    }

    /// Until a gauge of the router's is so many. It is asked for until it is; nothing else tells.
    fn until(&self, gauge: &str, wanted: impl Fn(u64) -> bool) {
        let (began, name) = (Instant::now(), format!("strongroom_router_{gauge} "));
        loop {
            let text = self.http.send(Method::GET, &format!("{}/metrics", self.admin), &[], "").text();
            let value =
                text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |value| value.parse().unwrap());
            if wanted(value) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{gauge} stays {value}: {}", self.router.log());
        }
    }

    fn connect(&self) -> Result<Client> {
        let shown = self.runtime.block_on(connect_provisional(&self.address, PATIENCE))?;
        let guest = thumbprint(&signing_key(&shown.spki)?)?;
        Ok(Client { stream: Box::new(shown.stream), guest })
    }

    /// A connection that ends at that guest.
    fn connect_to(&self, guest: &str) -> Client {
        let found = (0..100).map(|_| self.connect().unwrap()).find(|client| client.guest == guest);
        found.expect("guests of equal load take turns")
    }

    /// Asks over a connection that stays open; whether an answer came.
    fn asks(&self, client: &mut Client) -> bool {
        let asked = async {
            client.stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await?;
            client.stream.flush().await?;
            let mut answer = [0; 4096];
            client.stream.read(&mut answer).await
        };
        self.runtime.block_on(async { timeout(PATIENCE, asked).await.unwrap() }).is_ok_and(|read| read > 0)
    }

    /// How long it takes until the other side of a connection is gone.
    fn end(&self, client: &mut Client) -> Duration {
        let began = Instant::now();
        let ended = async {
            let mut rest = [0; 4096];
            while client.stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
        };
        self.runtime.block_on(async { timeout(PATIENCE, ended).await.unwrap() });
        began.elapsed()
    }
}

#[test]
fn guests_with_a_lease_get_connections_and_who_is_revoked_loses_them_at_once_and_stops() {
    let Some(mut stage) = Stage::start() else { return };
    let ((mut one, first), (other, second)) = (stage.launch("one"), stage.launch("other"));
    stage.until("backends_reachable", |count| count == 2);
    let (mut to_one, mut to_other) = (stage.connect_to(&first), stage.connect_to(&second));
    assert!(stage.asks(&mut to_one) && stage.asks(&mut to_other));

    let said = ["revoke", "identity", &first, "--because", "a test", "--by", "Anna Kern"];
    stage.world.administer(&said).ok();
    let took = stage.end(&mut to_one);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(stage.asks(&mut to_other), "the other's streams go on");
    assert!((0..20).all(|_| stage.connect().unwrap().guest == second), "and it gets all new ones");

    // The enclave is told at its next renewal, drains, and ends with the reason's exit code.
    let code = one.process.wait_for(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        line["refused"]["code"].as_str().and_then(Code::parse)
    });
    assert_eq!((code, one.process.wait().code()), (Code::Revoked, Some(1)), "{}", one.process.log());

    // Without a verifier nobody new is brought anywhere.
    stage.world.verifier.process.end(rustix::process::Signal::KILL);
    stage.until("feed_sequence", |sequence| sequence == 0);
    assert!(stage.connect().is_err());
    assert!(stage.asks(&mut to_other));
    drop(other);
    stage.router.end(rustix::process::Signal::TERM);
}

#[test]
fn quarantine_is_listed_and_ended_by_name_and_a_revocation_is_not() {
    let world = World::start();
    let said = ["key", "models/embed/v1", "--because", "under review", "--by", "Anna Kern"];
    let say = |command: &[&str]| world.administer(&[command, &said, &["--json"]].concat());
    assert_eq!(say(&["quarantine"]).ok().json()["state"], "quarantined");
    let listed = || world.administer(&["revocations", "list", "--json"]).ok().json();
    let one = &listed()[0];
    assert_eq!((&one["kind"], &one["value"], &one["by"]), (&"key".into(), &said[1].into(), &"Anna Kern".into()));
    assert_eq!(say(&["revocations", "release"]).ok().json()["was"]["because"], "under review");
    assert_eq!(listed().as_array().unwrap().len(), 0);
    assert_eq!(say(&["revoke"]).ok().json()["state"], "revoked");
    assert_eq!(say(&["revocations", "release"]).refused(), Code::Revoked);
    let wrong = ["revoke", "model", "0f1e", "--because", "x", "--by", "y"];
    assert_eq!(world.administer(&wrong).refused(), Code::RequestInvalid);
}
