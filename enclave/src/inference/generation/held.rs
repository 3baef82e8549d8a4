//! What requests hold of what all of them share: rows, and the memory of their tokens.

use super::batch::room;
use super::lanes::lane;

/// Rows of the runs, and tokens that there is memory for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) rows: usize,
    pub(super) tokens: usize,
}

impl Held {
    /// What a request holds until its answers begin: their rows, and what its prompt runs in. `tokens` are of prompt and answer together.
    pub(super) fn by_request(prompt: usize, tokens: usize, choices: usize) -> Self {
        let answers = lane(tokens).saturating_mul(choices);
        Self { rows: choices, tokens: answers.saturating_add(room(prompt.saturating_add(1), tokens)) }
    }

    /// What an answer under way holds.
    pub(super) fn by_answer(tokens: usize) -> Self {
        Self { rows: 1, tokens: lane(tokens) }
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self { rows: self.rows.saturating_add(other.rows), tokens: self.tokens.saturating_add(other.tokens) }
    }

    pub(super) const fn is_within(self, limit: Self) -> bool {
        self.rows <= limit.rows && self.tokens <= limit.tokens
    }

    /// Whether who has `self`, where `all` have that together, may have `more` too: as much as is left for others then, which is half where
    /// nobody else has anything, and of several identities that are given something by turns the same for each and as much again for who comes next
    /// (Choudhury, Hahne: Dynamic Queue Length Thresholds for Shared-Memory Packet Switches, 1998). What was given is not taken back: beside one who has half
    /// already, another comes to a quarter. Who has nothing may have what there is.
    pub(super) fn may_have(self, more: Self, all: Self, limit: Self) -> bool {
        let after = all.and(more);
        after.is_within(limit) && (self == Self::default() || self.and(more).and(after).is_within(limit))
    }
}

impl core::iter::Sum for Held {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::and)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Held = Held { rows: 32, tokens: 320 };

    fn held(rows: usize) -> Held {
        Held { rows, tokens: rows * 10 }
    }

    #[test]
    fn who_has_something_may_have_as_much_as_is_left_and_no_more() {
        assert!(held(15).may_have(held(1), held(15), LIMIT));
        assert!(!held(16).may_have(held(1), held(16), LIMIT));
        // Beside another that has eight.
        assert!(held(11).may_have(held(1), held(19), LIMIT));
        assert!(!held(12).may_have(held(1), held(20), LIMIT));
    }

    #[test]
    fn rows_and_memory_are_both_bounds() {
        let (own, all) = (held(15), held(15));
        assert!(own.may_have(Held { rows: 1, tokens: 10 }, all, LIMIT));
        assert!(!own.may_have(Held { rows: 2, tokens: 10 }, all, LIMIT));
        assert!(!own.may_have(Held { rows: 1, tokens: 11 }, all, LIMIT));
    }

    #[test]
    fn who_has_nothing_may_have_what_there_is_and_no_more() {
        assert!(Held::default().may_have(held(16), held(16), LIMIT));
        assert!(!Held::default().may_have(held(17), held(16), LIMIT));
    }

    #[test]
    fn identities_that_are_given_rows_by_turns_come_to_the_same_and_leave_as_much() {
        let mut each = [Held::default(); 3];
        while let Some(at) = (0..3)
            .filter(|at| each[*at].may_have(held(1), each.into_iter().sum(), LIMIT))
            .min_by_key(|at| each[*at].rows)
        {
            each[at] = each[at].and(held(1));
        }
        assert_eq!(each.map(|held| held.rows), [8; 3]);
    }
}
