//! PE images: what of one firmware measures when it loads it (Microsoft, "Windows Authenticode Portable Executable Signature
//! Format", 2008, "Calculating the PE Image Hash"; PE Format, "Certificate Table"), and its sections.

use crate::chain::{Hasher, Sha384};
use strongroom_wire::bytes::Cursor;
use strongroom_wire::{Refusal, Result};

const WHAT: &str = "PE image";
/// Offset of the PE header's offset in the DOS header.
const PE_OFFSET: usize = 0x3c;
/// Index of the certificate table among the data directories, each of eight bytes.
const CERTIFICATES: u32 = 4;

/// Authenticode digest of a PE image, by SHA-384.
///
/// Everything is hashed but the checksum, the directory entry of the certificate table, and as many bytes at the end as that
/// table has: a signed image has the digest that it had before.
///
/// # Errors
/// `malformed`: no PE image, or one whose sections overlap or are cut off.
pub fn authenticode(image: &[u8]) -> Result<Sha384> {
    let mut digest = Hasher::new();
    for part in Pe::parse(image)?.measured()? {
        digest.update(part);
    }
    Ok(digest.finish())
}

/// A PE image whose headers were read.
pub(crate) struct Pe<'a> {
    image: &'a [u8],
    checksum: usize,
    /// The certificate table's entry, and the size that it states.
    certificates: Option<(usize, usize)>,
    /// SizeOfHeaders.
    headers: usize,
    /// In the order of their headers.
    sections: Vec<Section>,
}

/// A section's header.
struct Section {
    /// Padded with NULs.
    name: [u8; 8],
    /// VirtualSize: bytes that it has in memory.
    memory: usize,
    /// PointerToRawData and SizeOfRawData: where it stands in the file.
    from: usize,
    length: usize,
}

impl<'a> Pe<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// `malformed`: they are not those of a PE image.
    pub(crate) fn parse(image: &'a [u8]) -> Result<Self> {
        let at = |offset: usize| {
            let rest = image.get(offset..).ok_or_else(|| malformed("headers that are cut off"))?;
            Ok::<_, Refusal>(Cursor::new(rest, WHAT))
        };
        if at(0)?.array::<2>()? != *b"MZ" {
            return Err(malformed("no DOS header"));
        }
        let pe = size(at(PE_OFFSET)?.u32_le()?)?;
        let mut cursor = at(pe)?;
        if cursor.array::<4>()? != *b"PE\0\0" {
            return Err(malformed("no PE header"));
        }
        // COFF header: Machine, NumberOfSections, 12 bytes, SizeOfOptionalHeader, Characteristics.
        cursor.take(2)?;
        let count = cursor.u16_le()?;
        cursor.take(12)?;
        let optional_size = usize::from(cursor.u16_le()?);
        let optional = after(pe, 24)?;
        // NumberOfRvaAndSizes, and the directories after it. In PE32+ ImageBase is four bytes longer, where BaseOfData was, and four
        // sizes of stack and heap are twice as long.
        let directories = match at(optional)?.u16_le()? {
            0x10b => after(optional, 92)?,
            0x20b => after(optional, 108)?,
            _ => return Err(malformed("an optional header of neither PE32 nor PE32+")),
        };
        let entry = after(directories, 4 + 8 * 4)?;
        let has_entry = at(directories)?.u32_le()? > CERTIFICATES;
        let certificates = match has_entry {
            true => Some((entry, size(at(after(entry, 4)?)?.u32_le()?)?)),
            false => None,
        };
        let headers = size(at(after(optional, 60)?)?.u32_le()?)?;
        let checksum = after(optional, 64)?;
        let last = certificates.map_or(checksum, |(entry, _)| entry);
        let table = after(optional, optional_size)?;
        if table.min(headers) < after(last, 8)? {
            return Err(malformed("headers shorter than their fields"));
        }
        let mut table = at(table)?;
        let sections = (0..count).map(|_| section(&mut table)).collect::<Result<Vec<_>>>()?;
        Ok(Self { image, checksum, certificates, headers, sections })
    }

    /// The parts that Authenticode hashes, in the order of hashing.
    ///
    /// # Errors
    /// `malformed`: sections overlap or are cut off.
    pub(crate) fn measured(&self) -> Result<Vec<&'a [u8]>> {
        let mut parts = Vec::new();
        let mut add = |from: usize, to: usize| {
            parts.push(self.image.get(from..to).ok_or_else(|| malformed("a part outside the image"))?);
            Ok::<_, Refusal>(())
        };
        // Steps 3 to 7: headers, without the checksum and the certificate table's entry.
        add(0, self.checksum)?;
        let after_checksum = after(self.checksum, 4)?;
        match self.certificates {
            Some((entry, _)) => {
                add(after_checksum, entry)?;
                add(after(entry, 8)?, self.headers)?;
            }
            None => add(after_checksum, self.headers)?,
        }
        // Steps 8 to 13: sections as they stand in the file.
        let (mut hashed, mut end) = (self.headers, self.headers);
        let mut sections: Vec<_> = self.sections.iter().map(|section| (section.from, section.length)).collect();
        sections.retain(|(_, length)| *length != 0);
        sections.sort_unstable();
        for (from, length) in sections {
            if from < end {
                return Err(malformed("sections that overlap"));
            }
            end = after(from, length)?;
            add(from, end)?;
            hashed = after(hashed, length)?;
        }
        // Step 14: what follows, but for the certificate table.
        let certificates = self.certificates.map_or(0, |(_, size)| size);
        let end = self.image.len().checked_sub(certificates);
        let end = end.ok_or_else(|| malformed("a certificate table longer than it"))?;
        if end > hashed {
            add(hashed, end)?;
        }
        Ok(parts)
    }

    /// The names of its sections, without their padding, in the order of their headers.
    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.sections.iter().map(Section::name)
    }

    /// What the section of that name holds in memory, and the file has.
    ///
    /// # Errors
    /// `malformed`: it is not there once, is cut off, or is longer in memory than in the file.
    pub(crate) fn section(&self, name: &str) -> Result<&'a [u8]> {
        let wrong = |got: &str| Refusal::malformed(WHAT, format!("{got} `{name}`"));
        let mut named = self.sections.iter().filter(|section| section.name() == name.as_bytes());
        let section = match (named.next(), named.next()) {
            (Some(section), None) => section,
            (None, _) => return Err(wrong("no section")),
            (Some(_), Some(_)) => return Err(wrong("more than one section")),
        };
        let bytes = self.image.get(section.from..after(section.from, section.length)?);
        let bytes = bytes.and_then(|bytes| bytes.get(..section.memory));
        bytes.ok_or_else(|| wrong("the file has not all of section"))
    }
}

fn malformed(cause: &str) -> Refusal {
    Refusal::malformed(WHAT, cause)
}

fn after(offset: usize, length: usize) -> Result<usize> {
    offset.checked_add(length).ok_or_else(|| malformed("an offset beyond any file"))
}

impl Section {
    fn name(&self) -> &[u8] {
        self.name.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

/// A section header of 40 bytes.
fn section(table: &mut Cursor<'_>) -> Result<Section> {
    let (name, memory) = (table.array()?, size(table.u32_le()?)?);
    table.take(4)?;
    let (length, from) = (size(table.u32_le()?)?, size(table.u32_le()?)?);
    table.take(16)?;
    Ok(Section { name, memory, from, length })
}

fn size(number: u32) -> Result<usize> {
    usize::try_from(number).map_err(|_| malformed("an offset beyond any file"))
}
