//! One connection, from its first bytes to its end.

use crate::hello::{self, Hello};
use crate::pick::{is_live, pick};
use crate::service::Shared;
use core::sync::atomic::Ordering;
use std::time::Instant;
use strongroom_wire::{Code, Refusal, Result};
use tokio::io::{AsyncWriteExt as _, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Guests that are tried for one connection.
const TRIES: usize = 3;
/// Bytes on their way in each direction: a TLS record and more.
const BUFFER: usize = 64 * 1024;

/// Alerts of RFC 8446 §6.
const INTERNAL_ERROR: u8 = 80;
const UNRECOGNIZED_NAME: u8 = 112;

/// Brings a connection to a guest; it ends with either side, when the guest is revoked, or when `stop` says so.
///
/// # Errors
/// Why it was refused, or cut off; the client was told by an alert where it could be.
pub(crate) async fn serve(shared: &Shared, mut client: TcpStream, mut stop: watch::Receiver<bool>) -> Result<()> {
    let found = tokio::select! {
        found = find(shared, &mut client) => found,
        _ = stop.wait_for(|stop| *stop) => Err(Refusal::new(Code::NotReady, "router").got("stopping")),
    };
    let (hello, guest) = match found {
        Ok(found) => found,
        Err(refusal) => {
            tell(&mut client, refusal.code).await;
            return Err(refusal);
        }
    };
    let Found { mut stream, mut revoked, _slot, _held } = guest;
    let broken = |e: std::io::Error| Refusal::new(Code::Network, "connection").because(e);
    stream.write_all(&hello.bytes).await.map_err(broken)?;
    tokio::select! {
        ended = copy_bidirectional_with_sizes(&mut client, &mut stream, BUFFER, BUFFER) => ended.map(drop).map_err(broken),
        // Its sender is as long there as the guest is held.
        _ = revoked.wait_for(|revoked| *revoked) => Err(Refusal::new(Code::NoBackend, "guest").got("revoked")),
        _ = stop.wait_for(|stop| *stop) => Err(Refusal::new(Code::NotReady, "router").got("stopping")),
    }
}

/// A guest that took the connection.
struct Found {
    stream: TcpStream,
    revoked: watch::Receiver<bool>,
    _slot: crate::tenants::Slot,
    _held: crate::backends::Held,
}

async fn find(shared: &Shared, client: &mut TcpStream) -> Result<(Hello, Found)> {
    let hello = hello::read(client).await?;
    let turn = shared.turn.fetch_add(1, Ordering::Relaxed);
    let picked = shared.feeds.read(|feed, now| pick(feed, now, &hello.name, &shared.backends, turn))??;
    let slot = shared.tenants.enter(&picked.tenant, picked.share, Instant::now())?;
    let mut last = Refusal::new(Code::NoBackend, format!("route `{}`", hello.name)).want("a guest that can be reached");
    for (lease, guest) in picked.guests.into_iter().take(TRIES) {
        // Before the connection, so that those who choose meanwhile see it, and no revocation is missed.
        let (held, revoked) = (guest.hold(), guest.watch());
        match guest.connect().await {
            Ok(stream) => {
                // It may have lost its lease meanwhile.
                if shared.feeds.read(|feed, now| is_live(feed, now, &hello.name, &lease))? {
                    // Small records are requests and tokens that somebody waits for.
                    let _ = (client.set_nodelay(true), stream.set_nodelay(true));
                    return Ok((hello, Found { stream, revoked, _slot: slot, _held: held }));
                }
                last = last.got("lost its lease meanwhile");
            }
            Err(refusal) => last = last.got(refusal),
        }
    }
    Err(last)
}

/// A fatal alert in a record of its own (RFC 8446 §5.1, §6).
async fn tell(client: &mut TcpStream, code: Code) {
    let alert = if code == Code::RouteUnknown { UNRECOGNIZED_NAME } else { INTERNAL_ERROR };
    // Whoever is gone needs no alert.
    drop(client.write_all(&[21, 3, 3, 0, 2, 2, alert]).await);
    drop(client.shutdown().await);
}
