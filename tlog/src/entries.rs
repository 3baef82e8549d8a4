//! Entries as they are served: up to 256 to a bundle, each after its length (c2sp.org/tlog-tiles, "Log entries").

use crate::tile::Tile;
use strongroom_wire::bytes::Cursor;
use strongroom_wire::{Code, Refusal, Result};

/// Bytes of the longest entry: its length is 16 bits.
pub const LONGEST: usize = 0xffff;

/// Appends one entry to a bundle.
///
/// # Errors
/// `too-large`: it is longer than [`LONGEST`].
pub fn push(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<()> {
    let length = u16::try_from(entry.len()).map_err(|_| Refusal::too_large("log entry", entry.len(), LONGEST))?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// Takes a bundle apart, which is that of `tile`.
///
/// # Errors
/// `malformed`: it does not hold as many entries as the tile is wide, or more than entries.
pub fn parse(tile: Tile, bundle: &[u8]) -> Result<Vec<&[u8]>> {
    let mut cursor = Cursor::new(bundle, "entry bundle");
    let mut entries = Vec::new();
    for _ in 0..tile.width() {
        let length = u16::from_be_bytes(cursor.array()?);
        entries.push(cursor.take(usize::from(length))?);
    }
    if cursor.rest().is_empty() {
        return Ok(entries);
    }
    Err(Refusal::new(Code::Malformed, tile.entries_path()).got(format!("{} bytes more", cursor.rest().len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_back_and_a_bundle_of_another_number_refused() {
        let mut bundle = Vec::new();
        let written = [&b""[..], b"a", &[7; LONGEST]];
        for entry in written {
            push(&mut bundle, entry).unwrap();
        }
        assert_eq!(parse(Tile::of_tree(0, 0, 3).unwrap(), &bundle).unwrap(), written);
        for width in [2, 4, 256] {
            let refusal = parse(Tile::of_tree(0, 0, width).unwrap(), &bundle).unwrap_err();
            assert_eq!(refusal.code, Code::Malformed, "{width}");
        }
        assert_eq!(push(&mut bundle, &[0; LONGEST + 1]).unwrap_err().code, Code::TooLarge);
    }
}
