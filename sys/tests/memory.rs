//! Files in memory, written where they lie.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use rustix::fs::{SealFlags, fcntl_add_seals, fcntl_get_seals};
use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::thread;
use strongroom_sys::memory::Memory;

const MIB: u64 = 1 << 20;

fn memory(len: u64) -> Memory {
    Memory::sealable(c"test", len).unwrap()
}

fn read(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn byte_is_given_out_once_and_never_past_the_end() {
    let memory = memory(10);
    assert_eq!(memory.take(0..4).unwrap().unwrap(), [0; 4]);
    assert!(memory.take(3..5).unwrap().is_none(), "one byte of it was taken");
    assert!(memory.take(0..4).unwrap().is_none(), "all of it was taken, and is gone");
    assert_eq!(memory.take(4..10).unwrap().unwrap().len(), 6);
    assert!(memory.take(9..11).unwrap().is_none());
    assert!(memory.take(u64::MAX - 1..u64::MAX).unwrap().is_none());
    assert_eq!(memory.take(10..10).unwrap().unwrap(), [0; 0]);
    #[expect(clippy::reversed_empty_ranges, reason = "what no caller should ask for")]
    let backwards = memory.take(6..5).unwrap();
    assert!(backwards.is_none());
}

#[test]
fn ranges_of_several_threads_are_all_in_the_file() {
    // Ends in the middle of a page, and so do the ranges.
    let (count, length) = (64_u64, 100_003_u64);
    let memory = memory(count * length);
    thread::scope(|scope| {
        for worker in 0..4 {
            let memory = &memory;
            scope.spawn(move || {
                for at in (worker..count).step_by(4) {
                    memory.take(at * length..(at + 1) * length).unwrap().unwrap().fill(at.to_le_bytes()[0]);
                }
            });
        }
    });
    let bytes = read(&memory.finish());
    for (at, range) in bytes.chunks(usize::try_from(length).unwrap()).enumerate() {
        assert!(range.iter().all(|byte| *byte == at.to_le_bytes()[0]), "{at}");
    }
}

#[test]
fn memfd_has_a_sealed_length_and_can_be_sealed_against_writing_once_it_is_finished() {
    let memory = memory(3);
    memory.take(0..3).unwrap().unwrap().copy_from_slice(b"abc");
    let file = memory.finish();
    assert_eq!(fcntl_get_seals(&file).unwrap(), SealFlags::SHRINK | SealFlags::GROW);
    assert!(file.set_len(2).is_err());
    assert!(file.set_len(4).is_err());
    fcntl_add_seals(&file, SealFlags::WRITE).unwrap();
    assert!(file.write_at(b"x", 0).is_err());
    assert_eq!(read(&file), b"abc");
}

#[test]
fn memory_that_may_still_be_written_cannot_be_sealed() {
    let memory = Memory::sealable(c"held", 3).unwrap();
    // Another descriptor of the same file, as nobody gets one but by the process's own folder in /proc.
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let mut memfds =
        descriptors.filter(|path| std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().contains("memfd:held")));
    let again = memfds.find_map(|path| File::options().read(true).write(true).open(path).ok()).unwrap();
    assert_eq!(fcntl_add_seals(&again, SealFlags::WRITE), Err(rustix::io::Errno::BUSY));
    drop(memory);
}

#[test]
fn no_memory_is_taken_before_it_is_asked_for() {
    let memory = memory(64 * MIB);
    memory.take(0..MIB).unwrap().unwrap().fill(1);
    let file = memory.finish();
    let held = file.metadata().unwrap().blocks() * 512;
    // Up to a huge page more.
    assert!((MIB..=2 * MIB).contains(&held), "{held}");
}

#[test]
fn unnamed_file_is_in_its_folder_by_no_name_and_is_its_owners_alone() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let memory = Memory::unnamed(folder.path(), 3).unwrap();
    memory.take(0..3).unwrap().unwrap().copy_from_slice(b"abc");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    let file = memory.finish();
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(read(&file), b"abc");
}

#[test]
fn length_that_no_process_addresses_refused() {
    assert!(Memory::sealable(c"test", u64::MAX).is_err());
    assert!(Memory::sealable(c"test", 0).is_ok_and(|memory| read(&memory.finish()).is_empty()));
}
