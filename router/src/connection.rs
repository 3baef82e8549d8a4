//! One connection, from its first bytes to its end.

use crate::hello::{self, Hello};
use crate::pick::{is_live, pick};
use crate::service::Shared;
use core::net::IpAddr;
use core::pin::pin;
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;
use strongroom_wire::{Code, Refusal, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

/// Guests that are tried for one connection.
const TRIES: usize = 3;
/// How long a client may take to end once its guest has.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long a side may leave unread what came for it.
const UNREAD: Duration = Duration::from_secs(60);
/// Bytes on their way in each direction: a TLS record and more.
const BUFFER: usize = 64 * 1024;

/// Alerts of RFC 8446 §6.
const INTERNAL_ERROR: u8 = 80;
const UNRECOGNIZED_NAME: u8 = 112;

/// Brings a connection to a guest; it ends as [`pass`] says, when the guest is revoked, or when `stop` says so.
///
/// # Errors
/// Why it was refused, or cut off; the client was told by an alert where it could be.
pub(crate) async fn serve(
    shared: &Shared,
    mut client: TcpStream,
    peer: IpAddr,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let found = tokio::select! {
        found = find(shared, &mut client, peer) => found,
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
        ended = pass(&mut client, &mut stream) => ended.map_err(broken),
        // Its sender is as long there as the guest is held.
        _ = revoked.wait_for(|revoked| *revoked) => Err(Refusal::new(Code::NoBackend, "guest").got("revoked")),
        _ = stop.wait_for(|stop| *stop) => Err(Refusal::new(Code::NotReady, "router").got("stopping")),
    }
}

/// Every byte, both ways, until both sides have ended, or the guest has: whoever says nothing more holds no place for ever, and a
/// guest ends connections that nobody uses. A client that has ended may still be answered.
async fn pass(client: &mut TcpStream, guest: &mut TcpStream) -> std::io::Result<()> {
    let ((mut from_client, mut to_client), (mut from_guest, mut to_guest)) = (client.split(), guest.split());
    let mut there = pin!(copy(&mut from_client, &mut to_guest));
    let mut back = pin!(copy(&mut from_guest, &mut to_client));
    tokio::select! {
        ended = &mut there => {
            ended?;
            back.await
        }
        ended = &mut back => {
            ended?;
            timeout(LAST_WORDS, there).await.unwrap_or(Ok(()))
        }
    }
}

/// All of `from`, and its end. Whoever takes nothing of what is written for [`UNREAD`] holds no place any longer.
async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    let mut from = BufReader::with_capacity(BUFFER, from);
    loop {
        let bytes = from.fill_buf().await?;
        if bytes.is_empty() {
            return to.shutdown().await;
        }
        let written = timeout(UNREAD, to.write(bytes)).await.map_err(|_| std::io::ErrorKind::TimedOut)??;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        from.consume(written);
    }
}

/// A guest that took the connection.
struct Found {
    stream: TcpStream,
    revoked: watch::Receiver<bool>,
    _slot: crate::tenants::Slot,
    _held: crate::backends::Held,
}

async fn find(shared: &Shared, client: &mut TcpStream, peer: IpAddr) -> Result<(Hello, Found)> {
    let greeting = shared.greetings.enter(peer)?;
    let hello = hello::read(client).await?;
    drop(greeting);
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
                let live = shared.feeds.read(|feed, now| is_live(feed, now, &hello.name, &lease))?;
                // And be known again by another lease of that name, of whose revocation this one hears nothing.
                let same = shared.backends.get(&lease).is_some_and(|known| Arc::ptr_eq(&known, &guest));
                if live && same {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use tokio::io::{AsyncReadExt as _, duplex};

    #[tokio::test(start_paused = true)]
    async fn side_that_reads_gets_all_and_one_that_leaves_it_unread_ends_the_connection() {
        let bytes = vec![7; 1000];
        let (mut to, mut reader) = duplex(16);
        let mut read = Vec::new();
        let mut from = bytes.as_slice();
        let (copied, taken) = tokio::join!(copy(&mut from, &mut to), reader.read_to_end(&mut read));
        assert_eq!((copied.is_ok(), taken.unwrap()), (true, 1000));
        assert_eq!(read, bytes);
        let (mut to, _unread) = duplex(16);
        assert_eq!(copy(&mut bytes.as_slice(), &mut to).await.unwrap_err().kind(), ErrorKind::TimedOut);
    }
}
