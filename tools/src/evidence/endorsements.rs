//! Endorsements from files and folders.

use crate::files;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use strongroom_appraisal::Endorsements;
use strongroom_wire::snp::{CertificateKind, CertificateTable, TableEntry};
use strongroom_wire::{Refusal, Result, limits};

/// Names that only endorsements have. `.json` and `.pem` have other uses too: there the content decides.
const EXTENSIONS: &[&str] = &["der", "cer", "crt", "crl"];

/// The certificate table where Linux hands out evidence (configfs-tsm, `Documentation/ABI/testing/configfs-tsm-report`).
const AUXBLOB: &str = "auxblob";

/// Reads files and folders. In a folder, files that are recognisably something else are passed over; one that is broken is
/// refused like one that was named, or a revocation list could vanish by a flipped bit.
pub(super) fn load(paths: &[PathBuf]) -> Result<Endorsements> {
    let mut endorsements = Endorsements::new();
    for path in paths {
        if !path.is_dir() {
            add(&mut endorsements, path, &files::read(path, limits::ENDORSEMENT)?)?;
            continue;
        }
        let io = |e: std::io::Error| Refusal::io(path.display(), &e);
        let mut entries = std::fs::read_dir(path).map_err(io)?.collect::<std::io::Result<Vec<_>>>().map_err(io)?;
        entries.sort_by_key(DirEntry::file_name);
        for file in entries.iter().map(DirEntry::path).filter(|file| file.is_file()) {
            let bytes = files::read(&file, limits::ENDORSEMENT)?;
            if is_endorsement(&file, &bytes) {
                add(&mut endorsements, &file, &bytes)?;
            }
        }
    }
    Ok(endorsements)
}

fn add(endorsements: &mut Endorsements, path: &Path, bytes: &[u8]) -> Result<()> {
    let within = |refusal: Refusal| refusal.within(format!("`{}`", path.display()));
    // An empty table is a valid one, and so would be a list of which nothing is left. Linux' own may be empty.
    if !is_auxblob(path) && CertificateTable::parse(bytes).is_ok_and(|table| table.entries.is_empty()) {
        return Err(within(Refusal::malformed("endorsement", "neither a certificate nor a list in it")));
    }
    endorsements.add(bytes).map_err(within)
}

fn is_auxblob(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == AUXBLOB)
}

/// Whether a file is meant as an endorsement, whole or broken: by its name, or by how its content begins.
fn is_endorsement(path: &Path, bytes: &[u8]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
    let is = |one: &str| extension.as_deref() == Some(one);
    let text = bytes.trim_ascii_start();
    if EXTENSIONS.iter().any(|known| is(known)) || is_auxblob(path) {
        return true;
    }
    if is("pem") || text.starts_with(b"-----BEGIN") {
        return !is_key(text);
    }
    if text.starts_with(b"{") {
        // Of all JSON, only Intel's collateral has this member.
        return bytes.windows(COLLATERAL.len()).any(|part| part == COLLATERAL);
    }
    // A SEQUENCE (X.690 §8.9) of a certificate's length is not ASCII; a text that begins with `0` is.
    let is_der = bytes.first() == Some(&0x30) && !bytes.is_ascii();
    // Zeros read as a table too, those of a report's first fields included.
    let is_known = |entry: &TableEntry| !matches!(entry.kind, CertificateKind::Other(_));
    is_der || CertificateTable::parse(bytes).is_ok_and(|table| table.entries.iter().any(is_known))
}

const COLLATERAL: &[u8] = b"\"tcb_info\"";

/// Whether the first block of PEM is a key, private or public (RFC 7468 §§10 to 13).
fn is_key(text: &[u8]) -> bool {
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    first.starts_with(b"-----BEGIN ") && first.trim_ascii_end().ends_with(b" KEY-----")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_endorsement_is_one_and_other_files_are_none() {
        let is = |name: &str, bytes: &[u8]| is_endorsement(Path::new(name), bytes);
        for (name, bytes) in [
            ("root.crl", &b"not a list"[..]),
            ("VCEK.DER", b""),
            ("auxblob", b"x"),
            ("any", b"-----BEGIN X509 CRL-----\nbroken"),
            ("any", b"\n-----BEGIN CERTIFICATE-----\n"),
            ("chain.pem", b"-----BEGXN CERTIFICATE-----\n"),
            ("any", &[0x30, 0x82, 0xff]),
            ("any", b"{ \"tcb_info\": broken"),
        ] {
            assert!(is(name, bytes), "{name}");
        }
        for (name, bytes) in [
            ("report.bin", &[2, 0, 0, 0][..]),
            ("report.bin", &[[2; 16], [0; 16], [0; 16]].concat()),
            ("README.md", b"# read"),
            ("index.json", b"{}"),
            ("key.hex", b"0a0b"),
            ("signer.pem", b"-----BEGIN PUBLIC KEY-----\nMFkw"),
            ("any", b"-----BEGIN EC PRIVATE KEY-----\r\n"),
            ("empty", b""),
        ] {
            assert!(!is(name, bytes), "{name}");
        }
    }
}
