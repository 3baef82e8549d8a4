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
            // A block whose END is damaged would vanish without a word.
            if block.replace((label, String::new())).is_some() {
                return Err(Refusal::malformed("PEM", "BEGIN before the END of another block"));
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_wire::Code;

    #[test]
    fn two_blocks_accepted_and_one_whose_end_is_damaged_refused() {
        let text = "-----BEGIN A-----\nAQID\n-----END A-----\n-----BEGIN B-----\nBAUG\n-----END B-----\n";
        let blocks = read_pem(text.as_bytes()).unwrap();
        assert_eq!(blocks, [("A".to_owned(), vec![1, 2, 3]), ("B".to_owned(), vec![4, 5, 6])]);
        for damaged in ["", "----END A-----", "-----BEGIN A-----"] {
            let text = text.replace("-----END A-----", damaged);
            assert_eq!(read_pem(text.as_bytes()).unwrap_err().code, Code::Malformed, "{damaged}");
        }
    }
}
