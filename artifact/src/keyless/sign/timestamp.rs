//! Queries for timestamps (RFC 3161).

use aws_lc_rs::rand;
use der::asn1::{Null, OctetString, UintRef};
use der::oid::ObjectIdentifier;
use der::{Encode as _, Sequence};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// RFC 5754 §2.2.
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

/// §2.4.1; without a policy of its own and without extensions.
#[derive(Sequence)]
struct TimeStampReq<'a> {
    version: u8,
    message_imprint: MessageImprint,
    nonce: UintRef<'a>,
    cert_req: bool,
}

#[derive(Sequence)]
struct MessageImprint {
    hash_algorithm: AlgorithmIdentifier,
    hashed_message: OctetString,
}

#[derive(Sequence)]
struct AlgorithmIdentifier {
    algorithm: ObjectIdentifier,
    parameters: Null,
}

/// The query for a timestamp over the SHA-256 of `message`, with the authority's certificate in the answer.
pub(super) fn query(message: &[u8]) -> Result<Vec<u8>> {
    let mut nonce = [0_u8; 16];
    rand::fill(&mut nonce).map_err(|_| Refusal::new(Code::Internal, "randomness"))?;
    render(message, &nonce).map_err(|e| Refusal::new(Code::Internal, "timestamp query").because(e))
}

fn render(message: &[u8], nonce: &[u8]) -> der::Result<Vec<u8>> {
    let hash_algorithm = AlgorithmIdentifier { algorithm: SHA_256, parameters: Null };
    let message_imprint = MessageImprint { hash_algorithm, hashed_message: OctetString::new(Sha256::of(message).0)? };
    TimeStampReq { version: 1, message_imprint, nonce: UintRef::new(nonce)?, cert_req: true }.to_der()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_is_that_of_openssl() {
        // openssl ts -query -data abc -sha256 -cert, but for its nonce.
        let want = concat!(
            "3042020101",
            "3031300d060960864801650304020105000420",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "0207010203040506ff",
            "0101ff"
        );
        assert_eq!(hex::encode(render(b"abc", &[1, 2, 3, 4, 5, 6, 255]).unwrap()), want);
    }
}
