//! Answers that have to be of a form: JSON that a schema describes, or calls of tools.
//!
//! A form is made into a grammar over the bytes of the model's tokens, by `llguidance`. At each token the grammar says which ones may come
//! next, and the model chooses among these; so an answer that ends by itself is of its form, whatever the model is. The first look is
//! taken before a request waits for its turn, outside the thread that everybody waits for, and every further one is bounded to some
//! milliseconds: a form that takes more ends its own answer.

mod schema;

pub use schema::Schema;

use core::fmt;
use core::panic::AssertUnwindSafe;
use llguidance::api::TopLevelGrammar;
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory, panic_utils, token_bytes_from_tokenizer_json};
use std::fmt::Write as _;
use std::sync::Arc;
use std::thread;
use strongroom_wire::{Code, Refusal, Result};

/// Steps of a lexer until the grammar has its first state: schemas of a thousand members take a quarter.
const FIRST_STEPS: u64 = 1_000_000;
/// The same at one token: some milliseconds.
const STEPS: u64 = 50_000;
/// What a parser may look at for one token.
const ITEMS: usize = 10_000;
/// States of a lexer, one or two kilobytes each.
const STATES: usize = 10_000;
/// Symbols of a grammar.
const SYMBOLS: usize = 100_000;
/// Bytes of the stack of who makes a grammar: schemas that refer to one another are gone through within one another.
const STACK: usize = 64 * 1024 * 1024;
/// Bits of one word of a mask.
const WORD: usize = 32;

/// What the text of an answer has to be.
pub enum Form {
    /// JSON.
    Json(Schema),
    /// Calls of tools, in the way that Hermes and Qwen models write them: `<tool_call>`, a line of JSON, `</tool_call>`.
    Calls {
        /// Those that may be called, and what their arguments have to be. None is called otherwise than letters, digits, `_` and `-`.
        tools: Vec<(String, Schema)>,
        /// Whether there may be more than one call.
        several: bool,
    },
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Form")
    }
}

impl Form {
    fn into_grammar(self) -> TopLevelGrammar {
        match self {
            Self::Json(schema) => TopLevelGrammar::from_json_schema(schema.value),
            Self::Calls { tools, several } => TopLevelGrammar::from_lark(of_calls(&tools, several)),
        }
    }
}

