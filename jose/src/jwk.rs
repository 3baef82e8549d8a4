//! Guests' public keys as JWK (RFC 7517, 7518 §6): the curves spoken here, and thumbprints.

use aws_lc_rs::agreement::{Algorithm, ECDH_P256, ECDH_P521};
use serde::Serialize;
use strongroom_wire::bytes::{from_base64url, to_base64url};
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::TeePubKey;
use strongroom_wire::{Code, Refusal, Result};

/// A curve of RFC 7518 §6.2.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P521,
}

impl Curve {
    pub(crate) fn parse(crv: &str) -> Result<Self> {
        match crv {
            "P-256" => Ok(Self::P256),
            "P-521" => Ok(Self::P521),
            _ => Err(Refusal::new(Code::KeyInvalid, "crv").got(crv).want("P-256 or P-521")),
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P521 => "P-521",
        }
    }

    pub(crate) const fn agreement(self) -> &'static Algorithm {
        match self {
            Self::P256 => &ECDH_P256,
            Self::P521 => &ECDH_P521,
        }
    }

    /// The length of a coordinate, RFC 7518 §6.2.1.2: always the field's full length.
    const fn coordinate_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P521 => 66,
        }
    }

    /// The point with these coordinates in uncompressed form (SEC 1 §2.3.3). Whether it is on the curve is for the key
    /// agreement to find out, which does before it computes anything.
    pub(crate) fn point(self, x: &str, y: &str) -> Result<Vec<u8>> {
        let mut point = vec![4];
        for (name, text) in [("x", x), ("y", y)] {
            let coordinate = from_base64url(text, name).map_err(|r| Refusal { code: Code::KeyInvalid, ..r })?;
            if coordinate.len() != self.coordinate_len() {
                return Err(Refusal::new(Code::KeyInvalid, format!("coordinate {name}"))
                    .got(format!("{} bytes", coordinate.len()))
                    .want(format!("{} bytes", self.coordinate_len())));
            }
            point.extend_from_slice(&coordinate);
        }
        Ok(point)
    }

    /// The coordinates of an uncompressed point, as JWK members `x` and `y`.
    pub(crate) fn coordinates(self, point: &[u8]) -> Result<(String, String)> {
        let wrong = || Refusal::new(Code::Internal, "public point that is not uncompressed");
        let (form, rest) = point.split_first().ok_or_else(wrong)?;
        let (x, y) = rest.split_at_checked(self.coordinate_len()).ok_or_else(wrong)?;
        if *form != 4 || y.len() != self.coordinate_len() {
            return Err(wrong());
        }
        Ok((to_base64url(x), to_base64url(y)))
    }
}

/// The base64url SHA-256 thumbprint of a key (RFC 7638): over its required members in order of their names, `alg` left
/// out. It is what the claim `cnf.jkt` of a token holds.
pub fn thumbprint(key: &TeePubKey) -> Result<String> {
    // serde keeps the order of fields, and §3.3 wants that of Unicode code points.
    #[derive(Serialize)]
    struct Ec<'a> {
        crv: &'a str,
        kty: &'a str,
        x: &'a str,
        y: &'a str,
    }
    #[derive(Serialize)]
    struct Rsa<'a> {
        e: &'a str,
        kty: &'a str,
        n: &'a str,
    }
    let json = match key {
        TeePubKey::Ec { crv, x, y, .. } => serde_json::to_vec(&Ec { crv, kty: "EC", x, y }),
        TeePubKey::Rsa { n, e, .. } => serde_json::to_vec(&Rsa { e, kty: "RSA", n }),
    };
    let json = json.map_err(|e| Refusal::new(Code::Internal, "thumbprint").because(e))?;
    Ok(to_base64url(&Sha256::of(&json).0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7638 §3.1.
    #[test]
    fn thumbprint_of_the_specification_s_key_is_the_specification_s() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let key = TeePubKey::Rsa { alg: "RS256".into(), n: n.into(), e: "AQAB".into() };
        assert_eq!(thumbprint(&key).unwrap(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn coordinates_of_full_length_accepted_and_of_others_refused() {
        let full = to_base64url(&[1; 32]);
        assert_eq!(Curve::P256.point(&full, &full).unwrap().len(), 65);
        for length in [31, 33, 0, 66] {
            let other = to_base64url(&vec![1; length]);
            assert_eq!(Curve::P256.point(&full, &other).unwrap_err().code, Code::KeyInvalid, "{length}");
            assert_eq!(Curve::P256.point(&other, &full).unwrap_err().code, Code::KeyInvalid, "{length}");
        }
        assert_eq!(Curve::P521.point(&full, &full).unwrap_err().code, Code::KeyInvalid);
        assert_eq!(Curve::P256.point("=", &full).unwrap_err().code, Code::KeyInvalid);
    }

    #[test]
    fn curve_that_is_not_spoken_refused() {
        assert_eq!(Curve::parse("P-384").unwrap_err().code, Code::KeyInvalid);
        assert_eq!(Curve::parse("P-256").unwrap(), Curve::P256);
    }
}
