//! Attestation results that somebody shows: verified, and held against the key of whoever shows them.

use crate::jwk::thumbprint;
use crate::jws::{TokenVerifier, signing_key};
use strongroom_wire::ear::{EarClaims, Status};
use strongroom_wire::{Code, Refusal, Result};

/// The longest that a passport is believed, in seconds.
const LONGEST: u64 = 300;

/// Verifies a passport for `audience` at `now`, whose bearer has just proven that it holds the key of `spki` (DER
/// SubjectPublicKeyInfo): by its signature in the TLS handshake, or over a nonce. Without that proof a passport says nothing of who
/// shows it. What of the claims is good enough, `root` and `sub` above all, is the caller's to judge.
///
/// # Errors
/// `token-invalid`: as [`TokenVerifier::verify`], or it lasts longer than five minutes, is about another key, or affirms nothing
/// or not everything; `key-invalid`.
pub fn verify_passport(
    issuer: &TokenVerifier,
    token: &str,
    audience: &str,
    now: u64,
    spki: &[u8],
) -> Result<EarClaims> {
    let claims: EarClaims = issuer.verify(token, now, audience)?;
    let invalid = |claim: &str| Refusal::new(Code::TokenInvalid, claim).within("passport");
    if claims.exp.saturating_sub(claims.iat) > LONGEST {
        return Err(invalid("exp").got(claims.exp).want(format!("at most {LONGEST} seconds after {}", claims.iat)));
    }
    let shown = thumbprint(&signing_key(spki)?)?;
    if claims.cnf.jkt != shown {
        return Err(invalid("cnf.jkt").got(&claims.cnf.jkt).want(shown));
    }
    let affirmed = |status: &Status| *status == Status::Affirming;
    if claims.submods.is_empty() || !claims.submods.values().all(|part| affirmed(&part.status)) {
        return Err(invalid("ear.status").want("affirming, of every part"));
    }
    Ok(claims)
}
