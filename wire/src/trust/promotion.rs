//! What a rule demands of promotions: who may say that a model is for an environment, and how many of them must.
//!
//! ```toml
//! [rule.promotion]
//! environment = "production"
//! threshold = 2                     # distinct promoters; absent: 1
//! minimum-sequence = 7              # what was promoted before counts no more; absent: 1
//! policy = "<64 hex>"               # the release policy that the promotion must name; absent: any, or none
//! [[rule.promotion.promoter]]       # as a signer: by key or identity
//! name = "operations"
//! key = """-----BEGIN PUBLIC KEY----- …"""
//! ```

use super::Signer;
use crate::digest::Sha256;
use crate::{Code, Refusal, Result, limits};
use core::fmt;
use serde::{Deserialize, Serialize};

/// What a model must be promoted to, and by whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PromotionRule {
    /// The environment.
    pub environment: Environment,
    /// How many distinct promoters must have said the same. At least one. Any one of them may demote.
    #[serde(default = "super::one")]
    pub threshold: usize,
    /// A promotion of a lower sequence does not count. From 1.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub minimum_sequence: u64,
    /// SHA-256 of the release policy that the promotion must name. Absent: it may name any, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Sha256>,
    /// Those who may promote and demote.
    #[serde(rename = "promoter")]
    pub promoters: Vec<Signer>,
}

/// The name of an environment: letters `a` to `z`, digits, `-` and `.`, the first a letter or digit; at most
/// [`limits::ENVIRONMENT`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Environment(String);

const fn first() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_first(sequence: &u64) -> bool {
    *sequence == first()
}

impl PromotionRule {
    /// One of these is enough for `environment`, under any policy and of any sequence.
    pub fn new(environment: Environment, promoters: Vec<Signer>) -> Self {
        Self { environment, threshold: 1, minimum_sequence: first(), policy: None, promoters }
    }

    /// Refuses what nothing could satisfy.
    pub(super) fn verify_shape(&self) -> Result<()> {
        let wrong = |what: &str| Err(Refusal::new(Code::ConfigurationInvalid, format!("trust file: {what}")));
        if self.threshold == 0 || self.threshold > self.promoters.len() {
            return wrong("a threshold of promoters is at least 1 and at most their number");
        }
        if !(1..=limits::PROMOTION_SEQUENCE).contains(&self.minimum_sequence) {
            return wrong("a minimum sequence is at least 1 and below 2^53");
        }
        super::verify_distinct(&self.promoters)
    }
}

impl Environment {
    /// Parses the name of an environment.
    ///
    /// # Errors
    /// `malformed`.
    pub fn parse(text: &str) -> Result<Self> {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let begins = text.bytes().next().is_some_and(letter);
        let holds = text.bytes().all(|byte| letter(byte) || matches!(byte, b'-' | b'.'));
        if begins && holds && text.len() <= limits::ENVIRONMENT {
            return Ok(Self(text.to_owned()));
        }
        let got: String = text.chars().take(limits::ENVIRONMENT).collect();
        Err(Refusal::new(Code::Malformed, "environment").got(got).want("letters a to z, digits, `-` and `.`"))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Environment {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Environment> for String {
    fn from(environment: Environment) -> Self {
        environment.0
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::TrustFile;
    use super::*;

    fn file(promotion: &str, promoters: &str) -> Result<TrustFile> {
        let rule = "[[rule]]\nrepository='h/a'\n[[rule.signer]]\nname='a'\nkey='k'\n[rule.promotion]\n";
        TrustFile::parse(format!("{rule}{promotion}\n{promoters}").as_bytes())
    }

    const ANNA: &str = "[[rule.promotion.promoter]]\nname='anna'\nkey='one'\n";

    #[test]
    fn demand_reads_back_and_is_absent_where_it_is_not_written() {
        let short = file("environment='production'", ANNA).unwrap();
        let environment = Environment::parse("production").unwrap();
        let rule = PromotionRule::new(environment, vec![Signer::with_key("anna", "one")]);
        assert_eq!(short.rules[0].promotion.as_ref(), Some(&rule));
        let long = "environment='production'\nthreshold=2\nminimum-sequence=7\npolicy='".to_owned() + &"07".repeat(32);
        let long =
            file(&(long + "'"), &(ANNA.to_owned() + &ANNA.replace("anna", "ben").replace("one", "two"))).unwrap();
        let rule = long.rules[0].promotion.as_ref().unwrap();
        assert_eq!((rule.threshold, rule.minimum_sequence, rule.policy), (2, 7, Some(Sha256([7; 32]))));
        for file in [short, long] {
            let written = toml::to_string(&file).unwrap();
            assert_eq!(TrustFile::parse(written.as_bytes()).unwrap(), file);
            // What is not said is not written: a document keeps its digest.
            let first = file.rules[0].promotion.as_ref().unwrap().minimum_sequence == 1;
            assert_eq!(written.contains("minimum-sequence"), !first);
        }
        let none = TrustFile::parse(b"[[rule]]\nrepository='h/a'\n[[rule.signer]]\nname='a'\nkey='k'\n").unwrap();
        assert_eq!(none.rules[0].promotion, None);
    }

    #[test]
    fn demand_that_nothing_satisfies_or_that_counts_somebody_twice_refused() {
        let code = |promotion: &str, promoters: &str| file(promotion, promoters).unwrap_err().code;
        let good = "environment='production'";
        let wrong = Code::ConfigurationInvalid;
        assert_eq!(code("", ANNA), wrong);
        assert_eq!(code(&format!("{good}\npromoter=[]"), ""), wrong);
        for more in
            ["threshold=0", "threshold=2", "minimum-sequence=0", "minimum-sequence=9007199254740992", "policy='x'"]
        {
            assert_eq!(code(&format!("{good}\n{more}"), ANNA), wrong, "{more}");
        }
        assert!(file(&format!("{good}\nminimum-sequence=9007199254740991"), ANNA).is_ok());
        assert_eq!(code(&format!("{good}\nsequence=1"), ANNA), Code::UnknownField);
        for twin in
            [ANNA.replace("one", "two"), ANNA.replace("anna", "ben"), ANNA.replace("anna", "b").replace("one", " one ")]
        {
            assert_eq!(code(good, &format!("{ANNA}{twin}")), wrong, "{twin}");
        }
        let open = "[[rule.promotion.promoter]]\nname='ci'\nidentity={issuer='i',subject-pattern='*'}\n";
        assert_eq!(code(good, open), wrong);
    }

    #[test]
    fn name_of_an_environment_accepted_and_what_is_none_refused() {
        let longest = "a".repeat(limits::ENVIRONMENT);
        for good in ["production", "eu-1.staging", "0", &longest] {
            let environment = Environment::parse(good).unwrap();
            assert_eq!((environment.as_str(), environment.to_string()), (good, good.to_owned()));
        }
        for bad in ["", "Production", "-a", ".a", "a b", "a/b", "a_b", "ä", &format!("{longest}a")] {
            assert_eq!(Environment::parse(bad).unwrap_err().code, Code::Malformed, "{bad}");
        }
    }
}
