//! The load generator: so many clients, each with a connection of its own that it keeps, each asking again once it is answered.

use crate::at;
use crate::connection::{Connection, request};
use crate::role::{Player, Role};
use serde::{Deserialize, Serialize};
use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Barrier;

/// What is asked, by whom, and for how long.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) address: String,
    pub(crate) path: String,
    pub(crate) key: String,
    /// Each client asks them in turns.
    pub(crate) bodies: Vec<String>,
    pub(crate) clients: usize,
    pub(crate) seconds: f64,
    /// How many a second all clients ask together at the most; `None`: as many as are answered.
    pub(crate) rate: Option<f64>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Answered {
    /// Answers a second.
    pub(crate) rate: f64,
    /// Milliseconds from the request to the end of its answer.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// A generator under way.
pub(crate) struct Loading(Player);

impl Load {
    /// Starts it; all clients are connected and answered once when this returns.
    pub(crate) fn start(&self) -> Loading {
        let mut player = Player::start(Role::Load, &[&serde_json::to_string(self).unwrap()]);
        assert_eq!(player.hear().trim(), "asking");
        Loading(player)
    }

    /// The same, to its end.
    pub(crate) fn run(&self) -> Answered {
        self.start().end()
    }
}

impl Loading {
    pub(crate) fn end(mut self) -> Answered {
        serde_json::from_str(&self.0.hear()).unwrap()
    }
}

pub(crate) fn play(given: &[&str]) {
    let load: Load = serde_json::from_str(given[0]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answered = runtime.block_on(ask(load));
    println!("{}", serde_json::to_string(&answered).unwrap());
    // Whoever started it says when it ends.
    drop(std::io::stdin().read(&mut [0]));
}

async fn ask(load: Load) -> Answered {
    let together = Arc::new(Barrier::new(load.clients + 1));
    let load = Arc::new(load);
    let clients: Vec<_> = (0..load.clients)
        .map(|number| tokio::task::spawn(client(number, Arc::clone(&load), Arc::clone(&together))))
        .collect();
    together.wait().await;
    println!("asking");
    let began = Instant::now();
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.await.unwrap());
    }
    let rate = times.len() as f64 / began.elapsed().as_secs_f64();
    Answered { rate, p50: at(&mut times, 0.5), p99: at(&mut times, 0.99) }
}

async fn client(number: usize, load: Arc<Load>, together: Arc<Barrier>) -> Vec<f64> {
    let requests: Vec<_> = load.bodies.iter().map(|body| request(&load.path, &load.key, body)).collect();
    let mut connection = Connection::open(&load.address).await;
    connection.ask(&requests[0]).await;
    together.wait().await;
    let pause = load.rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(load.clients as f64 / rate));
    let began = Instant::now();
    let mut next = began + pause * u32::try_from(number).unwrap() / u32::try_from(load.clients).unwrap();
    let mut times = Vec::new();
    for request in requests.iter().cycle().skip(number) {
        if !pause.is_zero() {
            tokio::time::sleep_until(next.into()).await;
            next += pause;
        }
        let asked = Instant::now();
        if asked.duration_since(began).as_secs_f64() >= load.seconds {
            break;
        }
        connection.ask(request).await;
        times.push(asked.elapsed().as_secs_f64() * 1000.0);
    }
    times
}
