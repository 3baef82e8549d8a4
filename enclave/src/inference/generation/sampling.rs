//! From the logits of one position to the token that is next. Pure: chance is an argument.

use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroizing;

/// How tokens are chosen (OpenAI's reference, "Create chat completion").
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// What logits are divided by; 0 takes the likeliest token, and of several the one with the lowest number.
    pub temperature: f32,
    /// Of the likeliest tokens as few as have this probability together; 1 is all of them.
    pub top_p: f32,
    /// What chance begins with; `None`: with what nobody knows.
    pub seed: Option<u64>,
}

/// Numbers in `[0, 1)`: SplitMix64 (Steele, Lea and Flood, 2014), of each number the 52 highest bits. The same seed and choice
/// give the same numbers in every release.
#[derive(Debug)]
pub(super) struct Draws(u64);

impl Draws {
    /// For the `choice`th answer to one request. The first has the seed's own numbers.
    pub(super) const fn new(seed: u64, choice: u64) -> Self {
        Self(seed.wrapping_add(choice.wrapping_mul(0xd1b5_4a32_d192_ed03)))
    }

    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bits = (mixed ^ (mixed >> 31)) >> 12;
        f64::from_bits(1.0f64.to_bits() | bits) - 1.0
    }
}

/// Room for what is computed on the way to a token, used again for the next.
#[derive(Default)]
pub(super) struct Scratch {
    weights: Zeroizing<Vec<f32>>,
    allowed: Zeroizing<Vec<f32>>,
}

impl Scratch {
    /// The next token of those that `limit` leaves, which rules others out with minus infinity.
    ///
    /// # Errors
    /// As [`choose`] and as `limit`.
    pub(super) fn choose_of(
        &mut self,
        logits: &[f32],
        limit: impl FnOnce(&mut [f32]) -> Result<()>,
        how: &Sampling,
        draws: &mut Draws,
    ) -> Result<u32> {
        let mut allowed = core::mem::take(&mut self.allowed);
        allowed.clear();
        allowed.extend_from_slice(logits);
        let chosen = limit(&mut allowed).and_then(|()| choose(&allowed, how, draws, self));
        self.allowed = allowed;
        chosen
    }
}

/// The next token.
///
/// # Errors
/// `runtime-failed` the logits are no numbers, or there are none.
pub(super) fn choose(logits: &[f32], how: &Sampling, draws: &mut Draws, scratch: &mut Scratch) -> Result<u32> {
    let (likeliest, highest) = likeliest(logits)?;
    if how.temperature <= 0.0 {
        return Ok(likeliest);
    }
    // Relative to the likeliest, so that nothing overflows.
    let weights = &mut *scratch.weights;
    weights.clear();
    weights.extend(logits.iter().map(|logit| ((logit - highest) / how.temperature).exp()));
    let all: f64 = weights.iter().copied().map(f64::from).sum();
    if how.top_p >= 1.0 {
        return Ok(drawn((0..).zip(weights.iter().copied()), all * draws.next()).unwrap_or(likeliest));
    }
    // Tokens less likely than this have less than what is left out, all together; so none of them is among the likeliest.
    let least =
        all * (1.0 - f64::from(how.top_p)) / (1..).zip(&*weights).last().map_or(1.0, |(count, _)| f64::from(count));
    let mut candidates: Vec<(u32, f32)> =
        (0..).zip(weights.iter().copied()).filter(|(_, w)| f64::from(*w) >= least).collect();
    candidates.sort_by(|(a, x), (b, y)| y.total_cmp(x).then(a.cmp(b)));
    let (mut together, mut kept) = (0.0, 0);
    for (_, weight) in &candidates {
        together += f64::from(*weight);
        kept += 1;
        if together >= all * f64::from(how.top_p) {
            break;
        }
    }
    Ok(drawn(candidates.into_iter().take(kept), together * draws.next()).unwrap_or(likeliest))
}

/// The first of `weighted` at which what went before is more than `point`; `None` where rounding made them less.
fn drawn(weighted: impl Iterator<Item = (u32, f32)>, point: f64) -> Option<u32> {
    let mut before = 0.0;
    for (token, weight) in weighted {
        before += f64::from(weight);
        if before > point {
            return Some(token);
        }
    }
    None
}

/// The token with the highest logit, the lowest of several, and its logit. A token may be ruled out, with minus infinity.
fn likeliest(logits: &[f32]) -> Result<(u32, f32)> {
    let mut best = (0, f32::NEG_INFINITY);
    let mut are_numbers = true;
    for (token, logit) in (0..).zip(logits) {
        are_numbers &= !logit.is_nan();
        if *logit > best.1 {
            best = (token, *logit);
        }
    }
    if are_numbers && best.1.is_finite() {
        return Ok(best);
    }
    Err(Refusal::new(Code::RuntimeFailed, "running model.onnx").got("logits that are no numbers"))
}

/// What OpenAI writes for a token that does not come, since JSON has no infinity.
const LEAST: f64 = -9999.0;

