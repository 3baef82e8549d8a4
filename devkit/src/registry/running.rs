//! A registry on a socket.

use super::{Config, Faults, Registry, Requests};
use std::net::SocketAddr;
use std::time::Duration;
use strongroom_transport::{ServeLimits, bind, serve, server_config};
use strongroom_wire::{Code, Refusal, Result};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// From the stop until open answers are cut off: a stalled one would hold a test up.
const GRACE: Duration = Duration::from_secs(1);

/// A registry that answers on its own task until it is stopped or dropped.
#[derive(Debug)]
pub struct RunningRegistry {
    registry: Registry,
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

impl RunningRegistry {
    /// Opens the registry of `config`, binds its address and serves, over TLS where it has an identity. It answers from
    /// the moment this returns.
    ///
    /// # Errors
    /// `io` where the root folder cannot be made, and those of [`bind`] and [`server_config`].
    pub async fn start(config: Config) -> Result<Self> {
        let registry = Registry::open(&config)?;
        let tls = config.tls.as_deref().map(server_config).transpose()?;
        let bound = bind(&config.listen).await?;
        let addr = bound.local_addr();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move {
            // Sent or dropped: both mean stop.
            let _stop = stopped.await;
        };
        let limits = ServeLimits { grace: GRACE, ..ServeLimits::default() };
        let task = tokio::spawn(serve(bound, tls, registry.router(), limits, shutdown));
        Ok(Self { registry, addr, stop, task })
    }

    /// Where it listens.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What can be made to go wrong with it.
    pub fn faults(&self) -> &Faults {
        self.registry.faults()
    }

    /// What it was asked.
    pub fn requests(&self) -> &Requests {
        self.registry.requests()
    }

    /// Stops listening, lets open answers end within a second, and returns when the port is free. What it keeps
    /// stays on the disk.
    ///
    /// # Errors
    /// Those of [`serve()`].
    pub async fn stop(self) -> Result<()> {
        let _already_ended = self.stop.send(());
        match self.task.await {
            Ok(ended) => ended,
            Err(error) => Err(Refusal::new(Code::Internal, "registry task").because(error)),
        }
    }
}
