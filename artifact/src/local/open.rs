//! Opening a sealed directory.

use super::index::{INDEX, Index, SealedFile, SealedPart};
use super::staging::Staging;
use crate::data_key::DataKey;
use crate::directory::open_file;
use crate::parallel;
use crate::seal::{HEADER, Segments};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use strongroom_wire::{Code, Refusal, Result, limits};
use zeroize::Zeroizing;

/// Opens the sealed directory `sealed` into the new directory `out`, on all cores; the inverse of
/// [`seal_directory`](super::seal_directory).
///
/// 1. The index is read and its shape verified.
/// 2. The key's commitment is compared: `key-commitment-mismatch`.
/// 3. Every segment is opened, each in its place: `seal-invalid`, `layer-size-mismatch` for a file of another length.
/// 4. `out` gets its name. Before that nothing is there, whatever was refused.
pub fn open_directory(sealed: &Path, out: &Path, key: DataKey) -> Result<Index> {
    // 1.
    let index = read_index(sealed)?;
    // 2.
    key.verify_commitment(&index.id()?, &index.commitment()?)?;
    // 3.
    let staging = Staging::create(out)?;
    index.files.iter().try_for_each(|file| open_sealed(sealed, file, &key, staging.path()))?;
    // 4.
    staging.commit()?;
    Ok(index)
}

fn read_index(sealed: &Path) -> Result<Index> {
    let mut json = Vec::new();
    let limit = u64::try_from(limits::SEAL_INDEX).map_or(u64::MAX, |limit| limit + 1);
    open_file(sealed, INDEX)?.take(limit).read_to_end(&mut json).map_err(|e| Refusal::io(INDEX, &e))?;
    Index::parse(&json)
}

fn open_sealed(sealed: &Path, file: &SealedFile, key: &DataKey, out: &Path) -> Result<()> {
    let path = out.join(&file.path);
    let io = |error: std::io::Error| Refusal::io(path.display(), &error);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(io)?;
    }
    let target = File::create_new(&path).map_err(io)?;
    let mut offset = 0;
    for part in &file.parts {
        open_part(&open_file(sealed, &part.file)?, part, key, &target, offset)?;
        offset += part.size;
    }
    Ok(())
}

fn open_part(source: &File, part: &SealedPart, key: &DataKey, target: &File, offset: u64) -> Result<()> {
    let io = |error: std::io::Error| Refusal::io(&part.file, &error);
    let length = source.metadata().map_err(io)?.len();
    if length != part.sealed_size {
        let what = format!("length of `{}`", part.file);
        return Err(Refusal::new(Code::LayerSizeMismatch, what).got(length).want(part.sealed_size));
    }
    let associated_data = hex::decode(&part.associated_data).map_err(|e| Refusal::malformed("associated data", e))?;
    let mut header = [0; HEADER];
    source.read_exact_at(&mut header, 0).map_err(io)?;
    let within = |refusal: Refusal| refusal.within(&part.file);
    let segments = Segments::new(key, &associated_data, &header, length).map_err(within)?;
    let indices: Vec<u32> = (0..segments.count()).collect();
    parallel::map(&indices, |index| {
        let place = segments.sealed_range(*index);
        let length = usize::try_from(place.end - place.start).map_err(|e| Refusal::malformed("segment", e))?;
        let mut buffer = Zeroizing::new(vec![0; length]);
        source.read_exact_at(&mut buffer, place.start).map_err(io)?;
        let plain = segments.open(*index, &mut buffer).map_err(within)?;
        target.write_all_at(plain, offset + segments.plain_range(*index).start).map_err(io)
    })?;
    Ok(())
}
