//! `sev` with RustCrypto (`crypto_nossl`), in turns.

fn main() -> strongroom_bench_peers::Result<()> {
    strongroom_bench_peers::reports::run()
}
