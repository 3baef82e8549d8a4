//! The elements of a tensor as JSON: nested as its shape says or flat, in row-major order.
//!
//! Memory for elements is taken once and for no more of them than the text has room for. No error quotes an element.

use crate::inference::tensor::{Data, Datatype, elements};
use core::fmt;
use serde::de::value::Error as ValueError;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, IntoDeserializer as _, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use strongroom_wire::{Code, Refusal, Result, limits};
use zeroize::{Zeroize, Zeroizing};

/// The elements of a tensor of that type and shape in `text`, the value of `data`.
///
/// # Errors
/// `request-invalid` they are not of the type, or another number, or nested otherwise; `too-large` too many strings.
pub(super) fn parse(datatype: Datatype, shape: &[usize], text: &str) -> Result<Data> {
    Ok(match datatype {
        Datatype::Bool => Data::Bool(list(shape, text)?),
        Datatype::Uint8 => Data::Uint8(list(shape, text)?),
        Datatype::Uint16 => Data::Uint16(list(shape, text)?),
        Datatype::Uint32 => Data::Uint32(list(shape, text)?),
        Datatype::Uint64 => Data::Uint64(list(shape, text)?),
        Datatype::Int8 => Data::Int8(list(shape, text)?),
        Datatype::Int16 => Data::Int16(list(shape, text)?),
        Datatype::Int32 => Data::Int32(list(shape, text)?),
        Datatype::Int64 => Data::Int64(list(shape, text)?),
        Datatype::Fp32 => Data::Fp32(finite(list(shape, text)?, f32::is_finite)?),
        Datatype::Fp64 => Data::Fp64(finite(list(shape, text)?, f64::is_finite)?),
        // JSON has no such numbers, and the protocol no other form for them there.
        Datatype::Fp16 | Datatype::Bf16 => {
            return Err(Refusal::new(Code::RequestInvalid, "data").got(datatype).want("binary data for this type"));
        }
        Datatype::Bytes => {
            let many = elements(shape).unwrap_or(usize::MAX);
            if many > limits::TENSOR_STRINGS {
                return Err(Refusal::too_large("strings of one tensor", many, limits::TENSOR_STRINGS));
            }
            Data::Bytes(list(shape, text)?)
        }
    })
}

/// A number that its type rounds to infinity is none of that type.
fn finite<T: Copy>(numbers: Vec<T>, is_finite: fn(T) -> bool) -> Result<Vec<T>> {
    if numbers.iter().all(|number| is_finite(*number)) {
        return Ok(numbers);
    }
    Err(Refusal::new(Code::RequestInvalid, "data").got("a number over the largest of its type"))
}

fn list<T: DeserializeOwned + Zeroize>(shape: &[usize], text: &str) -> Result<Vec<T>> {
    let invalid = || Refusal::new(Code::RequestInvalid, "data");
    // An element takes a character at least, and a comma or bracket.
    let room = text.len() / 2 + 1;
    let many = elements(shape).filter(|many| *many <= room);
    let many = many.ok_or_else(|| invalid().got("fewer elements than the shape says"))?;
    let mut read = Read { shape, many, elements: Zeroizing::new(Vec::with_capacity(many)), is_flat: None };
    let mut json = serde_json::Deserializer::from_str(text);
    let parsed = Level { read: &mut read, depth: 0 }.deserialize(&mut json).and_then(|()| json.end());
    parsed.map_err(|error| {
        // serde's message quotes what it did not expect.
        let at = format!("a mistake at line {}, column {} of it", error.line(), error.column());
        invalid().got(at).want("elements of the type, flat or nested as the shape says")
    })?;
    if read.elements.len() != many {
        return Err(invalid().got(format!("{} elements", read.elements.len())).want(many));
    }
    Ok(core::mem::take(&mut *read.elements))
}

/// What has been read of a tensor.
struct Read<'a, T: Zeroize> {
    shape: &'a [usize],
    many: usize,
    elements: Zeroizing<Vec<T>>,
    /// Whether all elements are in one list whatever the shape; not known before the first.
    is_flat: Option<bool>,
}

/// A list or an element inside `depth` lists.
struct Level<'a, 'b, T: Zeroize> {
    read: &'a mut Read<'b, T>,
    depth: usize,
}

