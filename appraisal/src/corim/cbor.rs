//! CBOR (RFC 8949) as a tree: definite lengths only, no floats, limited in depth and size; written deterministically (§4.2.1).

use minicbor::data::{Tag, Type};
use minicbor::{Decoder, Encoder};
use strongroom_wire::{Refusal, Result, limits};

/// One data item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Integer(i128),
    Bytes(Vec<u8>),
    Text(String),
    Array(Vec<Item>),
    Map(Vec<(Item, Item)>),
    Tag(u64, Box<Item>),
    Bool(bool),
    Null,
}

impl Item {
    pub(super) fn tagged(tag: u64, item: Self) -> Self {
        Self::Tag(tag, Box::new(item))
    }

    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub(super) fn bytes(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }

    /// A map of integer keys.
    pub(super) fn map(entries: impl IntoIterator<Item = (i128, Self)>) -> Self {
        Self::Map(entries.into_iter().map(|(key, item)| (Self::Integer(key), item)).collect())
    }

    /// Reads one item that is all of `bytes`. Refuses everything else with `malformed` or `too-large`.
    pub(super) fn parse(bytes: &[u8], what: &str) -> Result<Self> {
        if bytes.len() > limits::CORIM {
            return Err(Refusal::too_large(what, format!("{} bytes", bytes.len()), limits::CORIM));
        }
        let mut decoder = Decoder::new(bytes);
        let item = Self::read(&mut decoder, limits::CORIM_DEPTH).map_err(|cause| Refusal::malformed(what, cause))?;
        match decoder.position() == bytes.len() {
            true => Ok(item),
            false => Err(Refusal::malformed(what, "bytes after its end")),
        }
    }

    fn read(decoder: &mut Decoder<'_>, depth: usize) -> core::result::Result<Self, String> {
        let depth = depth.checked_sub(1).ok_or("nested too deeply")?;
        let kind = decoder.datatype().map_err(|e| e.to_string())?;
        match kind {
            Type::Bool => decoder.bool().map(Self::Bool),
            Type::Null => decoder.null().map(|()| Self::Null),
            Type::Bytes => decoder.bytes().map(Self::bytes),
            Type::String => decoder.str().map(Self::text),
            Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
                decoder.int().map(|integer| Self::Integer(integer.into()))
            }
            Type::Array => {
                let length = decoder.array().map_err(|e| e.to_string())?.unwrap_or_default();
                // Not reserved beforehand: an item takes at least a byte, and a length alone costs nothing.
                return (0..length)
                    .map(|_| Self::read(decoder, depth))
                    .collect::<core::result::Result<_, _>>()
                    .map(Self::Array);
            }
            Type::Map => {
                let length = decoder.map().map_err(|e| e.to_string())?.unwrap_or_default();
                let mut entries: Vec<(Self, Self)> = Vec::new();
                for _ in 0..length {
                    let key = Self::read(decoder, depth)?;
                    if entries.iter().any(|(other, _)| *other == key) {
                        return Err("one key twice in a map".to_owned());
                    }
                    if entries.len() >= limits::CORIM_MAP {
                        return Err(format!("more than {} entries in a map", limits::CORIM_MAP));
                    }
                    entries.push((key, Self::read(decoder, depth)?));
                }
                return Ok(Self::Map(entries));
            }
            Type::Tag => {
                let tag = decoder.tag().map_err(|e| e.to_string())?;
                return Ok(Self::tagged(tag.as_u64(), Self::read(decoder, depth)?));
            }
            other => return Err(format!("{other}, which is not read here")),
        }
        .map_err(|e| e.to_string())
    }

    /// The item's bytes: shortest forms, maps ordered by the bytes of their keys.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        let length = |items: usize| u64::try_from(items).unwrap_or(u64::MAX);
        let mut encoder = Encoder::new(&mut *out);
        // Writing to a vector cannot fail.
        let _ = match self {
            Self::Integer(integer) => {
                minicbor::data::Int::try_from(*integer).map(|integer| encoder.int(integer).map(drop)).unwrap_or(Ok(()))
            }
            Self::Bytes(bytes) => encoder.bytes(bytes).map(drop),
            Self::Text(text) => encoder.str(text).map(drop),
            Self::Bool(value) => encoder.bool(*value).map(drop),
            Self::Null => encoder.null().map(drop),
            Self::Array(items) => encoder.array(length(items.len())).map(drop),
            Self::Map(entries) => encoder.map(length(entries.len())).map(drop),
            Self::Tag(tag, _) => encoder.tag(Tag::new(*tag)).map(drop),
        };
        match self {
            Self::Array(items) => items.iter().for_each(|item| item.write(out)),
            Self::Tag(_, item) => item.write(out),
            Self::Map(entries) => {
                let mut entries: Vec<_> = entries.iter().map(|(key, item)| (key.encode(), item)).collect();
                entries.sort_by(|(one, _), (other, _)| one.cmp(other));
                for (key, item) in entries {
                    out.extend_from_slice(&key);
                    item.write(out);
                }
            }
            _ => {}
        }
    }
}

/// What is in it, where it is of that kind.
impl Item {
    pub(super) fn untagged(&self, tag: u64) -> Option<&Self> {
        match self {
            Self::Tag(own, item) if *own == tag => Some(item),
            _ => None,
        }
    }

    pub(super) fn entries(&self) -> Option<&[(Self, Self)]> {
        if let Self::Map(entries) = self { Some(entries) } else { None }
    }

    pub(super) fn at(&self, key: i128) -> Option<&Self> {
        self.entries()?.iter().find(|(own, _)| *own == Self::Integer(key)).map(|(_, item)| item)
    }

    pub(super) fn array(&self) -> Option<&[Self]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    pub(super) fn byte_string(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    pub(super) fn string(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn integer(&self) -> Option<i128> {
        if let Self::Integer(integer) = self { Some(*integer) } else { None }
    }

    pub(super) fn unsigned(&self) -> Option<u64> {
        u64::try_from(self.integer()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_wire::Code;

    #[test]
    fn item_as_long_as_is_read_accepted_and_one_byte_more_refused() {
        // A byte string of four bytes of length (RFC 8949 §3).
        let item = |length: usize| {
            let content = u32::try_from(length - 5).unwrap();
            let mut bytes = vec![0x5a];
            bytes.extend(content.to_be_bytes());
            bytes.resize(length, 0);
            Item::parse(&bytes, "item").map(|item| item.byte_string().map(<[u8]>::len))
        };
        assert_eq!(item(limits::CORIM).unwrap(), Some(limits::CORIM - 5));
        assert_eq!(item(limits::CORIM + 1).unwrap_err().code, Code::TooLarge);
    }
}
