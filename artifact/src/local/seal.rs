//! Sealing a directory.

use super::index::{INDEX, Index, SealedFile, SealedPart};
use super::staging::Staging;
use crate::data_key::{ArtifactId, DataKey};
use crate::directory::{ModelFile, Selection, list_files, open_file};
use crate::parallel;
use crate::seal::{Segments, part_len, part_lengths};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use strongroom_wire::{Code, Refusal, Result, limits};
use zeroize::Zeroizing;

/// Seals every file of `directory` into the new directory `out`, under a fresh artifact id, on all cores.
///
/// Files over [`PART_LEN`](crate::seal::PART_LEN) become several parts. Refuses as [`list_files`] does, an `out` that is not empty with `usage`,
/// and a file that changes its length meanwhile with `io`.
pub fn seal_directory(directory: &Path, out: &Path, key: DataKey) -> Result<Index> {
    seal_in_parts(directory, out, key, part_len)
}

pub(super) fn seal_in_parts(directory: &Path, out: &Path, key: DataKey, part_len: fn(u64) -> u64) -> Result<Index> {
    let files = list_files(directory, Selection::Everything)?;
    let staging = Staging::create(out)?;
    let id = ArtifactId::generate()?;
    let describe = |file: &ModelFile| {
        SealedFile::new(&id, &file.path, &part_lengths(file.size, part_len(file.size)).collect::<Vec<_>>())
    };
    let files = files.iter().map(describe).collect::<Result<Vec<_>>>()?;
    for file in &files {
        let source = open_file(directory, &file.path)?;
        let mut offset = 0;
        for part in &file.parts {
            seal_part(&source, offset, part, &key, staging.path())?;
            offset += part.size;
        }
        // A file that grew is not the one that was listed; one that shrank was found by reading.
        let end = source.metadata().map_err(|e| Refusal::io(&file.path, &e))?.len();
        if end != file.size {
            let refusal = Refusal::new(Code::Io, format!("`{}` changed while it was sealed", file.path));
            return Err(refusal.got(end).want(file.size));
        }
    }
    let index = Index::new(&id, &key.commitment(&id), files);
    let json = serde_json::to_vec_pretty(&index).map_err(|e| Refusal::new(Code::Internal, INDEX).because(e))?;
    if json.len() > limits::SEAL_INDEX {
        return Err(Refusal::too_large(INDEX, format!("{} bytes", json.len()), limits::SEAL_INDEX));
    }
    let path = staging.path().join(INDEX);
    fs::write(&path, json).map_err(|e| Refusal::io(path.display(), &e))?;
    staging.commit()?;
    Ok(index)
}

/// Segments are sealed in any order, each to its place.
fn seal_part(source: &File, offset: u64, part: &SealedPart, key: &DataKey, out: &Path) -> Result<()> {
    let path = out.join(&part.file);
    let io = |error: std::io::Error| Refusal::io(path.display(), &error);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(io)?;
    }
    let sealed = File::create_new(&path).map_err(io)?;
    let associated_data = hex::decode(&part.associated_data).map_err(|e| Refusal::malformed("associated data", e))?;
    let (segments, header) = Segments::create(key, &associated_data, part.size)?;
    sealed.write_all_at(&header, 0).map_err(io)?;
    let indices: Vec<u32> = (0..segments.count()).collect();
    parallel::map(&indices, |index| {
        let plain = segments.plain_range(*index);
        let length = usize::try_from(plain.end - plain.start).map_err(|e| Refusal::malformed("segment", e))?;
        let mut buffer = Zeroizing::new(vec![0; length]);
        source.read_exact_at(&mut buffer, offset + plain.start).map_err(|e| Refusal::io(&part.file, &e))?;
        let tag = segments.seal(*index, &mut buffer)?;
        let place = segments.sealed_range(*index);
        sealed.write_all_at(&buffer, place.start).map_err(io)?;
        sealed.write_all_at(tag.as_ref(), place.start + plain.end - plain.start).map_err(io)
    })?;
    Ok(())
}
