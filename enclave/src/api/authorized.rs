//! Who may ask: bearer keys (RFC 6750), known by their hashes in the measured deployment document.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::{HeaderMap, header};
use strongroom_wire::deployment::Principal;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// Those who may call the API. With none, nobody may.
#[derive(Debug)]
pub struct Principals(Vec<Principal>);

/// Proof that a request carries the key of a principal. [`Principals::authenticate`] alone makes one:
///
/// ```compile_fail
/// let forged = strongroom_enclave::api::Authorized { principal: String::new() };
/// ```
/// ```compile_fail
/// let forged = strongroom_enclave::api::Authorized::default();
/// ```
#[derive(Debug)]
pub struct Authorized {
    principal: String,
}

impl Authorized {
    /// What logs call the caller.
    pub fn principal(&self) -> &str {
        &self.principal
    }
}

impl Principals {
    /// The principals of a deployment document.
    pub fn new(principals: &[Principal]) -> Self {
        Self(principals.to_vec())
    }

    /// The principal whose key `headers` carry.
    ///
    /// # Errors
    /// `unauthenticated` no bearer key, more than one, or an unknown one; the refusal does not tell which.
    pub fn authenticate(&self, headers: &HeaderMap) -> Result<Authorized> {
        let unauthenticated = || Refusal::new(Code::Unauthenticated, "bearer key").got("none that is known");
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (given.next(), given.next()) else { return Err(unauthenticated()) };
        let key = bearer_key(value.as_bytes()).ok_or_else(unauthenticated)?;
        let hash = Sha256::of(key);
        // Every principal is compared, in constant time, so that an answer's time tells neither prefix nor place.
        let known = self.0.iter().fold(None, |found, principal| {
            let same = verify_slices_are_equal(&principal.key_sha256.0, &hash.0).is_ok();
            if same { Some(principal) } else { found }
        });
        known.map(|principal| Authorized { principal: principal.name.clone() }).ok_or_else(unauthenticated)
    }
}

/// The scheme is compared without case (RFC 9110 §11.1); an empty key is none.
fn bearer_key(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(7)?;
    let key = key.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !key.is_empty()).then_some(key)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn principals() -> Principals {
        let principal = |name: &str, key: &[u8]| Principal { name: name.into(), key_sha256: Sha256::of(key) };
        Principals::new(&[principal("app", b"key-of-app"), principal("other", b"key-of-other")])
    }

    fn authenticate(values: &[&str]) -> Result<Authorized> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        principals().authenticate(&headers)
    }

    #[test]
    fn bearer_key_of_a_principal_accepted() {
        assert_eq!(authenticate(&["Bearer key-of-app"]).unwrap().principal(), "app");
        assert_eq!(authenticate(&["bearer  key-of-other "]).unwrap().principal(), "other");
    }

    #[test]
    fn unknown_absent_doubled_and_other_credentials_refused_alike() {
        let refused = [
            &["Bearer key-of-apq"][..],
            &["Bearer key-of-ap"],
            &["Bearer "],
            &["Bearer"],
            &["Basic key-of-app"],
            &["key-of-app"],
            &[],
            &["Bearer key-of-app", "Bearer key-of-app"],
        ]
        .map(|values| authenticate(values).unwrap_err());
        assert!(refused.iter().all(|refusal| refusal.code == Code::Unauthenticated && *refusal == refused[0]));
        assert!(!refused[0].to_string().contains("key-of"));
    }

    #[test]
    fn hash_of_a_key_is_not_a_key() {
        let hash = Sha256::of(b"key-of-app");
        assert_eq!(authenticate(&[&format!("Bearer {hash}")]).unwrap_err().code, Code::Unauthenticated);
    }

    #[test]
    fn without_principals_nobody_accepted() {
        let mut headers = HeaderMap::new();
        headers.append(header::AUTHORIZATION, "Bearer key-of-app".parse().unwrap());
        assert_eq!(Principals::new(&[]).authenticate(&headers).unwrap_err().code, Code::Unauthenticated);
    }
}
