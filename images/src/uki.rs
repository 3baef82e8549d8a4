//! Kernel, initramfs and command line as one program for firmware that boots from a disk: a unified kernel image (UAPI.5). It is systemd-stub
//! with sections behind its own (PE Format, "Section Table"), and the same parts give the same bytes.

use crate::image::Image;
use crate::{measured, tool};
use clap::Args;
use std::path::PathBuf;
use strongroom_wire::bytes::Cursor;
use strongroom_wire::{Refusal, Result, limits};

/// The image's file in its folder.
pub(crate) const FILE: &str = "strongroom.efi";
/// systemd-stub there, for images with another command line.
pub(crate) const STUB: &str = "linuxx64.efi.stub";

const WHAT: &str = "systemd-stub";
/// Offset of the PE header's offset in the DOS header.
const PE_OFFSET: usize = 0x3c;
/// Bytes of a section's header.
const HEADER: usize = 40;
/// Characteristics of a section to read: of code, or of data that it begins with.
const CODE: u32 = 0x4000_0020;
const DATA: u32 = 0x4000_0040;
/// Bit of DllCharacteristics: no page is both written and run.
const NX_COMPATIBLE: u16 = 0x100;

/// What makes one of an image that was built.
#[derive(Args)]
pub(crate) struct Unify {
    /// The image's folder.
    #[arg(long, value_name = "DIR", default_value = "target/image")]
    image: PathBuf,
    /// What the kernel is told besides.
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// The file that is written. What it puts into a TPM is written beside it, with the ending `pcrs.toml`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Writes what is asked for, and what a machine measures that boots it.
///
/// # Errors
/// `io`: the folder has not all of an image; `malformed`.
pub(crate) fn unify(arguments: &Unify) -> Result<()> {
    tool::write(&arguments.out, of_image(&Image::at(&arguments.image), &arguments.append)?)?;
    measured::pcrs(&arguments.out)
}

/// The image of an image's folder, whose kernel is told `more` after what it is told anyway.
///
/// # Errors
/// `io`: the folder has not all of an image; `malformed`: no kernel, or no stub.
fn of_image(image: &Image, more: &str) -> Result<Vec<u8>> {
    let [stub, kernel, archive] = [STUB, "vmlinuz", "initramfs.cpio"].map(|name| tool::read(&image.path(name)));
    let line = [image.command_line()?.as_str(), more].join(" ");
    unified(&stub?, &kernel?, &archive?, line.trim())
}

/// The image of these parts.
///
/// # Errors
/// `malformed`: no kernel, or no stub.
pub(crate) fn unified(stub: &[u8], kernel: &[u8], archive: &[u8], command_line: &str) -> Result<Vec<u8>> {
    if command_line.len() >= limits::COMMAND_LINE {
        return Err(Refusal::too_large("command line", command_line.len(), limits::COMMAND_LINE - 1));
    }
    let system = format!(
        "ID=strongroom\nNAME=Strongroom\nPRETTY_NAME=\"Strongroom guest\"\nVERSION_ID={}\n",
        env!("CARGO_PKG_VERSION")
    );
    let release = release(kernel)?;
    let sections: [(&str, &[u8]); 5] = [
        (".osrel", system.as_bytes()),
        (".cmdline", command_line.as_bytes()),
        (".uname", release.as_bytes()),
        (".initrd", archive),
        (".linux", kernel),
    ];
    let stub = Stub::parse(stub)?;
    // What the stub vouches for it cannot keep for a kernel that does not.
    let keeps = Stub::headers(kernel)?.protected;
    stub.with(&sections, keeps)
}

/// The kernel's release, `uname -r` (Linux, Documentation/arch/x86/boot.rst, `kernel_version`).
fn release(kernel: &[u8]) -> Result<String> {
    let none = || Refusal::malformed("kernel", "no release in its header");
    let mut header = Cursor::new(kernel.get(0x20e..).ok_or_else(none)?, "kernel");
    let at = usize::from(header.u16_le()?).saturating_add(0x200);
    let text = kernel.get(at..).unwrap_or_default().split(|byte| !byte.is_ascii_graphic()).next().unwrap_or_default();
    Some(String::from_utf8_lossy(text).into_owned()).filter(|text| !text.is_empty()).ok_or_else(none)
}

/// A stub and where its headers have what changes.
struct Stub<'a> {
    image: &'a [u8],
    headers: Headers,
    /// Of its last section: where it ends in memory.
    end: u32,
}

