//! What the demo says.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the demo speaks to a person")]

use super::Published;
use super::calls::Proxy;
use crate::guest::Guest;
use crate::world::World;
use std::net::SocketAddr;
use std::time::Instant;
use strongroom_wire::{Code, Refusal};

/// The steps so far.
pub(crate) struct Steps {
    began: Instant,
    last: Instant,
}

impl Steps {
    /// Says what comes.
    pub(crate) fn start() -> Self {
        println!("Strongroom on this machine, without a TEE: evidence is signed by a test root made for this run.\n");
        let now = Instant::now();
        Self { began: now, last: now }
    }

    /// A step that held.
    pub(crate) fn done(&mut self, name: &str, detail: &str) {
        println!("{:6.2} s  {name:13} {detail}", self.last.elapsed().as_secs_f64());
        self.last = Instant::now();
    }

    /// The heading of the refusals.
    pub(crate) fn heading(&self, text: &str) {
        println!("\n{text}\n");
    }

    /// An adversary who was refused as expected.
    pub(crate) fn refused(&mut self, title: &str, code: Code, by: &str, twin: &str) {
        println!("{:6.2} s  {:28} by the {by:10} {title}", self.last.elapsed().as_secs_f64(), code.as_str());
        println!("{:57} accepted: {twin}", "");
        self.last = Instant::now();
    }

    /// The last line.
    pub(crate) fn end(&self, refused: usize) {
        let seconds = self.began.elapsed().as_secs_f64();
        println!(
            "\neverything held: the model was served to who verified it, and {refused} adversaries were refused ({seconds:.1} s)"
        );
    }
}

/// How to call what is left running.
pub(crate) fn kept(world: &World, proxy: &Proxy, model: &Published, guest: &Guest) {
    let (url, key, name) = (proxy.url(), crate::world::API_KEY, &model.name);
    let venv = world.path().join("openai");
    let venv = venv.display();
    println!("\nleft running; stop it with Ctrl-C. Both go through the proxy, which attests before it sends a byte:\n");
    println!(
        "curl -s {url}/v1/embeddings -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n  \
         -d '{{\"model\":\"{name}\",\"input\":\"a letter in a strongroom\"}}'\n"
    );
    println!(
        "python3 -m venv {venv} && {venv}/bin/pip install -q openai && {venv}/bin/python - <<'EOF'\n\
         from openai import OpenAI\nclient = OpenAI(base_url=\"{url}/v1\", api_key=\"{key}\")\n\
         print(client.embeddings.create(model=\"{name}\", input=\"a letter in a strongroom\").data[0].embedding[:4])\nEOF\n"
    );
    println!("the enclave behind it: {}", guest.url());
}

/// A refusal that ends the program.
pub(crate) fn failure(refusal: &Refusal) {
    eprintln!("strongroom-dev: {refusal}");
    if !refusal.code.advice().is_empty() {
        eprintln!("  try   {}", refusal.code.advice());
    }
}

/// The line that says where a service is.
pub(crate) fn listening(address: SocketAddr) {
    eprintln!("listening on {address}");
}
