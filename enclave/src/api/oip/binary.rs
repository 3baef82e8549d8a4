//! The elements of a tensor as bytes (the protocol's binary tensor data extension): little-endian, row-major, without
//! padding; `BOOL` a byte of 0 or 1; `BYTES` a length in four bytes before each element.

use crate::inference::tensor::{Data, Datatype, elements};
use strongroom_wire::{Code, Refusal, Result, limits};

/// The elements of a tensor of that type and shape in `bytes`, which they fill.
///
/// # Errors
/// `request-invalid` they do not, or are none of the type; `too-large` too many strings.
pub(super) fn parse(datatype: Datatype, shape: &[usize], bytes: &[u8]) -> Result<Data> {
    let invalid = |got: &str| Refusal::new(Code::RequestInvalid, "binary data").got(got);
    let many = elements(shape).ok_or_else(|| invalid("a shape that no memory has room for"))?;
    if let Some(each) = datatype.size()
        && many.checked_mul(each) != Some(bytes.len())
    {
        return Err(invalid("another number of bytes").want(format!("{each} for each of {many} elements")));
    }
    Ok(match datatype {
        Datatype::Bool => Data::Bool(booleans(bytes).ok_or_else(|| invalid("a byte of another value than 0 and 1"))?),
        Datatype::Uint8 => Data::Uint8(bytes.to_vec()),
        Datatype::Uint16 => Data::Uint16(numbers(bytes, u16::from_le_bytes)),
        Datatype::Uint32 => Data::Uint32(numbers(bytes, u32::from_le_bytes)),
        Datatype::Uint64 => Data::Uint64(numbers(bytes, u64::from_le_bytes)),
        Datatype::Int8 => Data::Int8(numbers(bytes, i8::from_le_bytes)),
        Datatype::Int16 => Data::Int16(numbers(bytes, i16::from_le_bytes)),
        Datatype::Int32 => Data::Int32(numbers(bytes, i32::from_le_bytes)),
        Datatype::Int64 => Data::Int64(numbers(bytes, i64::from_le_bytes)),
        Datatype::Fp16 => Data::Fp16(numbers(bytes, u16::from_le_bytes)),
        Datatype::Bf16 => Data::Bf16(numbers(bytes, u16::from_le_bytes)),
        Datatype::Fp32 => Data::Fp32(numbers(bytes, f32::from_le_bytes)),
        Datatype::Fp64 => Data::Fp64(numbers(bytes, f64::from_le_bytes)),
        Datatype::Bytes => {
            if many > limits::TENSOR_STRINGS {
                return Err(Refusal::too_large("strings of one tensor", many, limits::TENSOR_STRINGS));
            }
            Data::Bytes(strings(bytes, many).ok_or_else(|| invalid("no UTF-8 text of that length, or not as many"))?)
        }
    })
}

fn booleans(bytes: &[u8]) -> Option<Vec<bool>> {
    let boolean = |byte: &u8| match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    };
    bytes.iter().map(boolean).collect()
}

fn numbers<T, const N: usize>(bytes: &[u8], read: fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|chunk| read(*chunk)).collect()
}