/// The headers of a PE32+ image, as far as they count here.
struct Headers {
    pe: usize,
    optional: usize,
    sections: u16,
    /// Offset of the table of sections, and where headers end.
    table: usize,
    room: usize,
    alignment: u32,
    file_alignment: u32,
    initialised: u32,
    /// Size of the certificate table.
    certificates: u32,
    characteristics: u16,
    /// Whether no page of it is both written and run.
    protected: bool,
}

impl<'a> Stub<'a> {
    fn headers(image: &[u8]) -> Result<Headers> {
        let at = |offset: usize| {
            let rest = image.get(offset..).ok_or_else(|| malformed("headers that are cut off"))?;
            Ok::<_, Refusal>(Cursor::new(rest, WHAT))
        };
        let pe = size(at(PE_OFFSET)?.u32_le()?)?;
        let optional = after(pe, 24)?;
        if at(0)?.array::<2>()? != *b"MZ" || at(pe)?.array::<4>()? != *b"PE\0\0" || at(optional)?.u16_le()? != 0x20b {
            return Err(malformed("no PE32+ image"));
        }
        let field = |offset: usize| at(after(optional, offset)?)?.u32_le();
        let characteristics = at(after(optional, 70)?)?.u16_le()?;
        Ok(Headers {
            pe,
            optional,
            sections: at(after(pe, 6)?)?.u16_le()?,
            table: after(optional, usize::from(at(after(pe, 20)?)?.u16_le()?))?,
            room: size(field(60)?)?,
            alignment: field(32)?,
            file_alignment: field(36)?,
            initialised: field(8)?,
            certificates: field(112 + 4 * 8 + 4)?,
            characteristics,
            protected: characteristics & NX_COMPATIBLE != 0,
        })
    }

    fn parse(image: &'a [u8]) -> Result<Self> {
        let headers = Self::headers(image)?;
        if headers.certificates != 0 {
            return Err(malformed("it is signed, and no signature would hold"));
        }
        if !headers.alignment.is_power_of_two() || !headers.file_alignment.is_power_of_two() {
            return Err(malformed("alignments that are no powers of two"));
        }
        let last = headers.table.saturating_add(HEADER.saturating_mul(usize::from(headers.sections).saturating_sub(1)));
        let last = image.get(last..).ok_or_else(|| malformed("headers that are cut off"))?;
        let mut last = Cursor::new(last, WHAT);
        last.take(8)?;
        let (memory, address, length, from) = (last.u32_le()?, last.u32_le()?, last.u32_le()?, last.u32_le()?);
        if from.checked_add(length).map(size).transpose()? != Some(image.len()) {
            return Err(malformed("bytes after its last section"));
        }
        let end = address.checked_add(memory).ok_or_else(too_long)?;
        Ok(Self { image, headers, end })
    }

