//! Endorsements, with the bytes that they were given as: who verifies them again later is given the same.

use strongroom_appraisal::Endorsements;
use strongroom_wire::Result;
use strongroom_wire::digest::Sha256;

/// What vendors vouch with, as a guest or a vendor gave it. Nothing in it is trusted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    parsed: Endorsements,
    raw: Vec<Vec<u8>>,
    /// Which of them hold a revocation list.
    lists: Vec<usize>,
}

impl Given {
    /// Adds some, as [`Endorsements::add`] does.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<()> {
        let lists = self.parsed.revocation_lists();
        self.parsed.add(bytes)?;
        if self.parsed.revocation_lists() > lists {
            self.lists.push(self.raw.len());
        }
        self.raw.push(bytes.to_vec());
        Ok(())
    }

    /// What evidence is verified with.
    pub(crate) const fn parsed(&self) -> &Endorsements {
        &self.parsed
    }

    /// What tells it from all others.
    pub(crate) fn digest(&self) -> Sha256 {
        // With its length before each, no two lists are one.
        let lengths: Vec<_> = self.raw.iter().map(|one| one.len().to_be_bytes()).collect();
        let parts = self.raw.iter().zip(&lengths).flat_map(|(one, length)| [length.as_slice(), one.as_slice()]);
        Sha256::of_parts(&parts.collect::<Vec<_>>())
    }

    /// Those of them that hold a revocation list.
    pub(crate) fn lists(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.lists.iter().filter_map(|at| self.raw.get(*at))
    }

    /// All that was added, in its order.
    pub(crate) fn raw(&self) -> &[Vec<u8>] {
        &self.raw
    }
}
