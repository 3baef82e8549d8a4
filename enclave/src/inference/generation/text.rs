//! From tokens to text, as they come: no character before all of its bytes are there, and nothing of what a request stops at.

use super::vocabulary::Vocabulary;
use crate::prompt::Prompt;
use std::sync::Arc;
use zeroize::{Zeroize as _, Zeroizing};

/// Tokens that one character may be spread over at the most: a code point has four bytes.
const OF_ONE_CHARACTER: usize = 4;

/// The text of one answer.
pub(super) struct Text {
    vocabulary: Arc<Vocabulary>,
    /// The last tokens whose text was given, which decide how the next one reads (a space before it), then those that wait.
    tokens: Zeroizing<Vec<u32>>,
    given: usize,
    stops: Stops,
}

impl Text {
    /// An empty one, which ends before the first of `stops`.
    pub(super) fn new(vocabulary: Arc<Vocabulary>, stops: &[Prompt<String>]) -> Self {
        let stops = stops.iter().map(|stop| Prompt::new(stop.expose().clone())).collect();
        Self { vocabulary, tokens: Zeroizing::default(), given: 0, stops: Stops { stops, held: Zeroizing::default() } }
    }

    /// What `token` adds, and whether the text ends there.
    pub(super) fn push(&mut self, token: u32) -> (Prompt<String>, bool) {
        self.tokens.push(token);
        let (before, all) = self.decoded();
        let waiting = self.tokens.len().saturating_sub(self.given);
        // What ends with a replacement character may be the beginning of another.
        if all.ends_with(char::REPLACEMENT_CHARACTER) && waiting < OF_ONE_CHARACTER {
            return (Prompt::new(String::new()), false);
        }
        let new = Zeroizing::new(all.get(before.len()..).unwrap_or_default().to_owned());
        if all.ends_with(char::REPLACEMENT_CHARACTER) {
            // It is none, so what comes next begins anew.
            self.tokens.zeroize();
            self.given = 0;
        } else {
            let old = self.given;
            self.tokens.drain(..old);
            self.given = self.tokens.len();
        }
        self.stops.push(&new)
    }

    /// What was held back, where no token comes any more.
    pub(super) fn end(mut self) -> Prompt<String> {
        let (before, all) = self.decoded();
        let (mut text, stopped) = self.stops.push(all.get(before.len()..).unwrap_or_default());
        if !stopped {
            text.expose_mut().push_str(&self.stops.held);
        }
        text
    }

    fn decoded(&self) -> (Zeroizing<String>, Zeroizing<String>) {
        let before = self.tokens.get(..self.given).unwrap_or_default();
        (self.vocabulary.decode(before), self.vocabulary.decode(&self.tokens))
    }
}

/// Where a text ends, and what of it may be the beginning of that.
struct Stops {
    stops: Vec<Prompt<String>>,
    held: Zeroizing<String>,
}

impl Stops {
    fn push(&mut self, text: &str) -> (Prompt<String>, bool) {
        self.held.push_str(text);
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop.expose().as_str())).min();
        let end = found.unwrap_or_else(|| self.held.len().saturating_sub(self.begun()));
        let given = self.held.get(..end).unwrap_or_default().to_owned();
        let rest = Zeroizing::new(self.held.get(end..).unwrap_or_default().to_owned());
        self.held = rest;
        (Prompt::new(given), found.is_some())
    }

    /// The length of the longest end of the text that a stop begins with.
    fn begun(&self) -> usize {
        let begins = |at: &usize| {
            let end = self.held.get(*at..);
            end.is_some_and(|end| self.stops.iter().any(|stop| stop.expose().starts_with(end)))
        };
        let longest = self.stops.iter().map(|stop| stop.expose().len()).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest);
        (from..self.held.len()).find(begins).map_or(0, |at| self.held.len().saturating_sub(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::generation::vocabulary::tests::bytes;

    /// The pieces that come of these bytes, one token each, and the text up to its end.
    fn pieces(text: &[u8], stops: &[&str]) -> (Vec<String>, String, bool) {
        let stops: Vec<_> = stops.iter().map(|stop| Prompt::new((*stop).to_owned())).collect();
        let (mut all, mut pieces) = (Text::new(Arc::new(bytes()), &stops), Vec::new());
        for byte in text {
            let (piece, stopped) = all.push(u32::from(*byte));
            pieces.push(piece.expose().clone());
            if stopped {
                return (pieces.clone(), pieces.concat(), true);
            }
        }
        let end = all.end().expose().clone();
        (pieces.clone(), pieces.concat() + &end, false)
    }

    #[test]
    fn character_comes_when_all_of_its_bytes_are_there() {
        let (given, text, _) = pieces("aé日🙂z".as_bytes(), &[]);
        assert_eq!(given, ["a", "", "é", "", "", "日", "", "", "", "🙂", "z"]);
        assert_eq!(text, "aé日🙂z");
    }

    #[test]
    fn bytes_that_are_no_text_come_as_replacement_characters_and_what_follows_whole() {
        for bytes in [
            &b"a\xff"[..],
            b"a\xffb",
            b"\xf0\x9f\x99",
            b"\xff\xff\xff\xff\xff\xc3\xa9z",
            b"\xc3(",
            b"\xe6\x97zz\xc3\xa9",
        ] {
            let (_, text, _) = pieces(bytes, &[]);
            let printable = |text: &str| text.replace(char::REPLACEMENT_CHARACTER, "");
            assert_eq!(printable(&text), printable(&String::from_utf8_lossy(bytes)), "{bytes:?}");
            assert!(text.contains(char::REPLACEMENT_CHARACTER));
        }
    }

    #[test]
    fn text_ends_before_a_stop_that_is_spread_over_tokens() {
        let (given, text, stopped) = pieces(b"one two END three", &["END"]);
        assert_eq!((text.as_str(), stopped), ("one two ", true));
        assert!(given.iter().all(|piece| !piece.contains('E')));
        let (_, text, stopped) = pieces(b"one two EN", &["END"]);
        assert_eq!((text.as_str(), stopped), ("one two EN", false), "what only began like a stop is text");
    }

    #[test]
    fn beginning_of_a_stop_held_back_and_given_once_it_is_none() {
        let (given, text, _) = pieces(b"aab-ab.", &["ab-ab-"]);
        assert_eq!((given.concat(), text.as_str()), ("aab-ab.".to_owned(), "aab-ab."));
        assert_eq!(given, ["", "a", "", "", "", "", "ab-ab."]);
    }

    #[test]
    fn first_of_several_stops_counts() {
        assert_eq!(pieces(b"abcdef", &["de", "bcd"]).1, "a");
        assert_eq!(pieces("a日b".as_bytes(), &["日"]).1, "a");
    }
}
