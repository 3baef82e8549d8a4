//! That this process still gets to do something, said again and again to whoever watches it: systemd's `WATCHDOG=1` (sd_notify(3)).

use std::path::PathBuf;
use std::time::Duration;
use tokio::net::UnixDatagram;

/// Between two of them.
pub const INTERVAL: Duration = Duration::from_secs(5);

/// Sends one at once and then every [`INTERVAL`] to the Unix datagram socket at `watcher`, from the runtime that serves, for as long as it
/// runs. Whether somebody listens changes nothing here.
pub fn start(watcher: PathBuf) {
    tokio::spawn(async move {
        let mut turn = tokio::time::interval(INTERVAL);
        loop {
            turn.tick().await;
            if let Err(error) = beat(&watcher).await {
                tracing::debug!(%error, "no heartbeat");
            }
        }
    });
}

async fn beat(watcher: &PathBuf) -> std::io::Result<()> {
    UnixDatagram::unbound()?.send_to(b"WATCHDOG=1", watcher).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn heartbeats_come_as_long_as_the_runtime_runs_also_where_nobody_listened_at_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watcher");
        start(path.clone());
        tokio::time::sleep(INTERVAL).await;
        let watcher = UnixDatagram::bind(&path).unwrap();
        for _ in 0..3 {
            let mut beat = [0; 32];
            let length = watcher.recv(&mut beat).await.unwrap();
            assert_eq!(&beat[..length], b"WATCHDOG=1");
        }
    }
}
