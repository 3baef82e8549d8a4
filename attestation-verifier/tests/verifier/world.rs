//! A verifier, a registry and a chip, started for one test.

use crate::people::Person;
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use strongroom_artifact::{DataKey, HashAlgorithm, SigningKey};
use strongroom_attestation_verifier::{Clock, Config, PublicIdentity, Service};
use strongroom_devkit::amd::{Hierarchy, Vek, VekSpec};
use strongroom_devkit::intel;
use strongroom_devkit::postgres::Postgres;
use strongroom_devkit::registry::{Config as RegistryConfig, RunningRegistry};
use strongroom_devkit::vendors::Vendors;
use strongroom_registry_client::{Access, PushOptions, Reference, RegistryClient, SignBy, push_model};
use strongroom_transport::http::full;
use strongroom_transport::{HttpClient, ServerTrust, read_body};
use strongroom_wire::Root;
use strongroom_wire::deployment::{self, Attester, Deployment, Model, Settings};
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::trust::{Rule, Signer, TrustFile};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// When every test begins.
pub(crate) const START: u64 = 1_800_000_000;
/// The id of the key that the test model is sealed with.
pub(crate) const KEY: &str = "models/tiny/v1";
/// Its value.
pub(crate) const KEY_VALUE: [u8; 32] = [0x5a; 32];

/// The Cedar policies that are given as an example: they permit keys under `models/`.
pub(crate) const AUTHORIZATION: &str = include_str!("../../../docs/examples/authorization.cedar");

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// Whose evidence counts.
pub(crate) enum Trust {
    /// That of the vendors' roots.
    Vendors,
    /// That of the root of [`World::hierarchy`].
    Amd,
    /// That of the root of [`World::intel`].
    Intel,
}

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) hierarchy: Hierarchy,
    pub(crate) vek: Vek,
    pub(crate) intel: intel::Hierarchy,
    root: Option<Root>,
    pub(crate) registry: RunningRegistry,
    pub(crate) signer: SigningKey,
    pub(crate) identity: PublicIdentity,
    clock: Arc<AtomicU64>,
    kbs: String,
    admin: String,
    pub(crate) http: HttpClient,
    /// AMD's service, where the verifier may ask one.
    pub(crate) vendors: Option<Vendors>,
    /// What else its configuration says, from the next start on.
    more: String,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<strongroom_wire::Result<()>>>,
    /// What several verifiers share; `None`: there is one, with a file.
    pub(crate) database: Option<Postgres>,
    others: Vec<Replica>,
    /// Which verifier is asked: 0 the first, then the others.
    asked: AtomicUsize,
}

/// Another verifier on the same database.
struct Replica {
    kbs: String,
    admin: String,
    stop: oneshot::Sender<()>,
    task: JoinHandle<strongroom_wire::Result<()>>,
}

impl World {
    /// As [`Self::ready`], with so many verifiers that share a PostgreSQL database. `None`, and the test says so, where there is no
    /// PostgreSQL.
    pub(crate) async fn ready_on_postgres(replicas: usize) -> Option<(Self, Vec<u8>)> {
        Some(Self::ready_on(Postgres::of_test().unwrap()?, replicas).await)
    }

    /// The same on that server.
    pub(crate) async fn ready_on(database: Postgres, replicas: usize) -> (Self, Vec<u8>) {
        database.sql("postgres", &["CREATE DATABASE strongroom"]).unwrap();
        let mut world = Self::with_database(Trust::Amd, None, Some(database)).await;
        for replica in 1..replicas {
            let config = world.config_of(&format!("state-{replica}"), "master-key");
            let ((identity, kbs, admin), stop, task) = Self::run(&config, &world.clock).await;
            assert_eq!(identity, world.identity, "guests see one verifier");
            world.others.push(Replica { kbs, admin, stop, task });
        }
        world.set_up().await
    }

    /// Whom guests and administrators ask from now on.
    pub(crate) fn ask(&self, verifier: usize) {
        self.asked.store(verifier, Ordering::SeqCst);
    }

    fn addresses(&self) -> (&str, &str) {
        match self.asked.load(Ordering::SeqCst).checked_sub(1) {
            None => (&self.kbs, &self.admin),
            Some(other) => (&self.others[other].kbs, &self.others[other].admin),
        }
    }