/// The natural logarithm of how likely `token` is by these logits, and the `most` likeliest tokens with theirs, the likeliest first.
pub(super) fn log_probabilities(logits: &[f32], token: u32, most: usize) -> (f64, Vec<(u32, f64)>) {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let all: f64 = logits.iter().map(|logit| f64::from(logit - highest).exp()).sum();
    // Of a sum of 1 at least, since the highest is in it.
    let of = |logit: f32| (f64::from(logit - highest) - all.ln()).max(LEAST);
    let mut likeliest: Vec<(u32, f32)> = Vec::with_capacity(most.saturating_add(1));
    for (token, logit) in (0..).zip(logits.iter().copied()) {
        if likeliest.len() < most || likeliest.last().is_some_and(|(_, least)| logit > *least) {
            let at = likeliest.partition_point(|(_, other)| *other >= logit);
            likeliest.insert(at, (token, logit));
            likeliest.truncate(most);
        }
    }
    let own = (0..).zip(logits).find_map(|(at, logit)| (at == token).then_some(*logit)).unwrap_or(f32::NEG_INFINITY);
    (of(own), likeliest.into_iter().map(|(token, logit)| (token, of(logit))).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::as_conversions)]

    use super::*;

    const GREEDY: Sampling = Sampling { temperature: 0.0, top_p: 1.0, seed: None };

    fn token(logits: &[f32], how: Sampling, draws: &mut Draws) -> u32 {
        choose(logits, &how, draws, &mut Scratch::default()).unwrap()
    }

    /// How often each token comes in many draws.
    fn shares(logits: &[f32], how: Sampling) -> Vec<f64> {
        let (mut draws, mut counts) = (Draws::new(7, 0), vec![0.0; logits.len()]);
        for _ in 0..20_000 {
            counts[token(logits, how, &mut draws) as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    #[test]
    fn likeliest_token_taken_at_temperature_zero_and_the_lowest_of_several() {
        assert_eq!(token(&[0.5, 2.0, -1.0], GREEDY, &mut Draws::new(0, 0)), 1);
        assert_eq!(token(&[0.5, 2.0, 2.0], GREEDY, &mut Draws::new(0, 0)), 1);
        assert_eq!(token(&[f32::NEG_INFINITY, -3.0], GREEDY, &mut Draws::new(0, 0)), 1);
    }

    #[test]
    fn tokens_come_as_often_as_the_softmax_says() {
        let logits = [1.0f32, 0.0, 2.0, f32::NEG_INFINITY];
        for temperature in [0.5f32, 1.0, 2.0] {
            let got = shares(&logits, Sampling { temperature, ..GREEDY });
            let weights = logits.map(|logit| f64::from(logit / temperature).exp());
            for (got, weight) in got.iter().zip(weights) {
                let want = weight / weights.iter().sum::<f64>();
                assert!((got - want).abs() < 0.015, "{temperature}: {got} {want}");
            }
            assert!(got[3] == 0.0);
        }
    }

    #[test]
    fn top_p_keeps_as_few_tokens_as_have_that_probability_together() {
        // 0.5, 0.25, 0.125, 0.125
        let logits = [4.0f32, 8.0, 4.0, 16.0].map(f32::ln);
        let kept = |top_p: f32| -> Vec<bool> {
            let how = Sampling { temperature: 1.0, top_p, seed: None };
            shares(&logits, how).iter().map(|share| *share > 0.0).collect()
        };
        assert_eq!(kept(0.0), [false, false, false, true]);
        assert_eq!(kept(0.49), [false, false, false, true]);
        assert_eq!(kept(0.51), [false, true, false, true]);
        assert_eq!(kept(0.76), [true, true, false, true], "of equals the lower number");
        assert_eq!(kept(0.99), [true; 4]);
        let shares = shares(&logits, Sampling { temperature: 1.0, top_p: 0.7, seed: None });
        assert!((shares[3] - 2.0 / 3.0).abs() < 0.015, "the shares of what is kept are as before: {shares:?}");
    }

    #[test]
    fn same_seed_gives_the_same_tokens_and_another_seed_or_choice_others() {
        let logits: Vec<f32> = (0..1000u16).map(|n| f32::from(n % 13) / 13.0).collect();
        let how = Sampling { temperature: 1.0, top_p: 0.9, seed: None };
        let tokens = |seed, choice| {
            let mut draws = Draws::new(seed, choice);
            (0..8).map(|_| token(&logits, how, &mut draws)).collect::<Vec<_>>()
        };
        assert_eq!(tokens(1, 0), tokens(1, 0));
        assert_ne!(tokens(1, 0), tokens(2, 0));
        assert_ne!(tokens(1, 0), tokens(1, 1));
    }

    /// Vigna's splitmix64.c, for the seed 1234567.
    #[test]
    fn numbers_are_those_of_splitmix64() {
        let mut draws = Draws::new(1_234_567, 0);
        for published in [6_457_827_717_110_365_317u64, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423] {
            let want = (published >> 12) as f64 / (1u64 << 52) as f64;
            assert!((draws.next() - want).abs() < f64::EPSILON);
        }
    }

    #[test]
    fn logits_that_are_no_numbers_refused() {
        for logits in [&[1.0, f32::NAN][..], &[f32::INFINITY, 0.0], &[f32::NEG_INFINITY], &[]] {
            let refusal = choose(logits, &GREEDY, &mut Draws::new(0, 0), &mut Scratch::default()).unwrap_err();
            assert_eq!(refusal.code, Code::RuntimeFailed, "{logits:?}");
        }
    }

    #[test]
    fn temperature_next_to_nothing_takes_the_likeliest() {
        let how = Sampling { temperature: f32::MIN_POSITIVE, ..GREEDY };
        assert_eq!(token(&[0.0, 1.0, 0.5], how, &mut Draws::new(3, 0)), 1);
    }
}
