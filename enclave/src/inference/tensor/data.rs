//! The elements of a tensor, by the types that the Open Inference Protocol names ("Tensor Data Types") and ONNX has.

use core::fmt;
use core::ops::Range;
use ort::value::TensorElementType;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroize;

macro_rules! datatypes {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $onnx:ident, $element:ty;)*) => {
        /// The type of a tensor's elements.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Datatype { $($(#[doc = $doc])* $name,)* }

        impl Datatype {
            /// Every type.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As the protocol spells it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The type of a graph's input or output; `None` where the protocol has no name for it.
            pub(super) const fn of(element: TensorElementType) -> Option<Self> {
                match element { $(TensorElementType::$onnx => Some(Self::$name),)* _ => None }
            }

            /// Bytes of one element; `None` for strings, which have as many as they have.
            pub const fn size(self) -> Option<usize> {
                let size = match self { $(Self::$name => size_of::<$element>(),)* };
                if matches!(self, Self::Bytes) { None } else { Some(size) }
            }
        }

        /// Elements in row-major order, all of one type.
        pub enum Data { $($(#[doc = $doc])* $name(Vec<$element>),)* }

        impl Data {
            /// Their type.
            pub const fn datatype(&self) -> Datatype {
                match self { $(Self::$name(_) => Datatype::$name,)* }
            }

            /// How many there are.
            pub const fn count(&self) -> usize {
                match self { $(Self::$name(elements) => elements.len(),)* }
            }

            /// Appends `other`.
            ///
            /// # Errors
            /// `internal` it is of another type.
            pub(super) fn extend(&mut self, other: &Self) -> Result<()> {
                match (self, other) {
                    $((Self::$name(to), Self::$name(from)) => to.extend_from_slice(from),)*
                    _ => return Err(Refusal::new(Code::Internal, "tensors of two types in one batch")),
                }
                Ok(())
            }

            /// A copy of those in `range`; `None` where it goes past the end.
            pub(super) fn slice(&self, range: Range<usize>) -> Option<Self> {
                match self { $(Self::$name(elements) => elements.get(range).map(|part| Self::$name(part.to_vec())),)* }
            }

            /// No elements of that type, and room for `many`.
            pub(super) fn with_capacity(datatype: Datatype, many: usize) -> Self {
                match datatype { $(Datatype::$name => Self::$name(Vec::with_capacity(many)),)* }
            }
        }

        impl Zeroize for Data {
            fn zeroize(&mut self) {
                match self { $(Self::$name(elements) => elements.zeroize(),)* }
            }
        }
    };
}

datatypes! {
    /// `true` or `false`.
    Bool = "BOOL", Bool, bool;
    /// Unsigned, 8 bits.
    Uint8 = "UINT8", Uint8, u8;
    /// Unsigned, 16 bits.
    Uint16 = "UINT16", Uint16, u16;
    /// Unsigned, 32 bits.
    Uint32 = "UINT32", Uint32, u32;
    /// Unsigned, 64 bits.
    Uint64 = "UINT64", Uint64, u64;
    /// Signed, 8 bits.
    Int8 = "INT8", Int8, i8;
    /// Signed, 16 bits.
    Int16 = "INT16", Int16, i16;
    /// Signed, 32 bits.
    Int32 = "INT32", Int32, i32;
    /// Signed, 64 bits.
    Int64 = "INT64", Int64, i64;
    /// IEEE 754 binary16, as its bits.
    Fp16 = "FP16", Float16, u16;
    /// The upper half of a binary32, as its bits.
    Bf16 = "BF16", Bfloat16, u16;
    /// IEEE 754 binary32.
    Fp32 = "FP32", Float32, f32;
    /// IEEE 754 binary64.
    Fp64 = "FP64", Float64, f64;
    /// Text. The protocol's elements are bytes; ONNX' are strings.
    Bytes = "BYTES", String, String;
}

impl Data {
    /// Their bytes, of strings those of the text alone.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Bytes(strings) => strings.iter().fold(0, |sum, text| sum.saturating_add(text.len())),
            numbers => numbers.datatype().size().unwrap_or_default().saturating_mul(numbers.count()),
        }
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.count(), self.datatype())
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Datatype {
    fn serialize<S: Serializer>(&self, serializer: S) -> core::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Datatype {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let known = Self::ALL.iter().find(|datatype| datatype.as_str() == text).copied();
        known.ok_or_else(|| serde::de::Error::custom("a data type that is not known"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_element() {
        assert_eq!(format!("{:?}", Data::Int64(vec![42])), "1 of INT64");
        assert_eq!(format!("{:?}", Data::Bytes(vec!["secret".into()])), "1 of BYTES");
    }

    #[test]
    fn every_type_is_read_as_it_is_written_and_another_spelling_is_not() {
        for datatype in Datatype::ALL {
            let json = serde_json::to_string(datatype).unwrap();
            assert_eq!(serde_json::from_str::<Datatype>(&json).unwrap(), *datatype);
            assert!(serde_json::from_str::<Datatype>(&json.to_lowercase()).is_err());
        }
    }

    #[test]
    fn types_that_the_protocol_does_not_have_are_none() {
        assert_eq!(Datatype::of(TensorElementType::Float32), Some(Datatype::Fp32));
        for element in [TensorElementType::Int4, TensorElementType::Complex64, TensorElementType::Float8E5M2] {
            assert_eq!(Datatype::of(element), None);
        }
    }

    #[test]
    fn elements_of_one_type_joined_and_of_two_refused() {
        let mut data = Data::with_capacity(Datatype::Int32, 3);
        data.extend(&Data::Int32(vec![1, 2])).unwrap();
        data.extend(&Data::Int32(vec![3])).unwrap();
        assert!(matches!(data.slice(1..3), Some(Data::Int32(part)) if part == [2, 3]));
        assert!(data.slice(2..4).is_none());
        assert_eq!(data.extend(&Data::Uint32(vec![4])).unwrap_err().code, Code::Internal);
    }

    #[test]
    fn zeroised_elements_are_gone() {
        for mut data in [Data::Fp32(vec![1.0]), Data::Bytes(vec!["secret".into()]), Data::Bool(vec![true])] {
            data.zeroize();
            assert_eq!(data.count(), 0);
        }
    }
}