    /// Stops the last of the verifiers.
    pub(crate) async fn stop_last(&mut self) {
        let Replica { stop, task, .. } = self.others.pop().unwrap();
        drop(stop);
        task.await.unwrap().unwrap();
    }

    /// A verifier of the test realm of a fresh chip, and a registry that it may use; no key, no policy, no model yet.
    pub(crate) async fn start() -> Self {
        Self::with(Trust::Amd, None).await
    }

    /// The same of that realm, which asks those vendors, if any.
    pub(crate) async fn with(trust: Trust, vendors: Option<Vendors>) -> Self {
        Self::with_database(trust, vendors, None).await
    }

    async fn with_database(trust: Trust, vendors: Option<Vendors>, database: Option<Postgres>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hierarchy = Hierarchy::shared().unwrap();
        let vek = hierarchy.issue(VekSpec::default()).unwrap();
        let registry = RunningRegistry::start(RegistryConfig::new(folder.path().join("registry"))).await.unwrap();
        let intel = intel::Hierarchy::generate().unwrap();
        let (root, pem) = match trust {
            Trust::Vendors => (None, String::new()),
            Trust::Amd => {
                let root = Root::Test(hierarchy.ark.key_digest().unwrap());
                (Some(root), hierarchy.ark.certificate_pem().unwrap())
            }
            Trust::Intel => {
                let pem = intel::pem_chain(&[intel.root.certificate()]).unwrap();
                (Some(Root::Test(intel.root.key_digest().unwrap())), pem)
            }
        };
        std::fs::write(folder.path().join("root.pem"), pem).unwrap();
        let clock = Arc::new(AtomicU64::new(START));
        let registry_address = registry.addr().to_string();
        let text = Self::text(
            folder.path(),
            "master-key",
            root.is_some(),
            &registry_address,
            vendors.as_ref(),
            database.as_ref(),
        );
        let config = Config::parse(text.as_bytes()).unwrap();
        let (service, stop, task) = Self::run(&config, &clock).await;
        let http = HttpClient::new(&ServerTrust::Pin(service.0.pin.0), false).unwrap();
        Self {
            folder,
            hierarchy,
            vek,
            intel,
            root,
            registry,
            signer: SigningKey::generate().unwrap(),
            identity: service.0,
            clock,
            kbs: service.1,
            admin: service.2,
            http,
            vendors,
            more: String::new(),
            stop: Some(stop),
            task: Some(task),
            database,
            others: Vec::new(),
            asked: AtomicUsize::new(0),
        }
    }

    /// All set up: a sealed and signed model in the registry, its key and its release policy in the verifier. Returns the
    /// deployment document that names it.
    pub(crate) async fn ready() -> (Self, Vec<u8>) {
        Self::start().await.set_up().await
    }

    /// The same, but no Cedar policies were ever put.
    pub(crate) async fn ready_without_authorization() -> (Self, Vec<u8>) {
        Self::start().await.prepare().await
    }

    /// As [`Self::ready`], and the verifier may ask a service of AMD's that knows the chip; its revocation list lasts until then.
    pub(crate) async fn ready_with_vendors(list_ends: u64) -> (Self, Vec<u8>) {
        let world = Self::with(Trust::Amd, Some(Vendors::start().await.unwrap())).await;
        world.serve_list_until(list_ends);
        world.set_up().await
    }

    /// AMD's service has a revocation list that lasts until then from now on.
    pub(crate) fn serve_list_until(&self, ends: u64) {
        self.vendors().add_amd(&self.hierarchy, &self.vek, START - 1000..ends).unwrap();
    }

    /// CHIP_ID of the chip, in hex.
    pub(crate) fn chip(&self) -> String {
        hex::encode(self.vek.spec.hwid.as_ref().unwrap())
    }

    pub(crate) fn vendors(&self) -> &Vendors {
        self.vendors.as_ref().unwrap()
    }

    async fn set_up(self) -> (Self, Vec<u8>) {
        let (world, document) = self.prepare().await;
        world.authorize(AUTHORIZATION).await;
        (world, document)
    }

    async fn prepare(self) -> (Self, Vec<u8>) {
        let document = self.set_up_model().await;
        self.put_policy(KEY, &self.policy(&document)).await;
        (self, document)
    }

