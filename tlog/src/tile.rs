//! How the hashes of a tree are stored and served: 256 neighbours to a tile, by a path that never changes.

use core::fmt;
use strongroom_wire::{Code, Refusal, Result};

/// Hashes of a full tile, and entries of a full bundle.
pub(crate) const WIDTH: u64 = 256;
/// Levels of a perfect subtree that one tile has.
pub(crate) const HEIGHT: u8 = 8;
/// The highest level of a tree whose entries 64 bits count.
const TOP: u8 = 7;

/// A tile: the hashes of `width` neighbouring perfect subtrees of `2^(8·level)` leaves each (c2sp.org/tlog-tiles, "Merkle tree").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    level: u8,
    index: u64,
    width: u16,
}

impl Tile {
    /// The tile of `level` with number `index`, as wide as it is in a tree of `size` entries.
    ///
    /// # Errors
    /// `log-proof-invalid`: the tree has none there.
    pub fn of_tree(level: u8, index: u64, size: u64) -> Result<Self> {
        let hashes = size.checked_shr(u32::from(level) * u32::from(HEIGHT)).unwrap_or(0);
        let width = index.checked_mul(WIDTH).and_then(|before| hashes.checked_sub(before)).unwrap_or(0).min(WIDTH);
        match u16::try_from(width) {
            Ok(width @ 1..) if level <= TOP => Ok(Self { level, index, width }),
            _ => Err(Refusal::new(Code::LogProofInvalid, format!("tile {index} of level {level}"))
                .got(format!("a tree of {size} entries"))),
        }
    }

    /// The level; the leaves' is 0.
    pub const fn level(self) -> u8 {
        self.level
    }

    /// The number in its level, from 0.
    pub const fn index(self) -> u64 {
        self.index
    }

    /// How many hashes it has: 1 to 256. One with less than 256 is partial, and only the last of its level is.
    pub const fn width(self) -> u16 {
        self.width
    }

    /// The path of its hashes below the log's prefix: `tile/<level>/<index>[.p/<width>]`.
    pub fn path(self) -> String {
        format!("tile/{}/{}", self.level, Place(self))
    }

    /// The path of the entries below it, where it is of level 0: `tile/entries/<index>[.p/<width>]`.
    pub fn entries_path(self) -> String {
        format!("tile/entries/{}", Place(self))
    }

    /// Parses what [`Self::path`] writes.
    ///
    /// # Errors
    /// `malformed`.
    pub fn parse_path(path: &str) -> Result<Self> {
        let parsed = path.strip_prefix("tile/").and_then(|rest| rest.split_once('/')).and_then(|(level, place)| {
            let level = decimal(level).and_then(|level| u8::try_from(level).ok()).filter(|level| *level <= TOP)?;
            parse_place(level, place)
        });
        parsed.ok_or_else(|| Refusal::new(Code::Malformed, "tile").got(path).want("tile/<level>/<index>[.p/<width>]"))
    }

    /// Parses what [`Self::entries_path`] writes.
    ///
    /// # Errors
    /// `malformed`.
    pub fn parse_entries_path(path: &str) -> Result<Self> {
        let parsed = path.strip_prefix("tile/entries/").and_then(|place| parse_place(0, place));
        parsed
            .ok_or_else(|| Refusal::new(Code::Malformed, "entries").got(path).want("tile/entries/<index>[.p/<width>]"))
    }
}

/// Index and width as in a path: three digits to an element, `x` before all but the last.
struct Place(Tile);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tile { index, width, .. } = self.0;
        let digits = index.to_string();
        let digits = format!("{digits:0>width$}", width = digits.len().next_multiple_of(3));
        let last = digits.len().saturating_sub(3);
        for (at, digit) in digits.char_indices() {
            if at % 3 == 0 {
                f.write_str(match (at, at < last) {
                    (0, false) => "",
                    (0, true) => "x",
                    (_, false) => "/",
                    (_, true) => "/x",
                })?;
            }
            write!(f, "{digit}")?;
        }
        if u64::from(width) < WIDTH { write!(f, ".p/{width}") } else { Ok(()) }
    }
}

fn parse_place(level: u8, place: &str) -> Option<Tile> {
    let (index, width) = match place.split_once(".p/") {
        Some((index, width)) => (index, decimal(width).filter(|width| (1..WIDTH).contains(width))?),
        None => (place, WIDTH),
    };
    let digits: String = index.split('/').map(|element| element.strip_prefix('x').unwrap_or(element)).collect();
    // A path has one form: whatever else the elements could be read as is caught by writing it again.
    let tile = Tile { level, index: digits.parse().ok()?, width: u16::try_from(width).ok()? };
    (Place(tile).to_string() == place).then_some(tile)
}

/// A number without sign or leading zeros.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        // The example of c2sp.org/tlog-tiles: index 1234067.
        for (index, size, path) in [
            (0, 256, "tile/0/000"),
            (0, 1, "tile/0/000.p/1"),
            (1_234_067, u64::MAX, "tile/0/x001/x234/067"),
            (273, 70_000, "tile/0/273.p/112"),
            (1000, u64::MAX, "tile/0/x001/000"),
        ] {
            let tile = Tile::of_tree(0, index, size).unwrap();
            assert_eq!(tile.path(), path);
            assert_eq!(Tile::parse_path(path).unwrap(), tile);
            assert_eq!(Tile::parse_entries_path(&tile.entries_path()).unwrap(), tile);
        }
        assert_eq!(Tile::of_tree(1, 0, 70_000).unwrap().path(), "tile/1/000");
        assert_eq!(Tile::of_tree(2, 0, 70_000).unwrap().path(), "tile/2/000.p/1");
    }

    #[test]
    fn tile_that_the_tree_does_not_have_refused() {
        for (level, index, size) in [(0, 0, 0), (0, 1, 256), (1, 0, 255), (8, 0, u64::MAX), (0, u64::MAX, u64::MAX)] {
            let refusal = Tile::of_tree(level, index, size).unwrap_err();
            assert_eq!(refusal.code, Code::LogProofInvalid, "{level} {index} {size}");
        }
    }

    #[test]
    fn path_of_another_form_refused() {
        for path in [
            "tile/0/0",
            "tile/0/00",
            "tile/0/0000",
            "tile/0/x000/000",
            "tile/0/001/000",
            "tile/0/x001/x000",
            "tile/8/000",
            "tile/00/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/+01",
            "tile/-1/000",
            "tile/0/",
            "tile/0/000/",
            "/tile/0/000",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
            "tile/0/000.p/",
            "tile/entries/000",
        ] {
            assert_eq!(Tile::parse_path(path).unwrap_err().code, Code::Malformed, "{path}");
        }
        assert_eq!(Tile::parse_entries_path("tile/0/000").unwrap_err().code, Code::Malformed);
    }
}
