//! Random numbers that the host does not choose: a confidential guest's come from its processor.

use rustix::rand::{GetRandomFlags, getrandom};
use strongroom_wire::{Code, Refusal, Result};

/// That the processor has an instruction for random numbers, which the host cannot answer for it, and that the kernel's
/// generator was seeded, which it waits for.
///
/// # Errors
/// `entropy-missing` the processor has none; `io`.
pub fn ready() -> Result<&'static str> {
    let instructions = (is_x86_feature_detected!("rdseed"), is_x86_feature_detected!("rdrand"));
    let from = source(instructions)?;
    let mut seed = [0_u8; 32];
    getrandom(&mut seed[..], GetRandomFlags::empty()).map_err(|e| Refusal::io("getrandom", &e.into()))?;
    Ok(from)
}

fn source((rdseed, rdrand): (bool, bool)) -> Result<&'static str> {
    match (rdseed, rdrand) {
        (true, _) => Ok("RDSEED"),
        (false, true) => Ok("RDRAND"),
        (false, false) => Err(Refusal::new(Code::EntropyMissing, "processor").got("neither").want("RDSEED or RDRAND")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_with_either_instruction_accepted_and_with_neither_refused() {
        assert_eq!(source((true, true)).unwrap(), "RDSEED");
        assert_eq!(source((false, true)).unwrap(), "RDRAND");
        assert_eq!(source((false, false)).unwrap_err().code, Code::EntropyMissing);
    }
}
