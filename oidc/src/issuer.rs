//! One issuer, and whom its tokens name.

use crate::keys::{Keys, Source};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use strongroom_jose::{Algorithm, Types};
use strongroom_wire::bytes::from_base64url;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, limits};

/// Characters of a subject. OpenID Connect Core §2 has at most 255.
const SUBJECT: usize = 255;
/// Seconds for which a token may be good: a working day and some. Nobody can take one back.
const LIFETIME: u64 = 12 * 60 * 60;

/// What is expected of the tokens of one issuer.
#[derive(Debug, Clone)]
pub struct Expected {
    /// `iss`.
    pub issuer: String,
    /// One of `aud`.
    pub audience: String,
    /// How they may be signed.
    pub algorithms: Vec<Algorithm>,
    /// What they may say that they are; `None`: anything.
    pub types: Option<Vec<String>>,
    /// The claim that has groups: a text, or a list of texts.
    pub groups_claim: String,
    /// Other claims that are of use, where they are texts.
    pub claims: Vec<String>,
}

/// An issuer whose word on who somebody is counts.
#[derive(Debug)]
pub struct Issuer {
    expected: Expected,
    keys: Keys,
}

/// Whom a token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// `sub`: 1 to 255 characters that can be read.
    pub subject: String,
    /// Of the groups claim; at most [`limits::TOKEN_GROUPS`].
    pub groups: Vec<String>,
    /// Those of the claims asked for that are texts.
    pub claims: BTreeMap<String, String>,
    /// Whether the token is bound to the certificate that was shown with it.
    pub bound: bool,
}

/// RFC 7800 §3.1.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confirmation {
    /// RFC 8705 §3.1.
    #[serde(rename = "x5t#S256")]
    certificate: Option<String>,
}

impl Issuer {
    /// One with keys of `source`.
    ///
    /// # Errors
    /// `too-large`, `malformed`, `key-invalid`: of the keys; `configuration-invalid`: their address is none, or its authority.
    pub fn new(expected: Expected, source: Source) -> Result<Self> {
        let keys = Keys::new(source, &expected.algorithms);
        let keys = keys.map_err(|refusal| refusal.within(format!("issuer `{}`", expected.issuer)))?;
        Ok(Self { expected, keys })
    }

    /// What its tokens say in `iss`.
    pub fn name(&self) -> &str {
        &self.expected.issuer
    }

    /// Whether `token` says that it is of this issuer, which nobody has verified.
    pub fn is_named_in(&self, token: &str) -> bool {
        #[derive(Deserialize)]
        struct Named {
            iss: String,
        }
        let payload = token.split('.').nth(1).filter(|_| token.len() <= limits::TOKEN);
        let payload = payload.and_then(|payload| from_base64url(payload, "payload").ok());
        let named = payload.and_then(|payload| serde_json::from_slice::<Named>(&payload).ok());
        named.is_some_and(|named| named.iss == self.expected.issuer)
    }

    /// Whom `token` names at `now`, in seconds since 1970, to somebody who has shown the certificate of that SHA-256 and proven to have
    /// its key; `None`: none.
    ///
    /// # Errors
    /// `token-invalid`: as [`strongroom_jose::TokenVerifier::verify_typed`], of another issuer, about nobody, good for more than twelve
    /// hours, bound to something else than that certificate, or with more groups or longer claims than are read; why there are no keys.
    pub async fn subject(&self, token: &str, shown: Option<Sha256>, now: u64) -> Result<Subject> {
        let expected = &self.expected;
        let keys = self.keys.for_token(token, now).await?;
        let types = expected.types.as_deref().map_or(Types::Any, Types::OneOf);
        let claims: Map<String, Value> = keys.verify_typed(token, now, &expected.audience, types)?;
        let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
        if text("iss") != Some(&expected.issuer) {
            return Err(invalid("iss").got(text("iss").unwrap_or("none")).want(&expected.issuer));
        }
        let subject = text("sub").filter(|sub| is_subject(sub));
        let subject = subject.ok_or_else(|| invalid("sub").want("one of 1 to 255 characters"))?;
        let time = |claim: &str| claims.get(claim).and_then(Value::as_u64).unwrap_or_default();
        if time("exp").saturating_sub(time("iat")) > LIFETIME {
            return Err(invalid("exp").got(time("exp")).want(format!("at most {LIFETIME} seconds after iat")));
        }
        // RFC 8417: that something happened to somebody is no word of theirs (OpenID Connect Back-Channel Logout §2.4).
        if claims.contains_key("events") {
            return Err(invalid("events").want("none"));
        }
        Ok(Subject {
            subject: subject.to_owned(),
            groups: groups(claims.get(&expected.groups_claim), &expected.groups_claim)?,
            claims: self.claims(&claims)?,
            bound: is_bound(claims.get("cnf"), shown)?,
        })
    }

    fn claims(&self, claims: &Map<String, Value>) -> Result<BTreeMap<String, String>> {
        let mut known = BTreeMap::new();
        for name in &self.expected.claims {
            if let Some(text) = claims.get(name).and_then(Value::as_str) {
                known.insert(name.clone(), short(name, text)?);
            }
        }
        Ok(known)
    }
}

/// Whether a token is bound to the certificate that was shown; a token that is bound to anything else is none of who shows it.
fn is_bound(confirmation: Option<&Value>, shown: Option<Sha256>) -> Result<bool> {
    let Some(confirmation) = confirmation else { return Ok(false) };
    let stated = Confirmation::deserialize(confirmation).ok().and_then(|stated| stated.certificate);
    let Some(stated) = stated else {
        return Err(invalid("cnf").got("another way to prove possession").want("x5t#S256"));
    };
    let stated = from_base64url(&stated, "x5t#S256").map_err(|_| invalid("cnf").want("base64url"))?;
    match shown {
        Some(shown) if stated == shown.0 => Ok(true),
        Some(shown) => {
            Err(invalid("cnf").got(format!("certificate {shown}")).want("the one that the token is bound to"))
        }
        None => Err(invalid("cnf").got("no certificate").want("the one that the token is bound to")),
    }
}

fn groups(claim: Option<&Value>, name: &str) -> Result<Vec<String>> {
    let groups = match claim {
        None => return Ok(Vec::new()),
        Some(Value::String(group)) => return Ok(vec![short(name, group)?]),
        Some(Value::Array(groups)) => groups,
        Some(_) => return Err(invalid(name).want("a text, or a list of texts")),
    };
    if groups.len() > limits::TOKEN_GROUPS {
        return Err(invalid(name).got(groups.len()).want(format!("at most {}", limits::TOKEN_GROUPS)));
    }
    groups.iter().filter_map(Value::as_str).map(|group| short(name, group)).collect()
}

/// What stands in questions to policies.
fn short(name: &str, text: &str) -> Result<String> {
    if text.len() > limits::TOKEN_TEXT {
        let want = format!("at most {}", limits::TOKEN_TEXT);
        return Err(invalid(name).got(format!("{} bytes", text.len())).want(want));
    }
    Ok(text.to_owned())
}

fn is_subject(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= SUBJECT && !text.contains(char::is_control)
}

fn invalid(claim: &str) -> Refusal {
    Refusal::new(Code::TokenInvalid, claim).within("token")
}

#[cfg(test)]
mod tests;
