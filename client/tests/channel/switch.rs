//! A network whose other end can change: bytes of each new connection go to whoever is named at that moment.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub(crate) struct Switch {
    pub(crate) address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    connections: Arc<Mutex<JoinSet<()>>>,
}

impl Switch {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let this = Self { address, target: Arc::new(Mutex::new(target)), connections: Arc::default() };
        let (target, connections) = (Arc::clone(&this.target), Arc::clone(&this.connections));
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let target = *target.lock().unwrap();
                connections.lock().unwrap().spawn(async move {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        this
    }

    /// Connections made from now on go to `target`; those that are there stay.
    pub(crate) fn turn_to(&self, target: SocketAddr) {
        *self.target.lock().unwrap() = target;
    }

    /// Breaks every connection that is there.
    pub(crate) fn cut(&self) {
        self.connections.lock().unwrap().abort_all();
    }

    /// How many connections were made and not cut.
    pub(crate) fn connections(&self) -> usize {
        self.connections.lock().unwrap().len()
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}