/// A grammar of calls, in Lark's language. Nothing of a caller's is in it but names that were held to their letters, and JSON, which ends
/// where it ends.
fn of_calls(tools: &[(String, Schema)], several: bool) -> String {
    let names: Vec<String> = (0..tools.len()).map(|at| format!("call{at}")).collect();
    let more = if several { r#" ("\n" call)*"# } else { "" };
    let mut lark = format!("start: call{more}\ncall: {}\n", names.join(" | "));
    for (name, (tool, arguments)) in names.iter().zip(tools) {
        let head = format!(r#""<tool_call>\n{{\"name\": \"{tool}\", \"arguments\": ""#);
        // Writing to a string does not fail.
        let _ = writeln!(lark, r#"{name}: {head} %json {} "}}\n</tool_call>""#, arguments.value);
    }
    lark
}

/// What makes forms into grammars over the tokens of one model.
pub(super) struct Grammars(ParserFactory);

impl Grammars {
    /// For the tokens of this `tokenizer.json`, of which `ends` end an answer. `None`: which bytes a token stands for cannot be told. Blocks, up to
    /// a second where there are many tokens.
    pub(super) fn of(tokenizer: &str, ends: &[u32]) -> Option<Self> {
        // Where tokens are not as they are taken to be, it panics.
        let made = panic_utils::catch_unwind(AssertUnwindSafe(|| {
            let words = token_bytes_from_tokenizer_json(&serde_json::from_str(tokenizer)?)?;
            let count = u32::try_from(words.len())?;
            let ends: Vec<u32> = ends.iter().copied().filter(|end| *end < count).collect();
            let first = ends.first().copied().unwrap_or(count);
            let trie = TokTrie::from(&TokRxInfo::new(count, first), &words).with_eos_tokens(&ends);
            let tokens: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
            let slices = SlicedBiasComputer::general_slices();
            let mut factory = ParserFactory::new(&tokens, InferenceCapabilities::default(), &slices)?;
            factory.quiet();
            let limits = factory.limits_mut();
            (limits.initial_lexer_fuel, limits.step_lexer_fuel) = (FIRST_STEPS, STEPS);
            (limits.step_max_items, limits.max_lexer_states, limits.max_grammar_size) = (ITEMS, STATES, SYMBOLS);
            (limits.precompute_large_lexemes, limits.verbose_errors) = (false, false);
            Ok(factory)
        }));
        made.ok().map(Self)
    }

    /// The beginning of an answer that is to be of `form`. Blocks.
    ///
    /// # Errors
    /// `request-invalid` nothing is of that form, or it wants what cannot be held to; `too-large` it takes too much work.
    pub(super) fn guide(&self, form: Form) -> Result<Guide> {
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("grammar".to_owned()).stack_size(STACK);
            let made = thread.spawn_scoped(scope, || self.begin(form));
            let made = made.map_err(|e| Refusal::new(Code::Io, "grammar thread").because(e))?;
            made.join().map_err(|_| Refusal::new(Code::Internal, "grammar thread"))?
        })
    }

    fn begin(&self, form: Form) -> Result<Guide> {
        let refused = |why: &dyn fmt::Display| {
            // What it says may quote the schema, so that it is only looked at.
            let why = why.to_string();
            if ["schema too large", "fuel", "too many", "too big", "stack level exceeded"]
                .iter()
                .any(|word| why.contains(word))
            {
                return too_much();
            }
            let want = "a JSON schema that something follows, of keywords that go together";
            Refusal::new(Code::RequestInvalid, "schema").want(want)
        };
        let mut guide = Guide(Matcher::new(Ok(self.0.create_parser(form.into_grammar()).map_err(|e| refused(&e))?)));
        // Where nothing follows it, there is no first token.
        guide.0.compute_mask().map_err(|e| refused(&e))?;
        Ok(guide)
    }

    /// The bytes that `token` stands for.
    pub(super) fn bytes(&self, token: u32) -> Vec<u8> {
        let trie = self.0.tok_env().tok_trie();
        // A special token's are marked with a byte that is in no text.
        let marked = |bytes: &[u8]| bytes.strip_prefix(&[TokTrie::SPECIAL_TOKEN_MARKER]).map(<[u8]>::to_vec);
        if usize::try_from(token).is_ok_and(|token| token < trie.vocab_size()) {
            let bytes = trie.token(token);
            return marked(bytes).filter(|_| trie.is_special_token(token)).unwrap_or_else(|| bytes.to_vec());
        }
        Vec::new()
    }
}

fn too_much() -> Refusal {
    Refusal::new(Code::TooLarge, "schema").got("more work than an answer may take")
}

/// What ended an answer on its way. What is said of it may quote the answer.
fn failed(why: &dyn fmt::Display) -> Refusal {
    let why = why.to_string();
    if why.starts_with("panic") || why.contains("NoExtensionBias") {
        return Refusal::new(Code::RuntimeFailed, "form of an answer").got("no token that may come next");
    }
    too_much()
}

/// How far an answer is in its form. Clones go their own ways from here.
#[derive(Clone)]
pub(super) struct Guide(Matcher);

impl fmt::Debug for Guide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guide")
    }
}

impl Guide {
    /// Rules out, with minus infinity, the tokens that may not come next.
    ///
    /// # Errors
    /// `too-large` that takes too much work; `runtime-failed` no token of the model may.
    pub(super) fn limit(&mut self, logits: &mut [f32]) -> Result<()> {
        let may = self.0.compute_mask_or_eos().map_err(|e| failed(&e))?;
        let mut words = logits.chunks_mut(WORD);
        for (may, logits) in may.as_slice().iter().zip(words.by_ref()) {
            for (bit, logit) in logits.iter_mut().enumerate() {
                if may >> bit & 1 == 0 {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        // A model may have logits for more tokens than there are.
        words.for_each(|logits| logits.fill(f32::NEG_INFINITY));
        Ok(())
    }

    /// Goes on past `token`, which was allowed.
    ///
    /// # Errors
    /// As [`Self::limit`].
    pub(super) fn take(&mut self, token: u32) -> Result<()> {
        self.0.consume_token(token).map_err(|e| failed(&e))
    }
}

#[cfg(test)]
mod tests;
