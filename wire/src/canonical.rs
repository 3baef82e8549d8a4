//! Canonical JSON (RFC 8785) of a value that is at hand, straight into bytes: an entry of the audit log is written while others
//! wait for their own.

use crate::{Refusal, Result};
use serde_json::{Map, Number, Value};

/// Numbers up to here are the same in every reader (RFC 8785, appendix D).
const EXACT: u64 = 1 << 53;

/// Appends `value`.
///
/// # Errors
/// `malformed`: a number in it has no canonical form.
pub(crate) fn write(value: &Value, out: &mut Vec<u8>) -> Result<()> {
    match value {
        Value::Null => out.extend(b"null"),
        Value::Bool(true) => out.extend(b"true"),
        Value::Bool(false) => out.extend(b"false"),
        Value::Number(number) => return write_number(number, out),
        Value::String(text) => return write_text(text, out),
        Value::Array(list) => {
            out.push(b'[');
            for (at, value) in list.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(value, out)?;
            }
            out.push(b']');
        }
        Value::Object(members) => return write_object(members, out),
    }
    Ok(())
}

/// Members in the order of their names' UTF-16 code units (§3.2.3).
fn write_object(members: &Map<String, Value>, out: &mut Vec<u8>) -> Result<()> {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_unstable_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    out.push(b'{');
    for (at, (name, value)) in sorted.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_text(name, out)?;
        out.push(b':');
        write(value, out)?;
    }
    out.push(b'}');
    Ok(())
}

/// `serde_json` escapes what §3.2.2.2 says, and in that form.
pub(crate) fn write_text(text: &str, out: &mut Vec<u8>) -> Result<()> {
    serde_json::to_writer(out, text).map_err(|e| Refusal::malformed("canonical JSON", e))
}

/// Appends a number.
pub(crate) fn write_number(number: &Number, out: &mut Vec<u8>) -> Result<()> {
    if number.as_u64().is_some_and(|number| number <= EXACT) {
        out.extend(number.to_string().as_bytes());
        return Ok(());
    }
    let text = serde_json_canonicalizer::to_vec(number).map_err(|e| Refusal::malformed("canonical JSON", e))?;
    out.extend(text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{hash_map, vec};
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = Value> {
        let text = || prop_oneof![any::<String>(), "[a-c\u{7f}\u{e9}\u{ff5e}\u{1f600}]{0,3}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (0..=EXACT + 2).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, move |inner| {
            prop_oneof![
                vec(inner.clone(), 0..8).prop_map(Value::from),
                hash_map(text(), inner, 0..8).prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn value_is_written_as_the_reference_implementation_writes_it(value in value()) {
            let mut out = Vec::new();
            write(&value, &mut out).unwrap();
            prop_assert_eq!(out, serde_json_canonicalizer::to_vec(&value).unwrap());
        }
    }

    #[test]
    fn members_are_in_the_order_of_utf_16() {
        // §3.2.3: of the two, the second is the greater code point and the lesser in UTF-16.
        let value = serde_json::json!({ "\u{ff5e}": 1, "\u{1f600}": 2, "\u{7f}\u{1}\"\\": 3 });
        let mut out = Vec::new();
        write(&value, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "{\"\u{7f}\\u0001\\\"\\\\\":3,\"\u{1f600}\":2,\"\u{ff5e}\":1}");
    }
}