impl<T: DeserializeOwned + Zeroize> Level<'_, '_, T> {
    fn element<E: Error>(self, element: core::result::Result<T, ValueError>) -> core::result::Result<(), E> {
        let (depth, rank) = (self.depth, self.read.shape.len());
        let is_flat = depth == 1 && rank != 1;
        if (depth != rank && !is_flat) || *self.read.is_flat.get_or_insert(is_flat) != is_flat {
            return Err(E::custom("nested otherwise"));
        }
        if self.read.elements.len() == self.read.many {
            return Err(E::custom("too many elements"));
        }
        self.read.elements.push(element.map_err(|_| E::custom("of another type"))?);
        Ok(())
    }
}

impl<'de, T: DeserializeOwned + Zeroize> DeserializeSeed<'de> for Level<'_, '_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> core::result::Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: DeserializeOwned + Zeroize> Visitor<'de> for Level<'_, '_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("elements of a tensor")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> core::result::Result<(), A::Error> {
        let Self { read, depth } = self;
        let mut length = 0usize;
        while list.next_element_seed(Level { read: &mut *read, depth: depth.saturating_add(1) })?.is_some() {
            length = length.saturating_add(1);
        }
        // Of a flat list the number of elements is compared at the end.
        if read.is_flat != Some(true) && read.shape.get(depth) != Some(&length) {
            return Err(A::Error::custom("nested otherwise"));
        }
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> core::result::Result<(), E> {
        self.element(T::deserialize(value.into_deserializer()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> core::result::Result<(), E> {
        self.element(T::deserialize(value.into_deserializer()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> core::result::Result<(), E> {
        self.element(T::deserialize(value.into_deserializer()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> core::result::Result<(), E> {
        self.element(T::deserialize(value.into_deserializer()))
    }

    fn visit_str<E: Error>(self, value: &str) -> core::result::Result<(), E> {
        self.element(T::deserialize(value.into_deserializer()))
    }
}

/// Elements as a flat list.
#[derive(Debug)]
pub(super) struct Flat<'a>(&'a Data);

impl<'a> Flat<'a> {
    /// The elements, where JSON can say them.
    ///
    /// # Errors
    /// `request-invalid` it cannot, so that the caller has to ask for binary data.
    pub(super) fn of(data: &'a Data) -> Result<Self> {
        let in_json = match data {
            Data::Fp32(all) => all.iter().all(|x| x.is_finite()),
            Data::Fp64(all) => all.iter().all(|x| x.is_finite()),
            Data::Fp16(_) | Data::Bf16(_) => false,
            _ => true,
        };
        let unsaid = || Refusal::new(Code::RequestInvalid, "output as JSON").got("numbers that JSON does not have");
        in_json.then_some(Self(data)).ok_or_else(|| unsaid().want("binary_data for this output"))
    }
}

impl Serialize for Flat<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> core::result::Result<S::Ok, S::Error> {
        match self.0 {
            Data::Bool(all) => all.serialize(serializer),
            Data::Uint8(all) => all.serialize(serializer),
            Data::Uint16(all) | Data::Fp16(all) | Data::Bf16(all) => all.serialize(serializer),
            Data::Uint32(all) => all.serialize(serializer),
            Data::Uint64(all) => all.serialize(serializer),
            Data::Int8(all) => all.serialize(serializer),
            Data::Int16(all) => all.serialize(serializer),
            Data::Int32(all) => all.serialize(serializer),
            Data::Int64(all) => all.serialize(serializer),
            Data::Fp32(all) => all.serialize(serializer),
            Data::Fp64(all) => all.serialize(serializer),
            Data::Bytes(all) => all.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(datatype: Datatype, shape: &[usize], text: &str) -> core::result::Result<usize, Code> {
        parse(datatype, shape, text).map(|data| data.count()).map_err(|refusal| refusal.code)
    }

    #[test]
    fn elements_flat_or_nested_as_the_shape_says_accepted_and_nested_otherwise_refused() {
        for text in ["[1,2,3,4,5,6]", "[[1,2,3],[4,5,6]]"] {
            let Data::Int64(read) = parse(Datatype::Int64, &[2, 3], text).unwrap() else { panic!("another type") };
            assert_eq!(read, [1, 2, 3, 4, 5, 6]);
        }
        for text in [
            "[[1,2],[3,4],[5,6]]",
            "[[1,2,3],4,5,6]",
            "[1,2,3,[4,5,6]]",
            "[[1,2,3],[4,5],[6]]",
            "[[1,2,3],[],[4,5,6]]",
            "[[[1,2,3],[4,5,6]]]",
            "[1,2,3,4,5]",
            "[1,2,3,4,5,6,7]",
            "[[1,2,3,4,5,6]]",
            "[1,2,3,4,5,6] []",
            "{}",
            "null",
        ] {
            assert_eq!(code(Datatype::Int64, &[2, 3], text), Err(Code::RequestInvalid), "{text}");
        }
    }

    #[test]
    fn scalar_is_one_element_in_a_list_or_none() {
        assert_eq!(code(Datatype::Int64, &[], "[5]"), Ok(1));
        assert_eq!(code(Datatype::Int64, &[], "5"), Ok(1));
        assert_eq!(code(Datatype::Int64, &[1], "5"), Err(Code::RequestInvalid));
        assert_eq!(code(Datatype::Int64, &[], "[[5]]"), Err(Code::RequestInvalid));
    }

    #[test]
    fn numbers_at_the_end_of_their_type_accepted_and_past_it_refused() {
        for (datatype, good, bad) in [
            (Datatype::Uint8, "[255]", "[256]"),
            (Datatype::Int8, "[-128]", "[-129]"),
            (Datatype::Uint64, "[18446744073709551615]", "[18446744073709551616]"),
            (Datatype::Int64, "[-9223372036854775808]", "[-9223372036854775809]"),
            (Datatype::Uint32, "[1]", "[1.0]"),
            (Datatype::Fp32, "[3.4e38]", "[3.5e38]"),
            (Datatype::Fp64, "[1e308]", "[1e309]"),
            (Datatype::Fp32, "[7]", "[NaN]"),
            (Datatype::Bool, "[true]", "[1]"),
            (Datatype::Bytes, r#"["a"]"#, "[1]"),
        ] {
            assert_eq!(code(datatype, &[1], good), Ok(1), "{good}");
            assert_eq!(code(datatype, &[1], bad), Err(Code::RequestInvalid), "{bad}");
        }
    }

    #[test]
    fn shape_of_more_than_was_sent_refused_before_memory_is_taken_for_it() {
        assert_eq!(code(Datatype::Fp64, &[1 << 40], "[1]"), Err(Code::RequestInvalid));
        assert_eq!(code(Datatype::Fp64, &[usize::MAX, 2], "[1]"), Err(Code::RequestInvalid));
    }

    #[test]
    fn half_precision_refused_in_json_both_ways() {
        for datatype in [Datatype::Fp16, Datatype::Bf16] {
            assert_eq!(code(datatype, &[1], "[1]"), Err(Code::RequestInvalid));
        }
        assert!(Flat::of(&Data::Fp16(vec![0])).is_err());
    }

    #[test]
    fn output_that_is_no_number_refused_in_json() {
        assert_eq!(serde_json::to_string(&Flat::of(&Data::Fp32(vec![0.5])).unwrap()).unwrap(), "[0.5]");
        for bad in [f32::NAN, f32::INFINITY] {
            assert_eq!(Flat::of(&Data::Fp32(vec![bad])).unwrap_err().code, Code::RequestInvalid);
        }
    }

    #[test]
    fn refusal_shows_no_element() {
        for text in [r#"["secret"]"#, "[424242]", "[[424242]]"] {
            let refusal = parse(Datatype::Uint8, &[1], text).unwrap_err().to_string();
            assert!(!refusal.contains("secret") && !refusal.contains("4242"), "{refusal}");
        }
    }

    #[test]
    fn strings_at_the_limit_accepted_and_one_more_refused() {
        let text = |many: usize| format!("[{}]", vec!["\"\""; many].join(","));
        let read = |many: usize| code(Datatype::Bytes, &[many], &text(many));
        assert_eq!(read(limits::TENSOR_STRINGS), Ok(limits::TENSOR_STRINGS));
        assert_eq!(read(limits::TENSOR_STRINGS + 1), Err(Code::TooLarge));
    }
}