    /// The stub with these sections behind its own.
    fn with(&self, sections: &[(&str, &[u8])], protected: bool) -> Result<Vec<u8>> {
        let Headers { pe, optional, table, alignment, file_alignment, .. } = self.headers;
        let (mut image, mut end, mut initialised) = (self.image.to_vec(), self.end, self.headers.initialised);
        let mut count = self.headers.sections;
        for (name, content) in sections {
            let memory = u32::try_from(content.len()).map_err(|_| too_long())?;
            let address = end.checked_next_multiple_of(alignment).ok_or_else(too_long)?;
            let length = memory.checked_next_multiple_of(file_alignment).ok_or_else(too_long)?;
            let from = u32::try_from(image.len()).map_err(|_| too_long())?;
            let header = table.saturating_add(HEADER.saturating_mul(usize::from(count)));
            if header.saturating_add(HEADER) > self.headers.room {
                return Err(malformed("no room for the header of a section"));
            }
            let kind = if *name == ".linux" { CODE } else { DATA };
            // VirtualSize, VirtualAddress, SizeOfRawData, PointerToRawData, 12 bytes of relocations and line numbers, Characteristics.
            let numbers = [memory, address, length, from, 0, 0, 0, kind].map(u32::to_le_bytes);
            put(&mut image, header, &[0; HEADER])?;
            put(&mut image, header, name.as_bytes())?;
            put(&mut image, header.saturating_add(8), numbers.as_flattened())?;
            image.extend_from_slice(content);
            image.resize(size(from.checked_add(length).ok_or_else(too_long)?)?, 0);
            count = count.saturating_add(1);
            initialised = initialised.checked_add(memory).ok_or_else(too_long)?;
            end = address.checked_add(memory).ok_or_else(too_long)?;
        }
        let whole = end.checked_next_multiple_of(alignment).ok_or_else(too_long)?;
        put(&mut image, after(pe, 6)?, &count.to_le_bytes())?;
        put(&mut image, after(optional, 8)?, &initialised.to_le_bytes())?;
        put(&mut image, after(optional, 56)?, &whole.to_le_bytes())?;
        // No firmware looks at the checksum of a program.
        put(&mut image, after(optional, 64)?, &[0; 4])?;
        if !protected {
            put(&mut image, after(optional, 70)?, &(self.headers.characteristics & !NX_COMPATIBLE).to_le_bytes())?;
        }
        Ok(image)
    }
}

fn put(image: &mut [u8], offset: usize, bytes: &[u8]) -> Result<()> {
    let place = image.get_mut(offset..after(offset, bytes.len())?);
    place.ok_or_else(|| malformed("headers that are cut off"))?.copy_from_slice(bytes);
    Ok(())
}

fn malformed(cause: &str) -> Refusal {
    Refusal::malformed(WHAT, cause)
}

fn too_long() -> Refusal {
    Refusal::too_large("unified kernel image", "more than an address has", u32::MAX)
}

fn after(offset: usize, length: usize) -> Result<usize> {
    offset.checked_add(length).ok_or_else(|| malformed("an offset beyond any file"))
}

