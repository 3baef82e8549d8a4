//! Random numbers that the host does not choose: a confidential guest's come from its processor.

use rustix::rand::{GetRandomFlags, getrandom};
use std::fs;
use strongroom_wire::{Code, Refusal, Result};

/// What the kernel says of its processors. It draws from the instruction at the start, and takes it out of this list where the numbers
/// do not change, or are known to be bad of this processor (Linux `arch/x86/kernel/cpu/rdrand.c`, `amd.c`).
const PROCESSORS: &str = "/proc/cpuinfo";

/// That every processor has an instruction for random numbers which the kernel found to give some, and which the host cannot answer for
/// it, and that the kernel's generator was seeded, which it waits for.
///
/// # Errors
/// `entropy-missing` a processor has none; `io`.
pub fn ready() -> Result<&'static str> {
    let processors = fs::read_to_string(PROCESSORS).map_err(|e| Refusal::io(PROCESSORS, &e))?;
    let from = source(&processors)?;
    let mut seed = [0_u8; 32];
    getrandom(&mut seed[..], GetRandomFlags::empty()).map_err(|e| Refusal::io("getrandom", &e.into()))?;
    Ok(from)
}

/// The better one that all of them have.
fn source(processors: &str) -> Result<&'static str> {
    let flags: Vec<_> = processors.lines().filter_map(|line| line.strip_prefix("flags")).collect();
    let all_have =
        |flag| !flags.is_empty() && flags.iter().all(|flags| flags.split_ascii_whitespace().any(|it| it == flag));
    if all_have("rdseed") {
        return Ok("RDSEED");
    }
    if all_have("rdrand") {
        return Ok("RDRAND");
    }
    Err(Refusal::new(Code::EntropyMissing, "processors").got("neither").want("RDSEED or RDRAND in all of them"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_with_either_instruction_accepted_and_one_with_neither_refused() {
        let of = |flags: [&str; 2]| {
            let processor = |flags| format!("processor\t: 0\nflags\t\t: fpu {flags} sse\nbugs\t\t:\n\n");
            source(&flags.map(processor).concat()).map_err(|refusal| refusal.code)
        };
        assert_eq!(of(["rdrand rdseed", "rdrand rdseed"]), Ok("RDSEED"));
        assert_eq!(of(["rdrand rdseed", "rdrand"]), Ok("RDRAND"));
        assert_eq!(of(["rdrand", "rdrandom"]), Err(Code::EntropyMissing));
        assert_eq!(source("").unwrap_err().code, Code::EntropyMissing);
    }
}
