//! What this program does as a child of itself: a registry, or one pull out of it.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use strongroom_artifact::DataKey;
use strongroom_devkit::registry::{Config, RunningRegistry};
use strongroom_enclave::memory::{MemoryFile, ModelFiles, OpeningFiles};
use strongroom_registry_client::{
    Access, FileSink, Filled, ModelSink, Reference, RegistryClient, open_model, verify_model,
};
use strongroom_transport::ServerIdentity;
use strongroom_wire::Result;
use strongroom_wire::trust::TrustFile;

/// A child's part.
pub(crate) enum Role {
    /// Serves `folder` until its standard input ends, over TLS where `folder/tls` says so; says where.
    Registry { folder: PathBuf, tls: bool },
    /// Pulls the reference, with what it needs in `folder`, into sealed memory or into nothing; says how long that took and its
    /// peak memory.
    Pull { folder: PathBuf, reference: String, keep: bool },
    /// Writes so many MiB into memory as an opened model is, or only has that memory found and cleared, and nothing else; says how long
    /// that took.
    Memory { mib: usize, write: bool },
}

/// The data key of the model that is pulled.
pub(crate) const KEY: [u8; 32] = [7; 32];

impl Role {
    pub(crate) fn of_this_process() -> Option<Self> {
        let mut arguments = std::env::args().skip(1);
        let (role, first, second) = (arguments.next()?, arguments.next(), arguments.next());
        let folder = || first.as_ref().map(PathBuf::from);
        match role.as_str() {
            "role-registry" => Some(Self::Registry { folder: folder()?, tls: false }),
            "role-registry-tls" => Some(Self::Registry { folder: folder()?, tls: true }),
            "role-pull" => Some(Self::Pull { folder: folder()?, reference: second?, keep: true }),
            "role-pull-away" => Some(Self::Pull { folder: folder()?, reference: second?, keep: false }),
            "role-write" => Some(Self::Memory { mib: first?.parse().ok()?, write: true }),
            "role-touch" => Some(Self::Memory { mib: first?.parse().ok()?, write: false }),
            _ => None,
        }
    }

    /// Starts a child in that role.
    pub(crate) fn start(arguments: &[&str]) -> (Child, ChildStdout) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = child.stdout.take().unwrap();
        (child, out)
    }

    pub(crate) fn play(self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            match self {
                Self::Registry { folder, tls } => serve(&folder, tls).await,
                Self::Pull { folder, reference, keep } => pull(&folder, &reference, keep).await,
                Self::Memory { mib, write } => fill(mib, write),
            }
        });
    }
}

async fn serve(folder: &Path, tls: bool) {
    let mut config = Config::new(folder.join("registry"));
    if tls {
        let identity = ServerIdentity::generate(&["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(folder.join("ca.pem"), identity.certificate_pem()).unwrap();
        config.tls = Some(Arc::new(identity));
    }
    let registry = RunningRegistry::start(config).await.unwrap();
    println!("{}", registry.addr());
    std::io::stdout().flush().unwrap();
    let waiting = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
    let _ended = waiting.await.unwrap();
}

async fn pull(folder: &Path, reference: &str, keep: bool) {
    let ca = std::fs::read_to_string(folder.join("ca.pem")).ok().filter(|_| reference.contains("tls."));
    let reference = Reference::parse(reference.trim_start_matches("tls.")).unwrap();
    let access = Access { plain_http: ca.is_none(), ca, ..Access::default() };
    let client = RegistryClient::new(reference.host(), access).unwrap();
    let trust = std::fs::read(folder.join("trust.toml")).unwrap();
    let trusted = verify_model(&client, &reference, &TrustFile::parse(&trust).unwrap(), 0).await.unwrap();
    let model = trusted.with_key(Some(DataKey::from_file_bytes(&KEY).unwrap())).unwrap();
    let began = Instant::now();
    let held = match keep {
        true => shared_kib(&open_model(&client, model, OpeningFiles::default()).await.unwrap().1),
        false => open_model(&client, model, Away).await.map(|_| 0).unwrap(),
    };
    let seconds = began.elapsed().as_secs_f64();
    let peak = peak_kib();
    assert!(peak > held, "files are mapped until all of them are opened, so that the peak has them in it");
    println!("{seconds} {peak}");
}

/// Keeps nothing.
struct Away;

impl ModelSink for Away {
    type File = Self;
    type Kept = ();

    fn create(&mut self, _: &str, _: u64) -> Result<Self> {
        Ok(Self)
    }

    fn keep(self, _: Filled<'_>) -> Result<()> {
        Ok(())
    }
}

impl FileSink for Away {
    fn write_at(&self, _: u64, bytes: &[u8]) -> Result<()> {
        std::hint::black_box(bytes);
        Ok(())
    }
}

/// By pieces and from all cores, as a model is opened.
fn fill(mib: usize, write: bool) {
    const PIECE: usize = 1 << 20;
    let file = MemoryFile::create((mib * PIECE) as u64).unwrap();
    let (next, piece) = (AtomicUsize::new(0), vec![0x5a; PIECE]);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..crate::cores() {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= mib {
                        break;
                    }
                    match ((at * PIECE) as u64, write) {
                        (at, true) => file.write_at(at, &piece).unwrap(),
                        (at, false) => drop(file.place_at(at, PIECE).unwrap()),
                    }
                }
            });
        }
    });
    file.seal().unwrap();
    println!("{} 0", began.elapsed().as_secs_f64());
}

/// The most memory that this process had mapped at a time.
fn peak_kib() -> u64 {
    status("VmHWM:")
}

fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What the opened files take.
fn shared_kib(files: &ModelFiles) -> u64 {
    let blocks = files.get("model.bin").map(|file| std::fs::metadata(file.path()).unwrap());
    blocks.map_or(0, |metadata| std::os::unix::fs::MetadataExt::blocks(&metadata) / 2)
}
