//! `dcap-qvl` with `ring`, in turns.

fn main() -> strongroom_bench_peers::Result<()> {
    strongroom_bench_peers::quotes::run()
}
