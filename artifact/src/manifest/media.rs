//! ModelPack's media types, and which file is of which.

use strongroom_wire::{Code, Refusal, Result};

/// ocicrypt's convention for a blob that is not to be loaded as what it is called before the suffix.
const ENCRYPTED: &str = "+encrypted";
const WEIGHT: &str = "application/vnd.cncf.model.weight.v1.raw";
const CONFIG: &str = "application/vnd.cncf.model.weight.config.v1.raw";
const DOC: &str = "application/vnd.cncf.model.doc.v1.raw";
const CODE: &str = "application/vnd.cncf.model.code.v1.raw";
const DATASET: &str = "application/vnd.cncf.model.dataset.v1.raw";

/// Whether a layer of this media type is sealed. Archives and unknown types are refused with `model-unsupported`.
pub(super) fn parse(media_type: &str) -> Result<bool> {
    let plain = media_type.strip_suffix(ENCRYPTED).unwrap_or(media_type);
    if [WEIGHT, CONFIG, DOC, CODE, DATASET].contains(&plain) {
        return Ok(plain.len() < media_type.len());
    }
    let shown: String = media_type.chars().take(200).collect();
    Err(Refusal::new(Code::ModelUnsupported, "media type of a layer").got(shown).want("a raw file of ModelPack's"))
}

/// The media type of the file at `path`.
pub(super) fn of(path: &str, sealed: bool) -> String {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    let extension = name.rsplit_once('.').map(|(_, extension)| extension).unwrap_or_default();
    let kind = match extension {
        "onnx" | "onnx_data" | "safetensors" | "bin" | "gguf" | "pt" | "pth" => WEIGHT,
        "json" | "jsonl" | "txt" | "jinja" | "model" | "yaml" | "yml" | "toml" => CONFIG,
        "py" => CODE,
        _ => DOC,
    };
    if sealed { format!("{kind}{ENCRYPTED}") } else { kind.to_owned() }
}

/// What a blob is called where files stand side by side: `<path>`, or `<path>.sealed`, and the part behind it where there
/// are several (`<path>.sealed.2`, `<path>.part.2`).
pub fn stored_name(path: &str, part: u32, parts: u32, sealed: bool) -> String {
    match (sealed, parts) {
        (true, 1) => format!("{path}.sealed"),
        (true, _) => format!("{path}.sealed.{part}"),
        (false, 1) => path.to_owned(),
        (false, _) => format!("{path}.part.{part}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_the_types_of_their_extensions() {
        for (path, want) in [
            ("model.onnx", WEIGHT),
            ("a/model.onnx_data", WEIGHT),
            ("M.SAFETENSORS", WEIGHT),
            ("tokenizer.json", CONFIG),
            ("spiece.model", CONFIG),
            ("LICENSE", DOC),
            ("README.md", DOC),
            ("model.sig", DOC),
            ("a.json/b", DOC),
        ] {
            assert_eq!(of(path, false), want, "{path}");
            assert!(!parse(&of(path, false)).unwrap());
            assert!(parse(&of(path, true)).unwrap());
        }
    }

    #[test]
    fn archives_and_strangers_refused() {
        for bad in [
            "application/vnd.cncf.model.weight.v1.tar",
            "application/vnd.cncf.model.weight.v1.raw+encrypted+encrypted",
            "application/octet-stream",
            "+encrypted",
            "",
        ] {
            assert_eq!(parse(bad).unwrap_err().code, Code::ModelUnsupported, "{bad}");
        }
    }

    #[test]
    fn stored_names_of_parts_differ() {
        assert_eq!(stored_name("a", 1, 1, false), "a");
        assert_eq!(stored_name("a", 2, 3, false), "a.part.2");
        assert_eq!(stored_name("a", 1, 1, true), "a.sealed");
        assert_eq!(stored_name("a", 2, 3, true), "a.sealed.2");
    }
}
