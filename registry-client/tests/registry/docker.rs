//! Debian's docker-registry 2.8 as the peer: chunks, ranges and mounts as it has them.

use crate::common::{client_at, pattern};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use strongroom_registry_client::{Access, Blob};
use strongroom_wire::digest::Sha256;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};

struct Docker {
    process: Child,
    addr: SocketAddr,
    folder: TempDir,
}

impl Docker {
    /// `None`, with a word, where `DOCKER_REGISTRY` does not name the program.
    fn start() -> Option<Self> {
        let Some(program) = std::env::var_os("DOCKER_REGISTRY") else {
            eprintln!("skipped: DOCKER_REGISTRY names no docker-registry");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: '{}'}}}}\n\
             http: {{addr: '127.0.0.1:0'}}\n",
            folder.path().join("storage").display()
        );
        let path = folder.path().join("registry.yml");
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new(program);
        let mut process = command.arg("serve").arg(path).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let addr = lines.find_map(|line| {
            let line = line.unwrap();
            line.split_once("listening on ")?.1.split(['"', ' ']).next()?.parse().ok()
        });
        // It would stop at a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { process, addr: addr.unwrap(), folder })
    }

    fn blob(&self, bytes: &[u8]) -> Blob {
        let path = self.folder.path().join("blob");
        std::fs::write(&path, bytes).unwrap();
        Blob::file(path, 0, bytes.len() as u64, Sha256::of(bytes))
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Passes connections on to `server`, and breaks the next ones after as many bytes of the client as `cuts` says.
async fn relay(server: SocketAddr, cuts: Vec<u64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let cuts = Arc::new(Mutex::new(cuts));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let cut = cuts.lock().unwrap().pop().unwrap_or(u64::MAX);
            tokio::spawn(async move {
                let (server, (from_client, mut to_client)) =
                    (TcpStream::connect(server).await.unwrap(), client.into_split());
                let (mut from_server, mut to_server) = server.into_split();
                tokio::select! {
                    _ = async { copy(&mut from_client.take(cut), &mut to_server).await?; to_server.flush().await } => {}
                    _ = copy(&mut from_server, &mut to_client) => {}
                }
            });
        }
    });
    addr
}

#[tokio::test]
async fn long_blob_pushed_in_chunks_pulled_in_ranges_and_mounted() {
    let Some(docker) = Docker::start() else { return };
    let bytes = pattern(70 << 20);
    let blob = docker.blob(&bytes);
    let client = client_at(docker.addr, Access::default());
    assert!(client.push_blob("a/b", &blob).await.unwrap());
    assert!(!client.push_blob("a/b", &blob).await.unwrap());
    let pulled = client.blob("a/b", blob.digest(), blob.size(), 70 << 20).await.unwrap();
    assert_eq!(Sha256::of(&pulled), blob.digest());
    assert!(!client.push_blob("c/d", &blob.clone().mountable_from("a/b")).await.unwrap(), "mounted");
    assert_eq!(client.blob("c/d", blob.digest(), blob.size(), 70 << 20).await.unwrap().len(), bytes.len());
}

#[tokio::test]
async fn upload_whose_connection_breaks_ends_well() {
    let Some(docker) = Docker::start() else { return };
    let bytes = pattern(70 << 20);
    let blob = docker.blob(&bytes);
    // In the second chunk, and in the first one of what follows.
    let relay = relay(docker.addr, vec![10 << 20, 40 << 20]).await;
    assert!(client_at(relay, Access::default()).push_blob("a/b", &blob).await.unwrap());
    let client = client_at(docker.addr, Access::default());
    let pulled = client.blob("a/b", blob.digest(), blob.size(), 70 << 20).await.unwrap();
    assert_eq!(Sha256::of(&pulled), blob.digest());
}