    /// A sealed and signed model in the registry, and its key in the verifier, without a policy. Returns the document that
    /// names it.
    pub(crate) async fn set_up_model(&self) -> Vec<u8> {
        let world = self;
        let reference = world.push("models/tiny", KEY, &world.signer).await;
        let document = world.document(&[reference]);
        world.put_key(KEY, &KEY_VALUE).await;
        document
    }

    /// The configuration with that folder of its state.
    fn config_of(&self, state: &str, master_key: &str) -> Config {
        let path = |name: &str| format!("state = '{}'", self.folder.path().join(name).display());
        Config::parse(self.config_text(master_key).replace(&path("state"), &path(state)).as_bytes()).unwrap()
    }

    fn text(
        folder: &Path,
        master_key: &str,
        test_root: bool,
        registry: &str,
        vendors: Option<&Vendors>,
        database: Option<&Postgres>,
    ) -> String {
        let path = |name: &str| folder.join(name).display().to_string();
        let root = if test_root { format!("test-root = '{}'\n", path("root.pem")) } else { String::new() };
        let database = database.map(|database| format!("database = '{}'\n", database.url("strongroom")));
        let root = database.unwrap_or_default() + &root;
        let endorsements = vendors.map(Vendors::url);
        let endorsements =
            endorsements.map(|url| format!("[endorsements]\nkds = '{url}'\npcs = '{url}'\nplain-http = true\n"));
        format!(
            "listen = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\nstate = '{}'\nmaster-key = '{}'\nadmin-token = '{}'\n\
             names = ['localhost']\ngrace = 1\nsessions = 262144\n{root}[[registry]]\nhost = '{registry}'\nplain-http = true\n{}\
             [leases]\nnetworks = ['127.0.0.0/8']\n",
            path("state"),
            path(master_key),
            path("admin-token"),
            endorsements.unwrap_or_default(),
        )
    }

    /// The configuration file of this verifier, with this file of its folder as the master key.
    pub(crate) fn config_text(&self, master_key: &str) -> String {
        let registry = self.registry.addr().to_string();
        let (vendors, database) = (self.vendors.as_ref(), self.database.as_ref());
        let text = Self::text(self.folder.path(), master_key, self.root.is_some(), &registry, vendors, database);
        format!("{}{text}", self.more)
    }

    /// The same verifier, which gives identities.
    pub(crate) async fn with_identities(mut self) -> Self {
        self.more = "trust-domain = 'strongroom.test'\n".into();
        self.restart().await;
        self
    }

    /// The same, parsed.
    pub(crate) fn config_with(&self, master_key: &str) -> Config {
        Config::parse(self.config_text(master_key).as_bytes()).unwrap()
    }

    /// Another service on the state that this one runs on.
    pub(crate) async fn second(&self) -> strongroom_wire::Result<Service> {
        Service::start(&self.config_with("master-key"), Clock::system()).await
    }

    async fn run(
        config: &Config,
        clock: &Arc<AtomicU64>,
    ) -> ((PublicIdentity, String, String), oneshot::Sender<()>, JoinHandle<strongroom_wire::Result<()>>) {
        let clock = Arc::clone(clock);
        let service = Service::start(config, Clock::of(move || clock.load(Ordering::SeqCst))).await.unwrap();
        let (kbs, admin) = (service.kbs_addr().to_string(), service.admin_addr().to_string());
        let identity = service.identity().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(service.run(async move { drop(stopped.await) }));
        ((identity, kbs, admin), stop, task)
    }

    /// Stops the verifier and starts it again on what it kept.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Starts the verifier again with a witness of its log named.
    pub(crate) async fn name_witness(&mut self, key: &str) {
        self.stop().await;
        let text = format!("log-witnesses = ['{key}']\n{}", self.config_text("master-key"));
        self.start_on(&Config::parse(text.as_bytes()).unwrap()).await;
    }

    /// Starts the verifier again with more in its configuration: keys before the tables of it, and tables after them.
    pub(crate) async fn configure(&mut self, keys: &str, tables: &str) {
        self.stop().await;
        let text = format!("{keys}\n{}\n{tables}\n", self.config_text("master-key"));
        self.start_on(&Config::parse(text.as_bytes()).unwrap()).await;
    }

    pub(crate) async fn stop(&mut self) {
        drop(self.stop.take());
        self.task.take().unwrap().await.unwrap().unwrap();
    }

