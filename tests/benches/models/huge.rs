//! The pages that files in memory have.

use std::fmt;
use std::fs;

/// The kernel's word for memfds and what is mounted without a word of its own (Documentation/admin-guide/mm/transhuge.rst).
const SETTING: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
/// What the guest image sets: huge pages as far as a file is long.
const GUEST: &str = "within_size";

/// The setting, until this is dropped.
pub(crate) struct HugePages {
    before: Option<String>,
}

impl HugePages {
    /// As in a guest, where this process may say so; as it is, where it may not.
    pub(crate) fn as_in_a_guest() -> Self {
        let before = setting().filter(|before| before != GUEST);
        Self { before: before.filter(|_| fs::write(SETTING, GUEST).is_ok()) }
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            fs::write(SETTING, before).unwrap();
        }
    }
}

impl fmt::Display for HugePages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (setting(), &self.before) {
            (None, _) => f.write_str("a kernel without huge pages"),
            (Some(now), None) => write!(f, "shmem_enabled = {now}"),
            (Some(now), Some(before)) => write!(f, "shmem_enabled = {now} (else {before})"),
        }
    }
}

fn setting() -> Option<String> {
    let words = fs::read_to_string(SETTING).ok()?;
    words.split_whitespace().find_map(|word| Some(word.strip_prefix('[')?.strip_suffix(']')?.to_owned()))
}
