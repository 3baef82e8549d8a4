//! The service around the boot: listens from the first moment, boots, serves, and stops when told to.

use crate::api::App;
use crate::boot::boot;
use crate::config::Config;
use crate::heartbeat;
use crate::stage::{Progress, Stage};
use core::time::Duration;
use std::io::Write as _;
use strongroom_transport::{ServeLimits, ServerIdentity, bind, serve, server_config_asking, shutdown_signal};
use strongroom_wire::{Code, Refusal, Result};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};

/// Runs an enclave until it is told to stop (SIGTERM or SIGINT), then drains and returns.
///
/// Its TLS key is born here and ends here. The line `listening on ADDR` on standard error says that requests are answered;
/// probes are answered before.
///
/// # Errors
/// As [`boot`]; `network` the address cannot be listened on; `runtime-failed` the thread of a model has ended, and `internal`
/// that of evidence: what cannot serve any more drains and stops, so that whoever supervises it starts it anew. `unleased`, and what
/// the verifier refuses a lease with ([`crate::lease`]): so does what may not.
pub async fn run(config: &Config) -> Result<()> {
    if let Some(watcher) = &config.heartbeat {
        heartbeat::start(watcher.clone());
    }
    let signal = shutdown_signal();
    let (fail, failed) = oneshot::channel();
    let stop = async {
        tokio::select! {
            () = signal => {}
            Ok(()) = failed => {}
        }
    };
    let channel = ServerIdentity::generate(&config.names)?;
    // Who shows no certificate is asked for a key or a token.
    let tls = server_config_asking(&channel)?;
    let bound = bind(&config.listen).await?;
    let address = bound.local_addr();
    let (mut progress, stage) = Progress::start();
    let app = App::new(stage);
    let limits = ServeLimits { grace: Duration::from_secs(config.grace), ..ServeLimits::default() };
    tracing::info!(%address, "answering probes");
    if let Some(address) = config.metrics_listen {
        let bound = bind(&address.to_string()).await?;
        tracing::info!(address = %bound.local_addr(), "metrics");
        // A few, so that the file descriptors are those of callers. It ends with the process.
        let limits = ServeLimits { max_connections: 8, max_connections_of_peer: 8, ..limits };
        tokio::spawn(serve(bound, None, app.clone().metrics_router(), limits, core::future::pending()));
    }
    let mut server = tokio::spawn(serve(bound, Some(tls), app.clone().router(), limits, stop));

    let serving = tokio::select! {
        serving = boot(config, &channel, &mut progress) => serving?,
        ended = &mut server => return flatten(ended),
    };
    app.serve(serving);
    progress.enter(Stage::Serving);
    // Standard error may be closed; the enclave serves all the same.
    drop(writeln!(std::io::stderr(), "listening on {address}"));
    attend(server, &app, fail).await
}

/// Waits until the server ends, or ends it with `fail` when a part of what it serves has ended, or when it may go on no more.
async fn attend(mut server: JoinHandle<Result<()>>, app: &App, fail: oneshot::Sender<()>) -> Result<()> {
    let refusal = tokio::select! {
        ended = &mut server => return flatten(ended),
        refusal = app.ended() => refusal,
    };
    tracing::error!(%refusal, "draining, then stopping");
    // Where nobody listens the server has stopped by itself.
    let _ = fail.send(());
    flatten(server.await)?;
    Err(refusal)
}

fn flatten(ended: core::result::Result<Result<()>, JoinError>) -> Result<()> {
    ended.map_err(|e| Refusal::new(Code::Internal, "server task").because(e))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests::{KEY, app, app_until, embed};
    use crate::inference::tests::{counting, panicking};
    use crate::lease::{Source, Tenure};
    use core::net::SocketAddr;
    use std::sync::Mutex;
    use strongroom_wire::Fault;
    use strongroom_wire::lease::Lease;

    /// Serves `app` as [`run`] does, until the sender is used or gone.
    async fn served(app: &App) -> (SocketAddr, JoinHandle<Result<()>>, oneshot::Sender<()>) {
        let bound = bind("127.0.0.1:0").await.unwrap();
        let (address, (stop, stopped)) = (bound.local_addr(), oneshot::channel::<()>());
        let stopped = async { drop(stopped.await) };
        (address, tokio::spawn(serve(bound, None, app.clone().router(), ServeLimits::default(), stopped)), stop)
    }

    /// A verifier that says nothing until it is told why to refuse.
    struct Until(Mutex<Option<oneshot::Receiver<Code>>>);

    impl Source for Until {
        async fn take(&self) -> Result<Lease> {
            let told = self.0.lock().unwrap().take().unwrap();
            Err(Refusal::new(told.await.unwrap(), "lease"))
        }
    }

    async fn is_listening(address: SocketAddr) -> bool {
        tokio::net::TcpStream::connect(address).await.is_ok()
    }

    const ASK: &str = r#"{"model":"tiny/1","input":"a"}"#;

    #[tokio::test]
    async fn service_whose_inference_thread_panics_stops_with_exit_code_3() {
        let app = app([panicking()]);
        let (address, server, fail) = served(&app).await;
        assert!(is_listening(address).await);
        assert_eq!(embed(&app.clone().router(), &[KEY], ASK).await.0, 500);
        let refusal = attend(server, &app, fail).await.unwrap_err();
        assert_eq!((refusal.code, refusal.fault()), (Code::RuntimeFailed, Fault::Environment));
        assert_eq!(refusal.fault().exit_code(), 3);
        assert!(!is_listening(address).await);
    }

    #[tokio::test]
    async fn service_that_is_revoked_begins_nothing_more_and_stops_with_exit_code_1() {
        let (revoke, revoked) = oneshot::channel();
        let app = app_until([counting()], Tenure::hold(Until(Mutex::new(Some(revoked))), Duration::from_secs(900)));
        let (address, server, fail) = served(&app).await;
        let router = app.clone().router();
        assert_eq!(embed(&router, &[KEY], ASK).await.0, 200);
        revoke.send(Code::Revoked).unwrap();
        let refusal = attend(server, &app, fail).await.unwrap_err();
        assert_eq!((refusal.code, refusal.fault().exit_code()), (Code::Revoked, 1));
        assert_eq!(embed(&router, &[KEY], ASK).await.0, 503);
        assert!(!is_listening(address).await);
    }

    #[tokio::test]
    async fn service_whose_inference_thread_lives_goes_on_until_it_is_told_to_stop() {
        let app = app([counting()]);
        let (address, server, stop) = served(&app).await;
        assert_eq!(embed(&app.clone().router(), &[KEY], ASK).await.0, 200);
        let (fail, _failed) = oneshot::channel();
        let attended = tokio::spawn(async move { attend(server, &app, fail).await });
        assert!(is_listening(address).await && !attended.is_finished());
        stop.send(()).unwrap();
        attended.await.unwrap().unwrap();
        assert!(!is_listening(address).await);
    }
}