    /// Starts the verifier that was stopped.
    pub(crate) async fn start_again(&mut self) {
        let config = self.config_with("master-key");
        self.start_on(&config).await;
    }

    /// Starts the verifier that was stopped with this added to its configuration.
    pub(crate) async fn start_with(&mut self, more: &str) {
        let text = format!("{}{more}", self.config_text("master-key"));
        self.start_on(&Config::parse(text.as_bytes()).unwrap()).await;
    }

    pub(crate) async fn start_on(&mut self, config: &Config) {
        let (service, stop, task) = Self::run(config, &self.clock).await;
        assert_eq!(service.0, self.identity, "the identity is kept");
        (self.kbs, self.admin, self.stop, self.task) = (service.1, service.2, Some(stop), Some(task));
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn set_back(&self, seconds: u64) {
        self.clock.fetch_sub(seconds, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.load(Ordering::SeqCst)
    }

    pub(crate) fn store(&self) -> PathBuf {
        strongroom_attestation_verifier::store_path(&self.folder.path().join("state"))
    }

    /// The store, as somebody who may write the file sees it.
    pub(crate) async fn open_store(&self) -> SqlitePool {
        SqlitePool::connect_with(SqliteConnectOptions::new().filename(self.store())).await.unwrap()
    }

    /// Pushes a tiny model, sealed with [`KEY_VALUE`] under this key id, and signed.
    pub(crate) async fn push(&self, repository: &str, key: &str, signer: &SigningKey) -> String {
        let model = self.folder.path().join("model");
        std::fs::create_dir_all(&model).unwrap();
        std::fs::write(model.join("model.onnx"), b"weights").unwrap();
        std::fs::write(model.join("tokenizer.json"), b"{}").unwrap();
        let host = self.registry.addr().to_string();
        let access = Access { plain_http: true, ..Access::default() };
        let client = RegistryClient::new(&host, access).unwrap();
        let reference = Reference::parse(&format!("{host}/{repository}:latest")).unwrap();
        let data_key = DataKey::from_file_bytes(&KEY_VALUE).unwrap();
        let options = PushOptions {
            sign: SignBy::Key(signer),
            sign_simple: false,
            sign_statement: SignBy::Key(signer),
            statement_hash: HashAlgorithm::Sha256,
            seal: Some((ResourcePath::parse(key).unwrap(), data_key)),
            created: START,
            mount_from: None,
            scratch: self.folder.path().to_owned(),
            progress: None,
        };
        let pushed = push_model(&client, &model, &reference, options).await.unwrap();
        format!("{host}/{repository}@{}", pushed.manifest.oci())
    }

    pub(crate) fn trust(&self) -> TrustFile {
        let signer = Signer::with_key("release", self.signer.public().pem());
        TrustFile::new(vec![Rule::new(format!("{}/models/*", self.registry.addr()), vec![signer])])
    }

    pub(crate) fn root(&self) -> Root {
        self.root.unwrap_or(Root::Amd)
    }

    /// A deployment document that names these models.
    pub(crate) fn document(&self, references: &[String]) -> Vec<u8> {
        Deployment::render(&self.settings(references)).unwrap()
    }

    pub(crate) fn settings(&self, references: &[String]) -> Settings {
        let model = |(n, reference): (usize, &String)| Model {
            name: format!("m{n}"),
            reference: reference.clone(),
            replaceable: false,
        };
        let mut trust = self.trust();
        let own = trust.rules[0].clone();
        for reference in references {
            let repository = reference.split('@').next().unwrap().to_owned();
            if trust.rule_for(&repository).is_err() {
                trust.rules.push(Rule { repository, ..own.clone() });
            }
        }
        Settings {
            version: 1,
            root: self.root(),
            attester: Attester::Socket,
            max_unleased: None,
            verifier: deployment::Verifier {
                url: self.kbs_url(),
                pin: self.identity.pin,
                token_key: self.identity.token_key.clone(),
                log_key: Some(self.identity.log_key.clone()),
            },
            runtime: deployment::Runtime { onnxruntime: Sha256([0; 32]) },
            registries: vec![],
            models: references.iter().enumerate().map(model).collect(),
            trust,
            principals: vec![],
            access: Default::default(),
        }
    }

    /// A release policy for the default measurement of [`strongroom_devkit::report::ReportSpec`] and this document.
    pub(crate) fn policy(&self, document: &[u8]) -> String {
        let rule = self.release_rules();
        format!(
            "version = 1\n[snp]\nmeasurement = {{ one-of = [\"{}\"] }}\ndeployment = {{ exactly = \"{}\" }}\n\
             tcb = {{ at-least = {{ bootloader = 3, tee = 0, snp = 8, microcode = 115 }} }}\nproduct = {{ exactly = \"Milan\" }}\n\
             chip = {{ any = {{ because = \"any test chip\" }} }}\n{rule}",
            "4d".repeat(48),
            Sha256::of(document),
        )
    }

    /// Whose signatures a release policy demands.
    pub(crate) fn release_rules(&self) -> String {
        toml::to_string(&self.trust()).unwrap().replace("[[rule", "[[release.trust.rule")
    }

    pub(crate) async fn put_key(&self, id: &str, value: &[u8]) {
        let answer = self.admin(Method::PUT, &format!("keys/{id}"), value.to_vec()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", String::from_utf8_lossy(&answer.body));
    }

    pub(crate) async fn put_policy(&self, id: &str, toml: &str) {
        let answer = self.admin(Method::PUT, &format!("policies/{id}"), toml.as_bytes().to_vec()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", String::from_utf8_lossy(&answer.body));
    }

    /// Puts Cedar policies into force.
    pub(crate) async fn authorize(&self, cedar: &str) {
        let body = serde_json::json!({ "cedar": cedar }).to_string();
        let answer = self.admin(Method::PUT, "authorization", body.into_bytes()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", String::from_utf8_lossy(&answer.body));
    }

    /// All rows of the audit log.
    pub(crate) async fn audit(&self) -> Vec<Value> {
        let answer = self.admin(Method::GET, "audit", vec![]).await;
        answer.json().as_array().unwrap().clone()
    }

    /// The codes of the rows of one kind.
    pub(crate) async fn decisions(&self, kind: &str) -> Vec<String> {
        let rows = self.audit().await;
        let rows = rows.iter().filter(|row| row["kind"] == kind);
        rows.map(|row| row["code"].as_str().unwrap().to_owned()).collect()
    }

    /// A call of the administrator.
    pub(crate) async fn admin(&self, method: Method, path: &str, body: Vec<u8>) -> Answer {
        let token = std::fs::read_to_string(self.folder.path().join("admin-token")).unwrap();
        self.admin_with(method, path, body, Some(&format!("Bearer {token}"))).await
    }

    /// The metrics beside the admin API, with or without the administrator's token.
    pub(crate) async fn metrics(&self, with_token: bool) -> Answer {
        let token = std::fs::read_to_string(self.folder.path().join("admin-token")).unwrap();
        let mut request = Request::get(format!("https://{}/metrics", self.admin));
        if with_token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.send(request.body(full(vec![])).unwrap()).await
    }

    /// The same of somebody else, over a connection of their own.
    pub(crate) async fn admin_as(&self, who: &Person, method: Method, path: &str, body: Vec<u8>) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("https://{}/admin/v1/{path}", self.admin));
        if let Some(token) = &who.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        Self::send_by(&who.http, request.body(full(body)).unwrap()).await
    }

    pub(crate) async fn admin_with(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        authorization: Option<&str>,
    ) -> Answer {
        let mut request =
            Request::builder().method(method).uri(format!("https://{}/admin/v1/{path}", self.addresses().1));
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        self.send(request.body(full(body)).unwrap()).await
    }

    /// Where the KBS protocol is spoken.
    pub(crate) fn kbs_url(&self) -> String {
        format!("https://{}", self.kbs)
    }

    /// A request to the KBS protocol's socket.
    pub(crate) async fn kbs(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("https://{}{path}", self.addresses().0));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(full(body)).unwrap()).await
    }

    async fn send(&self, request: Request<strongroom_transport::Body>) -> Answer {
        Self::send_by(&self.http, request).await
    }

    async fn send_by(http: &HttpClient, request: Request<strongroom_transport::Body>) -> Answer {
        let response = http.send(request, Duration::from_secs(60)).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = read_body(body, 8 << 20, "answer").await.unwrap().to_vec();
        Answer { status: parts.status, headers: parts.headers, body }
    }
}
