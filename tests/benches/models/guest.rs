//! Memory as a guest of private memory has it: in huge pages where a file is long, and not given back to the host while the bench
//! runs. A host cannot take private memory back, and one that does so here would be what is measured.

use std::fmt;
use std::fs;

/// What the kernel is told, where it knows the word and this process may say it. The first is for memfds and what is mounted
/// without a word of its own (Documentation/admin-guide/mm/transhuge.rst), and what the guest image sets. The others, which not
/// every kernel has, are how long free memory waits before it is reported to the host, and how much of it may wait.
const SETTINGS: [(&str, &str); 3] = [
    ("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "within_size"),
    ("/sys/module/page_reporting/parameters/min_free_ms", "60000"),
    ("/sys/module/page_reporting/parameters/max_waiting_mib", "1048576"),
];

/// The settings, until this is dropped.
pub(crate) struct GuestMemory {
    before: Vec<(&'static str, String)>,
}

impl GuestMemory {
    /// As in a guest, where this process may say so; as it is, where it may not.
    pub(crate) fn as_in_a_guest() -> Self {
        let differ = SETTINGS.into_iter().filter_map(|(path, guest)| Some((path, guest, setting(path)?)));
        let differ = differ.filter(|(_, guest, before)| before != guest);
        let before = differ.filter(|(path, guest, _)| fs::write(path, guest).is_ok());
        Self { before: before.map(|(path, _, before)| (path, before)).collect() }
    }
}

impl Drop for GuestMemory {
    fn drop(&mut self) {
        for (path, before) in self.before.iter().rev() {
            fs::write(path, before).unwrap();
        }
    }
}

impl fmt::Display for GuestMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, _) in SETTINGS {
            let name = path.rsplit('/').next().unwrap_or(path);
            let before = self.before.iter().find(|(changed, _)| *changed == path);
            match (setting(path), before) {
                (None, _) => write!(f, " no {name}")?,
                (Some(now), None) => write!(f, " {name} = {now}")?,
                (Some(now), Some((_, before))) => write!(f, " {name} = {now} (else {before})")?,
            }
        }
        Ok(())
    }
}

/// What is chosen: the one in brackets, where the kernel lists what there is.
fn setting(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let chosen = text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    Some(chosen.unwrap_or_else(|| text.trim()).to_owned())
}
