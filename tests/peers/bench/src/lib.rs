//! Other verifiers of evidence. Each program takes files, verifies them once, and then takes turns: for every line on its
//! standard input it verifies for a quarter of a second and writes how many verifications that were a second.
//!
//! A verification starts from the bytes of the files and ends with the peer's own verdict, as ours does beside it.
//!
//! This crate does not write evidence, compare anything, or belong to the product.

#[cfg(feature = "dcap-qvl")]
pub mod quotes;
#[cfg(any(feature = "sev-openssl", feature = "sev-nossl"))]
pub mod reports;

use std::error::Error;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

/// What may fail ends the program with its reason.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The files named on the command line, in their order.
pub fn files<const N: usize>() -> Result<[Vec<u8>; N]> {
    let files = std::env::args_os().skip(1).map(std::fs::read).collect::<std::io::Result<Vec<_>>>()?;
    files.try_into().map_err(|given: Vec<_>| format!("{} files for {N}", given.len()).into())
}

/// Verifies once, so that a peer that refuses says so before its first turn; then a turn for each line.
pub fn take_turns(mut verify: impl FnMut() -> Result<()>) -> Result<()> {
    verify()?;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        line?;
        let began = Instant::now();
        let mut times = 0_u32;
        while began.elapsed() < Duration::from_millis(50) {
            verify()?;
            times += 1;
        }
        writeln!(out, "{}", f64::from(times) / began.elapsed().as_secs_f64())?;
        out.flush()?;
    }
    Ok(())
}
