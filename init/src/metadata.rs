//! The process that asks a cloud's metadata service for the deployment document: it parses what the host answers, and so it has no rights,
//! no files and few system calls. What it is given goes to standard output as it is; the enclave compares it with the hardware's field.

mod http;

use crate::cloud::Cloud;
use crate::{confine, console};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use http::Connection;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use strongroom_wire::{Code, Refusal, Result, limits};

/// The argument by which process 1 starts itself anew for this; the cloud's name follows.
pub const ARGUMENT: &str = "metadata";
/// Where each cloud has it, over the guest's own link (AWS, "Instance metadata"; Google Cloud, "About VM metadata"; Azure, "Instance
/// Metadata Service").
const SERVICE: (Ipv4Addr, u16) = (Ipv4Addr::new(169, 254, 169, 254), 80);
/// How long is waited for each connection and what comes over it.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest token of Amazon's that is taken; they have 56 characters.
const TOKEN: usize = 256;

/// What the cloud has for this guest.
pub(crate) fn document(cloud: Cloud) -> Result<Vec<u8>> {
    let io = |e: std::io::Error| Refusal::io("metadata service", &e);
    let mut command = Command::new("/proc/self/exe");
    command.arg0("strongroom-init").args([ARGUMENT, cloud.name()]).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(console::writer()?);
    let mut child = command.spawn().map_err(io)?;
    let mut document = Vec::new();
    if let Some(said) = child.stdout.take() {
        // One byte more tells a document that is too long.
        let most = u64::try_from(limits::DEPLOYMENT).unwrap_or(u64::MAX).saturating_add(1);
        said.take(most).read_to_end(&mut document).map_err(io)?;
    }
    // It said why not.
    match child.wait().map_err(io)?.success() {
        true => Ok(document),
        false => {
            Err(Refusal::new(Code::DeploymentMissing, "metadata service").got("no document, for the reason above"))
        }
    }
}

/// Is it: connects, gives up its rights, and asks; the document goes to standard output. Nothing where that was done, else why not.
pub fn become_the_asker(cloud: Option<&str>) -> Option<Refusal> {
    answer(cloud.unwrap_or_default()).err()
}

fn answer(cloud: &str) -> Result<()> {
    let io = |e: std::io::Error| Refusal::io("metadata service", &e);
    let cloud = Cloud::parse(cloud).ok_or_else(|| Refusal::new(Code::Usage, "cloud").got(cloud))?;
    let connections = connections(cloud, SocketAddr::from(SERVICE), PATIENCE)?;
    confine::become_an_outsider()?;
    let document = ask(cloud, connections)?;
    let mut out = std::io::stdout();
    out.write_all(&document).and_then(|()| out.flush()).map_err(io)
}

/// As many connections as the cloud is asked questions.
fn connections(cloud: Cloud, address: SocketAddr, patience: Duration) -> Result<Vec<Connection>> {
    let count = if cloud == Cloud::Aws { 2 } else { 1 };
    (0..count).map(|_| Connection::open(address, patience)).collect()
}

/// The document, as the cloud's service has it.
fn ask(cloud: Cloud, connections: Vec<Connection>) -> Result<Vec<u8>> {
    let mut connections = connections.into_iter();
    let mut exchange = |request: &str, header: &str, longest| {
        let next =
            connections.next().ok_or_else(|| Refusal::new(Code::Internal, "connections to a metadata service"))?;
        next.exchange(request, header, longest)
    };
    let document = match cloud {
        Cloud::Aws => {
            let path = "PUT /latest/api/token";
            let token = exchange(path, "X-aws-ec2-metadata-token-ttl-seconds: 60", TOKEN)?;
            let token = String::from_utf8(token).ok().filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
            let token = token.filter(|token| !token.is_empty());
            let token = token.ok_or_else(|| Refusal::malformed("metadata service", "a token that is none"))?;
            let header = format!("X-aws-ec2-metadata-token: {token}");
            exchange("GET /latest/user-data", &header, limits::DEPLOYMENT)?
        }
        Cloud::Google => {
            let path = "GET /computeMetadata/v1/instance/attributes/strongroom-deployment";
            exchange(path, "Metadata-Flavor: Google", limits::DEPLOYMENT)?
        }
        Cloud::Azure => {
            let path = "GET /metadata/instance/compute/userData?api-version=2021-01-01&format=text";
            let longest = limits::DEPLOYMENT.div_ceil(3).saturating_mul(4);
            let encoded = exchange(path, "Metadata: true", longest)?;
            let malformed = |_| Refusal::malformed("metadata service", "user data that is no base64");
            STANDARD.decode(encoded).map_err(malformed)?
        }
    };
    if document.is_empty() {
        return Err(Refusal::new(Code::DeploymentMissing, "metadata service").got("an empty document"));
    }
    Ok(document)
}

#[cfg(test)]
mod tests;
