//! A file that exists in memory only, and is written where it lies: by several threads at once, each its own range, without a
//! copy on the way and without the lock that `write(2)` takes.

use core::ffi::CStr;
use core::ops::Range;
use core::{fmt, slice};
use memmap2::{Advice, MmapRaw};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, memfd_create, open};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Mutex;

/// A file of a fixed length that nobody else has: no name, and no descriptor but the one in here, until [`Self::finish`] gives
/// it away. Dropped before, it is gone with all that was written to it.
pub struct Memory {
    mapping: MmapRaw,
    file: File,
    taken: Mutex<Taken>,
}

impl Memory {
    /// `len` zero bytes in a memfd (`memfd_create(2)`), whose length is sealed and whose other seals are still to be set. No
    /// memory is taken before it is written.
    ///
    /// # Errors
    /// What the kernel refuses; a length that this process cannot address.
    pub fn sealable(name: &CStr, len: u64) -> io::Result<Self> {
        let file = File::from(memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
        file.set_len(len)?;
        // Before it is mapped: whoever shortens a mapped file ends the process that touches what is gone (`SIGBUS`).
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)?;
        Self::map(file)
    }

    /// `len` zero bytes in the file system of `folder`, of a file without a name (`O_TMPFILE`, open(2)), which whoever it is given
    /// to can link to one. Its owner alone may read and write it.
    ///
    /// # Errors
    /// What the kernel refuses; a length that this process cannot address.
    pub fn unnamed(folder: &Path, len: u64) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = File::from(open(folder, flags, Mode::RUSR | Mode::WUSR)?);
        file.set_len(len)?;
        Self::map(file)
    }

    fn map(file: File) -> io::Result<Self> {
        Ok(Self { mapping: MmapRaw::map_raw(&file)?, file, taken: Mutex::default() })
    }

    /// The bytes of `range`, to whoever asks for them first; `None` where one of them lies past the end or was taken before. They are
    /// zero, and what is written there is in the file.
    ///
    /// # Errors
    /// There is no memory for them: said here, where a first touch would end the process. The kernel is older than 5.14
    /// (`MADV_POPULATE_WRITE`, madvise(2)). They stay taken.
    #[expect(clippy::mut_from_ref, reason = "each byte is given out once")]
    pub fn take(&self, range: Range<u64>) -> io::Result<Option<&mut [u8]>> {
        let place = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        let place = place.filter(|(start, end)| start <= end && *end <= self.mapping.len());
        let Some((start, end)) = place else { return Ok(None) };
        if start == end {
            return Ok(Some(&mut []));
        }
        // Of a lock that is poisoned nobody knows what was given out.
        if !self.taken.lock().is_ok_and(|mut taken| taken.add(start, end)) {
            return Ok(None);
        }
        let length = end.saturating_sub(start);
        self.mapping.advise_range(Advice::PopulateWrite, start, length)?;
        let first = self.mapping.as_mut_ptr().wrapping_add(start);
        #[expect(unsafe_code, reason = "each byte is given out once")]
        // SAFETY: `start..end` is within the mapping (above), which is one allocation of at most `isize::MAX` bytes (memmap2 maps
        // none that is longer), readable and writable, and lives as long as `self`, which the slice borrows. A file's bytes are
        // initialised, and any byte is a `u8`. Nothing else reads or writes these for as long: every reference into the mapping
        // comes from here, and `Taken` gives no byte twice, also not once the first slice is gone; the file has no other mapping
        // and no other descriptor, and `finish` takes `self` by value. The file does not get shorter either: a memfd's length is
        // sealed, and a file without a name is reached by nobody but through this process's own descriptor.
        let bytes = unsafe { slice::from_raw_parts_mut(first, length) };
        Ok(Some(bytes))
    }

    /// The file. It is no longer mapped, so that a memfd can be sealed against writing.
    pub fn finish(self) -> File {
        self.file
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("len", &self.mapping.len()).finish_non_exhaustive()
    }
}

/// Ranges that were given out: where each ends, by where it starts. Neighbours are one, so that there are few.
#[derive(Default)]
struct Taken(BTreeMap<usize, usize>);

impl Taken {
    /// Adds the range, which is not empty, unless a byte of it is in already.
    fn add(&mut self, start: usize, end: usize) -> bool {
        let before = self.0.range(..=start).next_back().map(|(start, end)| (*start, *end));
        let after = self.0.range(start..).next().map(|(start, end)| (*start, *end));
        if before.is_some_and(|(_, before)| before > start) || after.is_some_and(|(after, _)| after < end) {
            return false;
        }
        let start = before.filter(|(_, before)| *before == start).map_or(start, |(before, _)| before);
        let end = after.filter(|(after, _)| *after == end).map_or(end, |(after, later)| {
            self.0.remove(&after);
            later
        });
        self.0.insert(start, end);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a list of bytes.
        #[test]
        fn range_is_added_where_none_of_its_bytes_is_in(ranges in prop::collection::vec((0_usize..40, 1_usize..6), 0..40)) {
            let (mut taken, mut bytes) = (Taken::default(), [false; 64]);
            for (start, length) in ranges {
                let end = start + length;
                let free = bytes[start..end].iter().all(|taken| !taken);
                prop_assert_eq!(taken.add(start, end), free);
                bytes[start..end].fill(true);
                if !free {
                    break;
                }
            }
        }
    }

    #[test]
    fn neighbours_are_one_range() {
        let mut taken = Taken::default();
        for (start, end) in [(0, 2), (4, 6), (2, 4), (8, 9)] {
            assert!(taken.add(start, end));
        }
        assert_eq!(taken.0.into_iter().collect::<Vec<_>>(), [(0, 6), (8, 9)]);
    }
}
