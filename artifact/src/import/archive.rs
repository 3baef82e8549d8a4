//! Tar archives (POSIX.1-2017, "pax Interchange Format"): plain files and directories alone, and no metadata of theirs but name and
//! size.

use super::Import;
use std::io::{self, ErrorKind, Read};
use strongroom_wire::{Code, Refusal, Result};

const BLOCK: usize = 512;
/// A pax header or a GNU long name: a path, and what tools say beside it.
const EXTENDED: u64 = 64 * 1024;

/// What stands before an entry and counts for it in place of what its own header says.
#[derive(Default)]
struct Extended {
    path: Option<String>,
    size: Option<u64>,
}

/// The fields of a header block that are looked at.
struct Header {
    name: String,
    size: u64,
    kind: u8,
}

/// Unpacks `archive`.
pub(super) fn unpack(mut archive: impl Read, into: &mut Import) -> Result<()> {
    let mut extended = Extended::default();
    loop {
        let mut block = [0; BLOCK];
        read(&mut archive, &mut block)?;
        let Some(header) = parse(&block)? else {
            return verify_end(archive);
        };
        match header.kind {
            b'x' => {
                let said = read_extended(&mut archive, header.size)?;
                for (key, value) in records(&said)? {
                    match key {
                        "path" => extended.path = Some(value.to_owned()),
                        "size" => extended.size = Some(value.parse().map_err(|e| malformed("size").because(e))?),
                        other if other == "linkpath" || other.starts_with("GNU.sparse.") => {
                            return Err(not_plain(other));
                        }
                        _ => {}
                    }
                }
            }
            // What counts for all entries that follow: times and comments are passed over, as everywhere.
            b'g' => {
                let said = read_extended(&mut archive, header.size)?;
                if let Some((key, _)) =
                    records(&said)?.into_iter().find(|(key, _)| ["path", "size", "linkpath"].contains(key))
                {
                    return Err(not_plain(&format!("a global `{key}`")));
                }
            }
            b'L' => {
                let name = read_extended(&mut archive, header.size)?;
                let name = name.strip_suffix(b"\0").unwrap_or(&name);
                extended.path = Some(String::from_utf8(name.to_vec()).map_err(|e| malformed("long name").because(e))?);
            }
            b'0' | 0 => {
                let Extended { path, size } = core::mem::take(&mut extended);
                let (path, size) = (path.unwrap_or(header.name), size.unwrap_or(header.size));
                let mut file = into.create(relative(&path), size)?;
                let copied = io::copy(&mut archive.by_ref().take(size), &mut file);
                if copied.map_err(|e| Refusal::io(&path, &e))? != size {
                    return Err(malformed("file").got("less than its header says"));
                }
                skip_padding(&mut archive, size)?;
            }
            b'5' if header.size == 0 => extended = Extended::default(),
            other => return Err(not_plain(&format!("an entry of type {}", other.escape_ascii()))),
        }
    }
}

/// Archives of a directory call what is in it `./<path>`.
fn relative(path: &str) -> &str {
    path.trim_start_matches("./")
}

/// `None` at the end: a block of zeros.
fn parse(block: &[u8; BLOCK]) -> Result<Option<Header>> {
    if block.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let field = |from: usize, length: usize| block.get(from..from.saturating_add(length)).unwrap_or_default();
    // The sum of all bytes, its own counted as spaces.
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    let own: u64 = field(148, 8).iter().map(|byte| u64::from(*byte)).sum();
    if sum - own + 8 * u64::from(b' ') != number(field(148, 8))? {
        return Err(malformed("checksum of a header"));
    }
    let [kind] = *field(156, 1) else { return Err(malformed("header")) };
    let mut name = text(field(0, 100))?;
    if field(257, 6) == b"ustar\0" {
        let prefix = text(field(345, 155))?;
        if !prefix.is_empty() {
            name = format!("{prefix}/{name}");
        }
    }
    Ok(Some(Header { name, size: number(field(124, 12))?, kind }))
}