fn size(number: u32) -> Result<usize> {
    usize::try_from(number).map_err(|_| malformed("an offset beyond any file"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_wire::Code;

    const TABLE: usize = 0x148;
    const ROOM: usize = 0x400;

    /// A PE32+ image with one section of 32 bytes, and room for so many headers.
    fn pe(room: usize) -> Vec<u8> {
        let mut image = vec![0; ROOM + 0x200];
        let mut put = |at: usize, number: u32| image[at..at + 4].copy_from_slice(&number.to_le_bytes());
        put(0x3c, 0x40);
        put(0x40, u32::from_le_bytes(*b"PE\0\0"));
        put(0x46, 1);
        put(0x54, 240);
        put(0x58, 0x20b);
        put(0x58 + 8, 32);
        put(0x58 + 32, 0x1000);
        put(0x58 + 36, 0x200);
        put(0x58 + 56, 0x2000);
        put(0x58 + 60, u32::try_from(TABLE + room * HEADER).unwrap());
        put(0x58 + 64, 7);
        put(0x58 + 68, 0x0100_000a);
        for (at, number) in [(8, 32), (12, 0x1000), (16, 0x200), (20, u32::try_from(ROOM).unwrap())] {
            put(TABLE + at, number);
        }
        image[..2].copy_from_slice(b"MZ");
        image
    }

    /// The same as a kernel that calls itself 6.12.
    fn kernel() -> Vec<u8> {
        let mut kernel = pe(1);
        kernel[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        kernel[0x300..0x308].copy_from_slice(b"6.12 (x)");
        kernel
    }

    fn number(image: &[u8], at: usize) -> usize {
        usize::try_from(u32::from_le_bytes(image[at..at + 4].try_into().unwrap())).unwrap()
    }

    #[test]
    fn sections_stand_behind_the_stub_s_own_with_their_length_in_memory_and_nothing_else_changes() {
        let (stub, kernel) = (pe(6), kernel());
        let image = unified(&stub, &kernel, b"archive", "quiet").unwrap();
        assert_eq!(image, unified(&stub, &kernel, b"archive", "quiet").unwrap());
        assert_eq!(number(&image, 0x46) & 0xffff, 6);
        let contents: Vec<_> = (1..6)
            .map(|index| {
                let header = TABLE + index * HEADER;
                let name = String::from_utf8(image[header..header + 8].to_vec()).unwrap();
                let (memory, address, length, from) = (
                    number(&image, header + 8),
                    number(&image, header + 12),
                    number(&image, header + 16),
                    number(&image, header + 20),
                );
                assert_eq!((address % 0x1000, length % 0x200, from % 0x200), (0, 0, 0), "{name}");
                assert!(address > number(&image, header - HEADER + 12), "{name}");
                assert!(image[from + memory..from + length].iter().all(|byte| *byte == 0), "{name}");
                (name.trim_end_matches('\0').to_owned(), image[from..from + memory].to_vec())
            })
            .collect();
        let of = |name: &str| contents.iter().find(|(it, _)| it == name).unwrap().1.as_slice();
        assert_eq!([of(".cmdline"), of(".uname"), of(".initrd")], [&b"quiet"[..], b"6.12", b"archive"]);
        assert_eq!(of(".linux"), kernel);
        assert!(of(".osrel").starts_with(b"ID=strongroom\n"));
        let memory: usize = contents.iter().map(|(_, content)| content.len()).sum();
        assert_eq!(number(&image, 0x58 + 8), 32 + memory);
        assert_eq!(number(&image, 0x58 + 56), 0x7000);
        assert_eq!(image[ROOM..ROOM + 0x200], stub[ROOM..]);
    }

    #[test]
    fn protection_of_pages_is_kept_where_the_kernel_has_it_too() {
        let of = |kernel: &[u8]| number(&unified(&pe(6), kernel, b"archive", "quiet").unwrap(), 0x58 + 68) >> 16;
        let mut other = kernel();
        assert_eq!(of(&other), 0x100);
        other[0x58 + 71] = 0;
        assert_eq!(of(&other), 0);
    }

    #[test]
    fn stub_without_room_signed_or_with_bytes_at_its_end_refused() {
        let of = |stub: &[u8]| unified(stub, &kernel(), b"archive", "quiet").map(drop).map_err(|refusal| refusal.code);
        assert_eq!(of(&pe(6)), Ok(()));
        assert_eq!(of(&pe(5)), Err(Code::Malformed));
        let mut signed = pe(6);
        signed[0x58 + 112 + 36] = 8;
        assert_eq!(of(&signed), Err(Code::Malformed));
        assert_eq!(of(&[pe(6), vec![0]].concat()), Err(Code::Malformed));
        let mut narrow = pe(6);
        narrow[0x59] = 1;
        assert_eq!(of(&narrow), Err(Code::Malformed));
        for length in [0, 0x40, 0x100, TABLE] {
            assert_eq!(of(&pe(6)[..length]), Err(Code::Malformed), "{length:#x}");
        }
    }

    #[test]
    fn command_line_that_the_kernel_would_cut_refused() {
        let of = |length| {
            let line = "x".repeat(length);
            unified(&pe(6), &kernel(), b"archive", &line).map(drop).map_err(|refusal| refusal.code)
        };
        assert_eq!([of(2047), of(2048)], [Ok(()), Err(Code::TooLarge)]);
    }

    #[test]
    fn kernel_without_a_release_refused() {
        let mut nameless = kernel();
        nameless[0x300] = 0;
        assert_eq!(unified(&pe(6), &nameless, b"archive", "quiet").unwrap_err().code, Code::Malformed);
    }
}
