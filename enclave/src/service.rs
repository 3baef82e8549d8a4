//! The service around the boot: listens from the first moment, boots, serves, and stops when told to.

use crate::api::App;
use crate::boot::boot;
use crate::config::Config;
use crate::stage::{Progress, Stage};
use core::time::Duration;
use std::io::Write as _;
use strongroom_transport::{ServeLimits, ServerIdentity, bind, serve, server_config, shutdown_signal};
use strongroom_wire::{Code, Refusal, Result};

/// Runs an enclave until it is told to stop (SIGTERM or SIGINT), then drains and returns.
///
/// Its TLS key is born here and ends here. The line `listening on ADDR` on standard error says that requests are answered;
/// probes are answered before.
///
/// # Errors
/// As [`boot`], and `network` the address cannot be listened on.
pub async fn run(config: &Config) -> Result<()> {
    let stop = shutdown_signal();
    let channel = ServerIdentity::generate(&config.names)?;
    let tls = server_config(&channel)?;
    let bound = bind(&config.listen).await?;
    let address = bound.local_addr();
    let (mut progress, stage) = Progress::start();
    let app = App::new(stage);
    let limits = ServeLimits { grace: Duration::from_secs(config.grace), ..ServeLimits::default() };
    tracing::info!(%address, "answering probes");
    let mut server = tokio::spawn(serve(bound, Some(tls), app.clone().router(), limits, stop));

    let serving = tokio::select! {
        serving = boot(config, &channel, &mut progress) => serving?,
        ended = &mut server => return flatten(ended),
    };
    app.serve(serving)?;
    progress.enter(Stage::Serving);
    // Standard error may be closed; the enclave serves all the same.
    drop(writeln!(std::io::stderr(), "listening on {address}"));
    flatten(server.await)
}

fn flatten(ended: core::result::Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    ended.map_err(|e| Refusal::new(Code::Internal, "server task").because(e))?
}