/// Up to the first NUL.
fn text(field: &[u8]) -> Result<String> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let text = field.get(..end).unwrap_or_default();
    String::from_utf8(text.to_vec()).map_err(|e| malformed("name").because(e))
}

/// Octal digits among spaces and NULs; or, as GNU has it for what they have no room for, a big-endian number behind 0x80.
fn number(field: &[u8]) -> Result<u64> {
    if let [0x80, binary @ ..] = field {
        return binary.iter().try_fold(0_u64, |sum, byte| {
            sum.checked_mul(256).map(|sum| sum + u64::from(*byte)).ok_or_else(|| malformed("number"))
        });
    }
    let digits = field.iter().filter(|byte| !matches!(byte, b' ' | 0));
    digits.into_iter().try_fold(0_u64, |sum, digit| match digit {
        b'0'..=b'7' => Ok(sum.saturating_mul(8).saturating_add(u64::from(digit - b'0'))),
        _ => Err(malformed("number").got(digit.escape_ascii())),
    })
}

fn read_extended(archive: &mut impl Read, size: u64) -> Result<Vec<u8>> {
    if size > EXTENDED {
        return Err(Refusal::too_large("header of an archive's entry", size, EXTENDED));
    }
    let mut content = Vec::new();
    archive.by_ref().take(size).read_to_end(&mut content).map_err(|e| Refusal::io("archive", &e))?;
    if u64::try_from(content.len()).ok() != Some(size) {
        return Err(malformed("header").got("less than it says"));
    }
    skip_padding(archive, size)?;
    Ok(content)
}

/// `<length> <key>=<value>\n`, of which the length counts everything.
fn records(mut content: &[u8]) -> Result<Vec<(&str, &str)>> {
    let wrong = || malformed("pax record");
    let mut records = Vec::new();
    while !content.is_empty() {
        let space = content.iter().position(|byte| *byte == b' ').ok_or_else(wrong)?;
        let length = content.get(..space).and_then(|digits| core::str::from_utf8(digits).ok()?.parse::<usize>().ok());
        let (record, rest) = length.and_then(|length| content.split_at_checked(length)).ok_or_else(wrong)?;
        let record = record.get(space.saturating_add(1)..).and_then(|record| record.strip_suffix(b"\n"));
        let record = record.and_then(|record| core::str::from_utf8(record).ok()).ok_or_else(wrong)?;
        records.push(record.split_once('=').ok_or_else(wrong)?);
        content = rest;
    }
    Ok(records)
}

fn read(archive: &mut impl Read, block: &mut [u8]) -> Result<()> {
    archive.read_exact(block).map_err(|e| match e.kind() {
        ErrorKind::UnexpectedEof => malformed("archive").got("its end").want("two blocks of zeros before"),
        _ => Refusal::io("archive", &e),
    })
}

fn skip_padding(archive: &mut impl Read, size: u64) -> Result<()> {
    let block = u64::try_from(BLOCK).unwrap_or(u64::MAX);
    let mut padding = [0; BLOCK];
    let length = usize::try_from((block - size % block) % block).unwrap_or_default();
    padding.get_mut(..length).map_or(Ok(()), |padding| read(archive, padding))
}

/// Nothing but zeros behind the first block of them.
fn verify_end(mut archive: impl Read) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match archive.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) if buffer.get(..read).unwrap_or_default().iter().all(|byte| *byte == 0) => {}
            Ok(_) => return Err(malformed("archive").got("more behind its end")),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(Refusal::io("archive", &e)),
        }
    }
}

fn malformed(what: &str) -> Refusal {
    Refusal::malformed(what.to_owned(), "not as an archive has it")
}

fn not_plain(got: &str) -> Refusal {
    let got: String = got.chars().take(100).collect();
    Refusal::new(Code::ModelUnsupported, "archive of a model").got(got).want("plain files and directories")
}
