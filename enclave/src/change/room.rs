//! Room in memory for one model more.

use crate::inference::Kind;
use strongroom_wire::{Code, Refusal, Result, limits};

/// What a model takes while it is opened and loaded, beside its files twice: in sealed memory and in the runtime.
const BESIDE: u64 = 64 * 1024 * 1024;

/// How much memory models may take.
#[derive(Debug, Clone, Copy, Default)]
pub struct Room {
    limit: Option<u64>,
}

impl Room {
    /// At most `limit` bytes of the files of all models together, where there is one. In any case no more than the machine has free.
    pub const fn new(limit: Option<u64>) -> Self {
        Self { limit }
    }

    /// That a model whose files are `size` bytes fits in beside models of `held` bytes each.
    ///
    /// # Errors
    /// `memory-short`; `io`: the kernel does not say how much there is.
    pub fn verify_for(self, size: u64, held: impl IntoIterator<Item = u64>) -> Result<()> {
        self.verify(size, held, &meminfo()?)
    }

    /// That a model of this kind can answer as much at a time as it may, once it is loaded: one that generates keeps what it goes on from.
    ///
    /// # Errors
    /// As [`Self::verify_for`].
    pub fn verify_for_answers(self, kind: &Kind) -> Result<()> {
        let needed = match kind {
            Kind::Generation(_) => u64::try_from(limits::GENERATION_MEMORY).unwrap_or(u64::MAX),
            Kind::Embedding(_) | Kind::Classification(_) | Kind::TokenClassification(_) | Kind::Tensors(_) => 0,
        };
        free_for("memory for answers", needed, &meminfo()?)
    }

    fn verify(self, size: u64, held: impl IntoIterator<Item = u64>, meminfo: &str) -> Result<()> {
        let together = held.into_iter().fold(size, u64::saturating_add);
        if let Some(limit) = self.limit.filter(|limit| together > *limit) {
            return Err(short("files of all models", together, limit));
        }
        free_for("memory for the model", size.saturating_mul(2).saturating_add(BESIDE), meminfo)
    }
}

fn short(what: &str, got: u64, want: u64) -> Refusal {
    Refusal::new(Code::MemoryShort, what).got(format!("{got} bytes")).want(format!("at most {want} bytes"))
}

fn free_for(what: &str, needed: u64, meminfo: &str) -> Result<()> {
    let free = available(meminfo).ok_or_else(|| Refusal::new(Code::Io, "MemAvailable of /proc/meminfo"))?;
    if needed > free { Err(short(what, needed, free)) } else { Ok(()) }
}

fn meminfo() -> Result<String> {
    std::fs::read_to_string("/proc/meminfo").map_err(|e| Refusal::io("/proc/meminfo", &e))
}

/// `MemAvailable` (proc_meminfo(5)), in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEBIBYTE: u64 = 1024 * 1024;

    fn code(limit: Option<u64>, size: u64, served: &[u64], free: u64) -> Option<Code> {
        let meminfo = format!("MemTotal:  9 kB\nMemAvailable:   {} kB\n", free / 1024);
        Room::new(limit).verify(size, served.iter().copied(), &meminfo).err().map(|refusal| refusal.code)
    }

    #[test]
    fn model_that_fills_the_limit_beside_the_others_accepted_and_one_byte_more_refused() {
        assert_eq!(code(Some(30), 10, &[15, 5], u64::MAX), None);
        assert_eq!(code(Some(30), 11, &[15, 5], u64::MAX), Some(Code::MemoryShort));
        assert_eq!(code(None, 11, &[15, 5], u64::MAX), None);
    }

    #[test]
    fn model_that_fits_twice_into_what_is_free_accepted_and_a_kibibyte_less_refused() {
        let needed = 2 * MEBIBYTE + BESIDE;
        assert_eq!(code(None, MEBIBYTE, &[], needed), None);
        assert_eq!(code(None, MEBIBYTE, &[], needed - 1024), Some(Code::MemoryShort));
    }

    #[test]
    fn kernel_that_does_not_say_what_is_free_refused() {
        let refusal = Room::default().verify(1, [], "MemTotal: 9 kB\n").unwrap_err();
        assert_eq!(refusal.code, Code::Io);
        assert!(Room::default().verify_for(0, []).is_ok(), "this machine says");
    }
}
