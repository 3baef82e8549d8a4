//! PKCS #11 URIs (RFC 7512) as far as they name one key.

use std::path::PathBuf;
use strongroom_wire::{Code, Refusal, Result};

/// Where a key is. What is not given does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyUri {
    /// The library that speaks for the token.
    pub module: PathBuf,
    /// The token's label.
    pub token: Option<String>,
    /// The token's serial number.
    pub serial: Option<String>,
    /// The key's label, `CKA_LABEL`.
    pub object: Option<String>,
    /// The key's `CKA_ID`.
    pub id: Option<Vec<u8>>,
    /// The file that holds the PIN.
    pub pin_file: Option<PathBuf>,
}

impl KeyUri {
    /// Reads a URI.
    ///
    /// # Errors
    /// `usage`: no URI that names a library and a key, attributes that would be passed over, or a PIN in place of a file that
    /// holds it.
    pub fn parse(uri: &str) -> Result<Self> {
        let wrong = |got: &str, want: &str| Err(Refusal::new(Code::Usage, "PKCS #11 URI").got(got).want(want));
        let rest = uri.strip_prefix("pkcs11:").unwrap_or_default();
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut read = Self::default();
        for (name, value) in pairs(path, ';').chain(pairs(query, '&')) {
            let bytes = decode(value)?;
            let text =
                || String::from_utf8(bytes.clone()).map_err(|e| Refusal::new(Code::Usage, "PKCS #11 URI").because(e));
            match name {
                "token" => read.token = Some(text()?),
                "serial" => read.serial = Some(text()?),
                "object" => read.object = Some(text()?),
                "id" => read.id = Some(bytes),
                "type" if bytes == b"private" || bytes == b"secret-key" => {}
                "module-path" => read.module = text()?.into(),
                "pin-source" => {
                    let source = text()?;
                    read.pin_file = Some(source.strip_prefix("file:").unwrap_or(&source).into());
                }
                // Everybody on the machine can read the arguments of a command.
                "pin-value" => {
                    return wrong("pin-value", "pin-source=file:PATH: others can read a command's arguments");
                }
                other => {
                    return wrong(
                        other,
                        "token, serial, object, id, type=private or secret-key, module-path and pin-source",
                    );
                }
            }
        }
        if read.module.as_os_str().is_empty() {
            return wrong("no module-path", "?module-path=PATH of the token's library");
        }
        if read.object.is_none() && read.id.is_none() {
            return wrong("no key", "object=LABEL or id=%01");
        }
        Ok(read)
    }
}

fn pairs(text: &str, separator: char) -> impl Iterator<Item = (&str, &str)> {
    text.split(separator).filter(|part| !part.is_empty()).map(|part| part.split_once('=').unwrap_or((part, "")))
}

/// Takes `%41` for `A` (RFC 3986 §2.1).
fn decode(text: &str) -> Result<Vec<u8>> {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        let byte = hex::decode(digits).map_err(|e| Refusal::new(Code::Usage, "PKCS #11 URI").got(digits).because(e))?;
        decoded.extend(byte);
        decoded.extend_from_slice(rest.as_bytes());
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uri_of_a_key_read() {
        let uri = "pkcs11:token=my%20token;object=k1;id=%01%ff;type=private?pin-source=file:/run/pin&module-path=/usr/lib/p11.so";
        let want = KeyUri {
            module: "/usr/lib/p11.so".into(),
            token: Some("my token".into()),
            serial: None,
            object: Some("k1".into()),
            id: Some(vec![1, 255]),
            pin_file: Some("/run/pin".into()),
        };
        assert_eq!(KeyUri::parse(uri).unwrap(), want);
        assert!(KeyUri::parse("pkcs11:object=k?module-path=/m").is_ok());
    }

    #[test]
    fn uri_with_a_pin_an_unknown_attribute_no_key_or_no_module_refused() {
        for bad in [
            "pkcs11:object=k?module-path=/m&pin-value=1234",
            "pkcs11:object=k;slot-id=1?module-path=/m",
            "pkcs11:object=k;type=public?module-path=/m",
            "pkcs11:object=k",
            "pkcs11:token=t?module-path=/m",
            "pkcs11:object=%zz?module-path=/m",
            "pkcs11:object=%4?module-path=/m",
            "pkcs11:",
        ] {
            assert_eq!(KeyUri::parse(bad).unwrap_err().code, Code::Usage, "{bad}");
        }
    }
}
