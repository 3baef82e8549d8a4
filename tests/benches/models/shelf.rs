//! A sealed model in a registry of its own process.

use crate::role::{KEY, Role};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Child;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;
use strongroom_artifact::{DataKey, HashAlgorithm, SigningKey};
use strongroom_registry_client::{Access, PushOptions, Reference, RegistryClient, SignBy, push_model, verify_model};
use strongroom_wire::kbs::ResourcePath;
use strongroom_wire::trust::{Rule, Signer, TrustFile};
use tempfile::TempDir;

/// Memory that has to be left for the model, the registry's page cache and the rest, for each byte of the model.
const ROOM: u64 = 3;

/// The model, and who serves it.
pub(crate) struct Shelf {
    folder: TempDir,
    registries: [Registry; 2],
    reference: String,
    /// Path and length of each blob.
    blobs: Vec<(String, u64)>,
    mib: usize,
}

struct Registry {
    child: Child,
    addr: String,
}

/// How a model is pulled.
#[derive(Clone, Copy)]
pub(crate) enum How {
    /// Over plain HTTP, into memory.
    Plain,
    /// Over TLS, into memory.
    Tls,
    /// Over plain HTTP, into nothing.
    Away,
}

/// What one pull took.
pub(crate) struct Pulled {
    /// MiB a second.
    pub(crate) rate: f64,
    /// MiB.
    pub(crate) peak: f64,
}

impl Shelf {
    /// Makes a model of one file of so many MiB and pushes it, sealed, under BLAKE3.
    pub(crate) fn fill(mib: usize) -> Result<Self, String> {
        let available = available_mib();
        if available < ROOM * mib as u64 {
            return Err(format!("{available} MiB of memory available, {} wanted", ROOM * mib as u64));
        }
        // On a disk: a temporary folder may be memory, of which the model needs enough.
        let target = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let folder = TempDir::new_in(target).unwrap();
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        write_random(&source.join("model.bin"), mib);
        let registries = ["role-registry", "role-registry-tls"].map(|role| Registry::start(role, &folder));
        let name = format!("{}/m", registries[0].addr);
        let signer = SigningKey::generate().unwrap();
        let signers = || vec![Signer::with_key("a", signer.public().pem())];
        let rules = registries.iter().map(|registry| Rule::new(format!("{}/m", registry.addr), signers()));
        let trust = toml::to_string(&TrustFile::new(rules.collect())).unwrap();
        fs::write(folder.path().join("trust.toml"), &trust).unwrap();
        let options = PushOptions {
            sign: SignBy::Key(&signer),
            sign_simple: false,
            sign_statement: SignBy::Key(&signer),
            statement_hash: HashAlgorithm::Blake3,
            seal: Some((ResourcePath::parse("a/b/c").unwrap(), DataKey::from_file_bytes(&KEY).unwrap())),
            created: 0,
            mount_from: None,
            scratch: folder.path().to_owned(),
            progress: None,
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let access = Access { plain_http: true, ..Access::default() };
        let client = RegistryClient::new(&registries[0].addr, access).unwrap();
        let reference = Reference::parse(&name).unwrap();
        let trust = TrustFile::parse(trust.as_bytes()).unwrap();
        let (pushed, trusted) = runtime.block_on(async {
            let pushed = push_model(&client, &source, &reference, options).await.unwrap();
            let trusted = verify_model(&client, &pushed.reference, &trust, 0).await.unwrap();
            (pushed, trusted)
        });
        fs::remove_dir_all(&source).unwrap();
        let layers = trusted.manifest().layers().iter();
        let blobs = layers.map(|layer| (format!("/v2/m/blobs/{}", layer.digest.oci()), layer.size)).collect();
        let reference = pushed.reference.to_string();
        Ok(Self { folder, registries, reference, blobs, mib })
    }

    /// One pull, by a process of its own.
    pub(crate) fn pull(&self, how: How) -> Pulled {
        let [plain, over_tls] = &self.registries;
        let folder = self.folder.path().to_str().unwrap();
        let tls = format!("tls.{}", self.reference.replace(&plain.addr, &over_tls.addr));
        self.timed(&match how {
            How::Plain => ["role-pull", folder, &self.reference],
            How::Tls => ["role-pull", folder, &tls],
            How::Away => ["role-pull-away", folder, &self.reference],
        })
    }

    /// As much written into fresh memory as the model is long, and nothing else: MiB a second.
    pub(crate) fn write(&self) -> f64 {
        self.timed(&["role-write", &self.mib.to_string()]).rate
    }

    /// As much fresh memory found and cleared, and nothing else: MiB a second.
    pub(crate) fn touch(&self) -> f64 {
        self.timed(&["role-touch", &self.mib.to_string()]).rate
    }

    /// What a child in that role says, with as much memory as it needs in the guest already.
    fn timed(&self, arguments: &[&str]) -> Pulled {
        self.run(&["role-write", &self.mib.to_string()]);
        self.run(arguments)
    }

    fn run(&self, arguments: &[&str]) -> Pulled {
        let (mut child, mut out) = Role::start(arguments);
        let mut said = String::new();
        out.read_to_string(&mut said).unwrap();
        assert!(child.wait().unwrap().success());
        let (seconds, kib) = said.trim().split_once(' ').unwrap();
        Pulled { rate: self.mib as f64 / seconds.parse::<f64>().unwrap(), peak: kib.parse::<f64>().unwrap() / 1024.0 }
    }

    /// All blobs read over so many plain connections, and dropped: MiB a second.
    pub(crate) fn read(&self, connections: usize) -> f64 {
        let left = Mutex::new(self.blobs.iter());
        let began = Instant::now();
        thread::scope(|scope| {
            for _ in 0..connections {
                scope.spawn(|| {
                    let mut buffer = vec![0; 1 << 20];
                    loop {
                        let next = left.lock().unwrap().next();
                        let Some((path, size)) = next else { break };
                        read_blob(&self.registries[0].addr, path, *size, &mut buffer);
                    }
                });
            }
        });
        self.mib as f64 / began.elapsed().as_secs_f64()
    }
}

fn read_blob(addr: &str, path: &str, size: u64, buffer: &mut [u8]) {
    let mut stream = TcpStream::connect(addr).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n").unwrap();
    let mut read = 0;
    loop {
        match stream.read(buffer).unwrap() {
            0 => break,
            length => read += length as u64,
        }
    }
    assert!(read > size, "an answer is longer than its blob");
}

impl Registry {
    fn start(role: &str, folder: &TempDir) -> Self {
        let (child, out) = Role::start(&[role, folder.path().to_str().unwrap()]);
        let mut addr = String::new();
        BufReader::new(out).read_line(&mut addr).unwrap();
        Self { child, addr: addr.trim().to_owned() }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// Bytes that no file system stores shorter.
fn write_random(path: &std::path::Path, mib: usize) {
    let mut file = File::create(path).unwrap();
    let mut block = vec![0; 1 << 20];
    for _ in 0..mib {
        aws_lc_rs::rand::fill(&mut block).unwrap();
        file.write_all(&block).unwrap();
    }
}

fn available_mib() -> u64 {
    let memory = fs::read_to_string("/proc/meminfo").unwrap();
    let line = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}
