//! Text with PEM blocks in it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use strongroom_wire::{Refusal, Result};

/// The blocks of a PEM text (RFC 7468), each with its label. Text between blocks is passed over; lines may be of any length.
pub(crate) fn read_pem(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let text = core::str::from_utf8(bytes).map_err(|e| Refusal::malformed("PEM", e))?;
    let mut blocks = Vec::new();
    let mut block: Option<(&str, String)> = None;
    for line in text.lines().map(str::trim_end) {
        if let Some(label) = boundary(line, "-----BEGIN ")? {
            block = Some((label, String::new()));
        } else if let Some(end) = boundary(line, "-----END ")? {
            let (label, base64) = block.take().ok_or_else(|| Refusal::malformed("PEM", "END without BEGIN"))?;
            if label != end {
                return Err(Refusal::malformed("PEM", "END of another label").got(end).want(label));
            }
            // What PEM is read here is public: how long it takes tells nothing.
            let der = STANDARD.decode(base64).map_err(|e| Refusal::malformed("PEM", e))?;
            blocks.push((label.to_owned(), der));
        } else if let Some((_, base64)) = &mut block {
            base64.push_str(line);
        }
    }
    match block {
        None => Ok(blocks),
        Some(_) => Err(Refusal::malformed("PEM", "BEGIN without END")),
    }
}

/// The label of a line that begins so.
fn boundary<'a>(line: &'a str, begins: &str) -> Result<Option<&'a str>> {
    let Some(rest) = line.strip_prefix(begins) else { return Ok(None) };
    rest.strip_suffix("-----").map(Some).ok_or_else(|| Refusal::malformed("PEM", "a boundary without its end"))
}
