//! What speaks against promotions, apart from who said it.

use strongroom_wire::digest::Sha256;

/// What was true once by the word of those who were promoters then, and stays true whoever is one later: a promotion with a higher
/// sequence alone gets past it. [`Statements::facts`](super::Statements::facts) are those to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    /// Enough distinct promoters promoted a manifest.
    Reached {
        /// What was promoted.
        manifest: Sha256,
        /// With this sequence at the highest.
        sequence: u64,
    },
    /// A promoter demoted a manifest.
    Demoted {
        /// What was demoted.
        manifest: Sha256,
        /// With this sequence at the highest.
        sequence: u64,
        /// At this time at the latest, in seconds of Unix time.
        issued: u64,
    },
}

impl Fact {
    /// What it is about.
    pub const fn manifest(&self) -> Sha256 {
        match self {
            Self::Reached { manifest, .. } | Self::Demoted { manifest, .. } => *manifest,
        }
    }

    /// Both in one: neither says less then. `None` where they are not about the same.
    pub fn with(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Reached { manifest, sequence }, Self::Reached { manifest: same, sequence: more }) => {
                (manifest == same).then(|| Self::Reached { manifest, sequence: sequence.max(more) })
            }
            (
                Self::Demoted { manifest, sequence, issued },
                Self::Demoted { manifest: same, sequence: more, issued: later },
            ) => (manifest == same).then(|| Self::Demoted {
                manifest,
                sequence: sequence.max(more),
                issued: issued.max(later),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Action, Statement, Statements};
    use super::*;
    use crate::keys::SigningKey;
    use strongroom_wire::Code;
    use strongroom_wire::trust::{Environment, PromotionRule, Rule, Signer, TrustFile};

    const MODEL: Sha256 = Sha256([7; 32]);
    const OTHER: Sha256 = Sha256([8; 32]);
    const NOW: u64 = 1_800_000_000;

    /// What is known where one promoter said this of models, with sequences and at times.
    fn known(said: &[(Sha256, u64, u64, bool)]) -> Statements {
        let key = SigningKey::generate().unwrap();
        let signer = || vec![Signer::with_key("anna", key.public().pem())];
        let environment = Environment::parse("production").unwrap();
        let rule =
            Rule { promotion: Some(PromotionRule::new(environment.clone(), signer())), ..Rule::new("h/m", signer()) };
        let mut statements = Statements::demanded(&TrustFile::new(vec![rule]), "h/m").unwrap().unwrap();
        for (manifest, sequence, issued, promotes) in said {
            let action = match promotes {
                true => Action::Promote { expires: NOW + 1000, policy: None },
                false => Action::Demote { reason: "it leaks".into() },
            };
            let (repository, environment) = ("h/m".into(), environment.clone());
            let statement = Statement {
                manifest: *manifest,
                repository,
                environment,
                sequence: *sequence,
                issued: *issued,
                action,
            };
            statements.add(&statement.sign(&key).unwrap()).unwrap();
        }
        statements
    }

    fn judged(statements: &Statements) -> Result<u64, Code> {
        statements.judge(&MODEL, NOW).map(|promotion| promotion.sequence()).map_err(|refusal| refusal.code)
    }

    #[test]
    fn fact_counts_without_its_promoter_until_a_promotion_with_a_higher_sequence() {
        let demoted = known(&[(MODEL, 4, NOW, false), (MODEL, 2, NOW, false)]).facts(NOW);
        assert_eq!(demoted, [Fact::Demoted { manifest: MODEL, sequence: 4, issued: NOW }]);
        let reached = known(&[(OTHER, 2, NOW, true), (OTHER, 4, NOW, true)]).facts(NOW);
        assert_eq!(reached, [Fact::Reached { manifest: OTHER, sequence: 4 }]);
        for (facts, code) in [(demoted, Code::PromotionDemoted), (reached, Code::PromotionSuperseded)] {
            for (sequence, want) in [(4, Err(code)), (5, Ok(5))] {
                let mut today = known(&[(MODEL, sequence, NOW, true)]);
                assert_eq!(judged(&today), Ok(sequence));
                facts.iter().for_each(|fact| today.remember(*fact));
                assert_eq!(judged(&today), want);
            }
        }
        let mut same = known(&[(MODEL, 4, NOW, true)]);
        same.remember(Fact::Reached { manifest: MODEL, sequence: 4 });
        assert_eq!(judged(&same), Ok(4), "its own promotion is nothing against it");
    }

    #[test]
    fn promotion_made_before_a_demotion_and_shown_after_it_refused_though_its_sequence_is_higher() {
        let renewed =
            |issued| judged(&known(&[(MODEL, 1, NOW - 9, true), (MODEL, 2, NOW - 5, false), (MODEL, 3, issued, true)]));
        assert_eq!(renewed(NOW - 5), Ok(3));
        assert_eq!(renewed(NOW - 6), Err(Code::PromotionDemoted));
        let ahead = judged(&known(&[(MODEL, 1, NOW + 900, false), (MODEL, 2, NOW, true)]));
        assert_eq!(ahead, Ok(2), "a clock that is ahead stops nothing that is made after");
    }
}