fn strings(mut bytes: &[u8], many: usize) -> Option<Vec<String>> {
    // Four bytes of each are its length.
    let mut strings = Vec::with_capacity(many.min(bytes.len() / 4));
    for _ in 0..many {
        let (length, rest) = bytes.split_first_chunk()?;
        let (text, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        strings.push(core::str::from_utf8(text).ok()?.to_owned());
        bytes = rest;
    }
    bytes.is_empty().then_some(strings)
}

/// Appends the elements to `to`, and says how many bytes they are.
///
/// # Errors
/// `too-large` a string whose length four bytes do not hold.
pub(super) fn write(data: &Data, to: &mut Vec<u8>) -> Result<usize> {
    let start = to.len();
    match data {
        Data::Bool(all) => to.extend(all.iter().map(|element| u8::from(*element))),
        Data::Uint8(all) => to.extend_from_slice(all),
        Data::Uint16(all) | Data::Fp16(all) | Data::Bf16(all) => append(all, u16::to_le_bytes, to),
        Data::Uint32(all) => append(all, u32::to_le_bytes, to),
        Data::Uint64(all) => append(all, u64::to_le_bytes, to),
        Data::Int8(all) => append(all, i8::to_le_bytes, to),
        Data::Int16(all) => append(all, i16::to_le_bytes, to),
        Data::Int32(all) => append(all, i32::to_le_bytes, to),
        Data::Int64(all) => append(all, i64::to_le_bytes, to),
        Data::Fp32(all) => append(all, f32::to_le_bytes, to),
        Data::Fp64(all) => append(all, f64::to_le_bytes, to),
        Data::Bytes(all) => {
            for text in all {
                let over = |_| Refusal::too_large("bytes of one string", text.len(), u32::MAX);
                to.extend(u32::try_from(text.len()).map_err(over)?.to_le_bytes());
                to.extend_from_slice(text.as_bytes());
            }
        }
    }
    Ok(to.len().saturating_sub(start))
}

fn append<T: Copy, const N: usize>(all: &[T], bytes: fn(T) -> [u8; N], to: &mut Vec<u8>) {
    to.reserve(all.len().saturating_mul(N));
    for element in all {
        to.extend_from_slice(&bytes(*element));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(datatype: Datatype, shape: &[usize], bytes: &[u8]) -> core::result::Result<usize, Code> {
        parse(datatype, shape, bytes).map(|data| data.count()).map_err(|refusal| refusal.code)
    }

    #[test]
    fn every_type_is_written_as_it_was_read() {
        for datatype in Datatype::ALL {
            let bytes: Vec<u8> = match datatype {
                Datatype::Bool => vec![1, 0, 1],
                Datatype::Bytes => [&[2, 0, 0, 0][..], "é".as_bytes(), &[0; 4], &[1, 0, 0, 0, b'a']].concat(),
                sized => (0..).take(3 * sized.size().unwrap()).collect(),
            };
            let data = parse(*datatype, &[3, 1], &bytes).unwrap();
            let mut written = vec![9];
            assert_eq!(write(&data, &mut written).unwrap(), bytes.len(), "{datatype}");
            assert_eq!((written[0], &written[1..]), (9, bytes.as_slice()), "{datatype}");
        }
    }

    #[test]
    fn numbers_are_little_endian() {
        assert!(matches!(parse(Datatype::Int32, &[1], &[1, 2, 0, 0]).unwrap(), Data::Int32(all) if all == [513]));
        assert!(matches!(parse(Datatype::Fp32, &[], &[0, 0, 0x80, 0x3f]).unwrap(), Data::Fp32(all) if all == [1.0]));
    }

    #[test]
    fn bytes_as_many_as_the_shape_says_accepted_and_one_more_or_less_refused() {
        assert_eq!(code(Datatype::Int16, &[2], &[0; 4]), Ok(2));
        for length in [3, 5] {
            assert_eq!(code(Datatype::Int16, &[2], &vec![0; length]), Err(Code::RequestInvalid));
        }
        assert_eq!(code(Datatype::Int16, &[usize::MAX, 2], &[]), Err(Code::RequestInvalid));
        assert_eq!(code(Datatype::Fp64, &[1 << 61], &[]), Err(Code::RequestInvalid), "eight times this is nothing");
    }

    #[test]
    fn boolean_of_one_accepted_and_of_two_refused() {
        assert_eq!(code(Datatype::Bool, &[1], &[1]), Ok(1));
        assert_eq!(code(Datatype::Bool, &[1], &[2]), Err(Code::RequestInvalid));
    }

    #[test]
    fn text_of_its_length_accepted_and_otherwise_refused() {
        assert_eq!(code(Datatype::Bytes, &[1], &[1, 0, 0, 0, b'a']), Ok(1));
        for bytes in [&[2, 0, 0, 0, b'a'][..], &[1, 0, 0, 0, b'a', b'b'], &[1, 0, 0, 0, 0xff], &[1, 0, 0], &[255; 4]] {
            assert_eq!(code(Datatype::Bytes, &[1], bytes), Err(Code::RequestInvalid));
        }
    }

    #[test]
    fn strings_at_the_limit_accepted_and_one_more_refused() {
        let read = |many: usize| code(Datatype::Bytes, &[many], &vec![0; 4 * many]);
        assert_eq!(read(limits::TENSOR_STRINGS), Ok(limits::TENSOR_STRINGS));
        assert_eq!(read(limits::TENSOR_STRINGS + 1), Err(Code::TooLarge));
    }
}
