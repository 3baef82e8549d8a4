//! Dead Simple Signing Envelope, protocol version 1.0.2: the JSON around a signed document. Nothing here signs or verifies.

use crate::{Code, Refusal, Result, bytes, document, limits};
use serde::{Deserialize, Serialize};

/// A document of a stated type and the signatures on it. Nothing in it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What the payload is, as a media type.
    pub payload_type: String,
    /// The document's bytes.
    pub payload: Vec<u8>,
    /// Signatures over [`Self::signed_bytes`], each by a key that the envelope does not vouch for.
    pub signatures: Vec<Vec<u8>>,
}

/// Members that are not known are ignored, as the protocol demands: nothing in the envelope but these is signed.
#[derive(Serialize, Deserialize)]
struct Document {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<Signature>,
}

/// `keyid` is a hint that decides nothing, and is not read.
#[derive(Serialize, Deserialize)]
struct Signature {
    sig: String,
}

impl Envelope {
    /// Parses an envelope of at most [`limits::SIGNED_DOCUMENT`] bytes with at most [`limits::SIGNATURES`] signatures, all in
    /// standard base64.
    ///
    /// # Errors
    /// `malformed`, `too-large`.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let document: Document = document::parse_json(json, "DSSE envelope", limits::SIGNED_DOCUMENT, Code::Malformed)?;
        if document.signatures.len() > limits::SIGNATURES {
            let got = document.signatures.len();
            return Err(Refusal::too_large("signatures of a DSSE envelope", got, limits::SIGNATURES));
        }
        let decode = |signature: &Signature| bytes::from_base64(&signature.sig, "signature of a DSSE envelope");
        Ok(Self {
            payload: bytes::from_base64(&document.payload, "payload of a DSSE envelope")?,
            payload_type: document.payload_type,
            signatures: document.signatures.iter().map(decode).collect::<Result<_>>()?,
        })
    }

    /// The envelope as JSON.
    ///
    /// # Errors
    /// `too-large`: it would not be read again.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        if self.signatures.len() > limits::SIGNATURES {
            let got = self.signatures.len();
            return Err(Refusal::too_large("signatures of a DSSE envelope", got, limits::SIGNATURES));
        }
        let document = Document {
            payload: bytes::to_base64(&self.payload),
            payload_type: self.payload_type.clone(),
            signatures: self.signatures.iter().map(|sig| Signature { sig: bytes::to_base64(sig) }).collect(),
        };
        let json = serde_json::to_vec(&document)
            .map_err(|error| Refusal::new(Code::Internal, "DSSE envelope").because(error))?;
        match json.len() > limits::SIGNED_DOCUMENT {
            true => Err(Refusal::too_large("DSSE envelope", json.len(), limits::SIGNED_DOCUMENT)),
            false => Ok(json),
        }
    }

    /// What every signature of it is over.
    pub fn signed_bytes(&self) -> Vec<u8> {
        pre_authentication_encoding(&self.payload_type, &self.payload)
    }
}

/// `"DSSEv1" SP LEN(type) SP type SP LEN(payload) SP payload`, lengths in decimal.
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    out.extend_from_slice(payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(signatures: usize) -> Envelope {
        Envelope {
            payload_type: "text/plain".to_owned(),
            payload: b"hello".to_vec(),
            signatures: vec![vec![1, 2, 3]; signatures],
        }
    }

    #[test]
    fn encoding_is_the_example_of_the_protocol() {
        let encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
        assert_eq!(envelope(1).signed_bytes(), b"DSSEv1 10 text/plain 5 hello");
    }

    #[test]
    fn written_envelope_reads_back() {
        for signatures in [0, 1, limits::SIGNATURES] {
            let envelope = envelope(signatures);
            assert_eq!(Envelope::parse(&envelope.to_json().unwrap()).unwrap(), envelope);
        }
    }

    #[test]
    fn key_id_and_other_members_ignored() {
        let json =
            br#"{"payload":"aGVsbG8=","payloadType":"text/plain","signatures":[{"sig":"AQID","keyid":"x"}],"x":1}"#;
        assert_eq!(Envelope::parse(json).unwrap(), envelope(1));
    }

    #[test]
    fn other_shapes_base64_and_sizes_refused() {
        let good = String::from_utf8(envelope(1).to_json().unwrap()).unwrap();
        for bad in ["", "{}", &good.replace("AQID", "AQI"), &good.replace("aGVsbG8=", "aGVsbG8_")] {
            assert_eq!(Envelope::parse(bad.as_bytes()).unwrap_err().code, Code::Malformed, "{bad}");
        }
        let signature = |number: usize| vec![r#"{"sig":"AQID"}"#; number].join(",");
        let many = good.replace(&signature(1), &signature(limits::SIGNATURES + 1)).into_bytes();
        let as_many = good.replace(&signature(1), &signature(limits::SIGNATURES)).into_bytes();
        assert_eq!(Envelope::parse(&as_many).unwrap(), envelope(limits::SIGNATURES));
        let long = vec![b' '; limits::SIGNED_DOCUMENT + 1];
        for bad in [many, long] {
            assert_eq!(Envelope::parse(&bad).unwrap_err().code, Code::TooLarge);
        }
    }

    #[test]
    fn envelope_that_could_not_be_read_again_is_not_written() {
        let payload = |bytes: usize| Envelope { payload: vec![0; bytes], ..envelope(0) }.to_json();
        let rest = payload(0).unwrap().len();
        let most = (limits::SIGNED_DOCUMENT - rest) / 4 * 3;
        assert!(Envelope::parse(&payload(most).unwrap()).is_ok());
        let full = |more: usize| {
            let payload_type = "t".repeat(envelope(0).payload_type.len() + (limits::SIGNED_DOCUMENT - rest) % 4 + more);
            Envelope { payload_type, payload: vec![0; most], ..envelope(0) }.to_json()
        };
        assert_eq!(full(0).unwrap().len(), limits::SIGNED_DOCUMENT);
        assert_eq!(full(1).unwrap_err().code, Code::TooLarge);
        assert_eq!(payload(most + 3).unwrap_err().code, Code::TooLarge);
        assert!(envelope(limits::SIGNATURES).to_json().is_ok());
        assert_eq!(envelope(limits::SIGNATURES + 1).to_json().unwrap_err().code, Code::TooLarge);
    }
}
