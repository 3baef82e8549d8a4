//! `make bench`: what an enclave serves and how fast, as `name value unit limit ratio`, and the same as JSON in the file named as first
//! argument. The second says which part, `embeddings` or `generation`; both where absent.
//!
//! The enclave is the real program, booted beside a fake processor, asked over TLS by a caller with a bearer key. Whoever asks is a
//! process of its own, of one thread, in a closed loop over kept connections. All of them share the machine's cores, so what is held
//! against a limit takes turns with it in the same run. The limits:
//!
//! - embeddings, one client: ONNX Runtime in a loop with the same model, the same threads and a batch of one. What a request takes longer
//!   than a turn of the loop is what is added;
//! - embeddings, 32 clients: the same loop with batches of 32, while the same generator drives an echo server of the same TLS, HTTP and
//!   authentication, with answers of the same length, at the rate that the enclave reached. It does less than the enclave does for a
//!   request: no policies, no JSON, no log. The loop by itself is beside it;
//! - other servers: what text-embeddings-inference 1.9.3 reached on another machine, by as much more or less as the loop reaches here. It is
//!   no measurement of that server on this one;
//! - generation, one stream: Python's ONNX Runtime with as many threads;
//! - generation, eight streams: two and a half times what one stream has, from the question to the last token.
#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]
#![allow(clippy::as_conversions, clippy::indexing_slicing, clippy::string_slice)]

#[path = "served/bare.rs"]
mod bare;
#[path = "served/connection.rs"]
mod connection;
#[path = "served/echo.rs"]
mod echo;
#[path = "served/embeddings.rs"]
mod embeddings;
mod figure;
#[path = "served/generation.rs"]
mod generation;
#[path = "served/load.rs"]
mod load;
#[path = "../tests/strongroom/peers.rs"]
mod peers;
#[path = "served/role.rs"]
mod role;
#[path = "served/streams.rs"]
mod streams;
#[path = "../tests/strongroom/system"]
mod system {
    pub(crate) mod guest;
    pub(crate) mod http;
    pub(crate) mod process;
    pub(crate) mod programs;
    pub(crate) mod world;

    pub(crate) use programs::{program, root, strongroom, text};
}

use role::Role;

fn main() {
    if let Some(role) = Role::of_this_process() {
        return role.play();
    }
    let only = figure::arguments().nth(1);
    let is_known = only.as_deref().is_none_or(|only| ["embeddings", "generation"].contains(&only));
    assert!(is_known, "want `embeddings` or `generation`");
    let wanted = |part: &str| only.as_ref().is_none_or(|only| only == part);
    let mut figures = Vec::new();
    if wanted("embeddings") {
        figures.extend(embeddings::figures());
    }
    if wanted("generation") {
        figures.extend(generation::figures());
    }
    figure::publish(&figures);
}

fn cores() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What this part of `times` is not more than.
fn at(times: &mut [f64], part: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * part) as usize]
}
