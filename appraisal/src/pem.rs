//! Text with PEM blocks in it.

use strongroom_wire::{Refusal, Result};

/// The blocks of a PEM text (RFC 7468), each with its label. Text between blocks is passed over.
pub(crate) fn read_pem(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let text = core::str::from_utf8(bytes).map_err(|e| Refusal::malformed("PEM", e))?;
    let mut blocks = Vec::new();
    let mut block: Option<String> = None;
    for line in text.lines().map(str::trim_end) {
        if line.starts_with("-----BEGIN ") {
            block = Some(String::new());
        }
        if let Some(open) = &mut block {
            open.push_str(line);
            open.push('\n');
        }
        if line.starts_with("-----END ") {
            let whole = block.take().ok_or_else(|| Refusal::malformed("PEM", "END without BEGIN"))?;
            let (label, der) = der::pem::decode_vec(whole.as_bytes()).map_err(|e| Refusal::malformed("PEM", e))?;
            blocks.push((label.to_owned(), der));
        }
    }
    match block {
        None => Ok(blocks),
        Some(_) => Err(Refusal::malformed("PEM", "BEGIN without END")),
    }
}
