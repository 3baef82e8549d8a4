//! Calls of tools in what a model says, as Hermes and Qwen models write them: `<tool_call>`, JSON of a name and arguments, `</tool_call>`.

use super::answer::Told;
use super::tools::Callable;
use crate::prompt::Prompt;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;
use strongroom_wire::{Code, Refusal, Result};

const BEGIN: &str = "<tool_call>";
const END: &str = "</tool_call>";

/// A part of an answer.
#[derive(Debug)]
pub(super) enum Part {
    /// What is said to the reader.
    Text(Prompt<String>),
    /// A call of a tool.
    Call(ToolCall),
}

/// OpenAI's shape of a call.
#[derive(Serialize)]
pub(super) struct ToolCall {
    /// Which of its answer, from 0; a whole answer does not say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) index: Option<usize>,
    id: String,
    r#type: &'static str,
    function: Called,
}

#[derive(Serialize)]
struct Called {
    name: String,
    arguments: Told,
}

impl core::fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("ToolCall")
    }
}

/// One answer on its way, cut into what is said and what is called. Without tools that may be called, all of it is said.
#[derive(Debug)]
pub(super) struct Calls {
    callable: Arc<Callable>,
    /// What may be the beginning of a call, or is one, or the space before one.
    held: Prompt<String>,
    /// Bytes of it in which no end was found.
    looked_at: usize,
    calls: usize,
}

/// What is between the marks of a call.
enum Read {
    Call(ToolCall),
    /// The beginning of one.
    Part,
    Other,
}

/// What a model writes of a call.
#[derive(Deserialize)]
struct Written<'a> {
    name: String,
    #[serde(borrow)]
    arguments: &'a RawValue,
}

impl Calls {
    /// Of these tools.
    pub(super) fn new(callable: Arc<Callable>) -> Self {
        Self { callable, held: Prompt::new(String::new()), looked_at: 0, calls: 0 }
    }

    /// Whether a tool was called.
    pub(super) const fn are_any(&self) -> bool {
        self.calls > 0
    }

    /// What more of the answer comes to.
    ///
    /// # Errors
    /// `internal` there are no random numbers for the name of a call.
    pub(super) fn push(&mut self, text: &str) -> Result<Vec<Part>> {
        if self.callable.0.is_empty() {
            return Ok(said(text).into_iter().collect());
        }
        self.held.expose_mut().push_str(text);
        let mut parts = Vec::new();
        loop {
            let held = self.held.expose();
            let Some(begin) = held.find(BEGIN) else {
                let end = held.len().saturating_sub(undecided(held));
                parts.extend(self.say(end));
                return Ok(parts);
            };
            // Of an end that began before, the part that was there is looked at again.
            let from = self.looked_at.max(begin);
            let found = held.get(from..).and_then(|rest| rest.find(END)).map(|at| from.saturating_add(at));
            let Some(end) = found else {
                self.looked_at = self.looked_at.max(held.len().saturating_sub(END.len()));
                while !held.is_char_boundary(self.looked_at) {
                    self.looked_at = self.looked_at.saturating_sub(1);
                }
                return Ok(parts);
            };
            let after = end.saturating_add(END.len());
            let written = held.get(begin.saturating_add(BEGIN.len())..end).unwrap_or_default();
            match self.called(written)? {
                // Within a text of the arguments.
                Read::Part => self.looked_at = after,
                Read::Call(call) => {
                    let before = held.get(..begin).unwrap_or_default().trim_end().len();
                    self.looked_at = 0;
                    parts.extend(self.say(before));
                    let rest = after.saturating_sub(before);
                    self.held.expose_mut().drain(..rest);
                    self.calls = self.calls.saturating_add(1);
                    parts.push(Part::Call(call));
                }
                // Not what a call is: the reader may make something of it.
                Read::Other => parts.extend(self.say(after)),
            }
        }
    }

    /// What was held back, where nothing comes any more.
    pub(super) fn end(&mut self) -> Option<Part> {
        let end = self.held.expose().len();
        let rest = self.say(end);
        // The space between calls, and after the last, is nobody's.
        rest.filter(|part| self.calls == 0 || !matches!(part, Part::Text(text) if text.expose().trim().is_empty()))
    }

    fn say(&mut self, end: usize) -> Option<Part> {
        self.looked_at = 0;
        let held = self.held.expose_mut();
        let text = said(held.get(..end).unwrap_or_default());
        held.drain(..end);
        text
    }

    fn called(&self, written: &str) -> Result<Read> {
        let call = match serde_json::from_str::<Written<'_>>(written) {
            Ok(call) => call,
            Err(error) if error.is_eof() => return Ok(Read::Part),
            Err(_) => return Ok(Read::Other),
        };
        if !self.callable.0.contains(&call.name) || !call.arguments.get().starts_with('{') {
            return Ok(Read::Other);
        }
        let function = Called { name: call.name, arguments: Told::new(call.arguments.get()) };
        Ok(Read::Call(ToolCall { index: Some(self.calls), id: id()?, r#type: "function", function }))
    }
}

fn said(text: &str) -> Option<Part> {
    (!text.is_empty()).then(|| Part::Text(Prompt::new(text.to_owned())))
}

/// The length of the end of `text` that may belong to a call: space, then what [`BEGIN`] begins with.
fn undecided(text: &str) -> usize {
    let begun = (0..BEGIN.len()).rev().find(|length| text.ends_with(BEGIN.get(..*length).unwrap_or_default()));
    let begun = begun.unwrap_or(0);
    let before = text.get(..text.len().saturating_sub(begun)).unwrap_or_default();
    text.len().saturating_sub(before.trim_end().len())
}

fn id() -> Result<String> {
    let mut random = [0; 12];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| Refusal::new(Code::Internal, "random numbers"))?;
    Ok(format!("call_{}", hex::encode(random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a text comes to when it comes in pieces of this many bytes.
    fn cut(text: &str, size: usize) -> (String, Vec<(String, String)>) {
        let mut calls = Calls::new(Arc::new(Callable(["f", "g"].map(str::to_owned).into())));
        let pieces: Vec<char> = text.chars().collect();
        let mut parts = Vec::new();
        for piece in pieces.chunks(size) {
            parts.extend(calls.push(&piece.iter().collect::<String>()).unwrap());
        }
        parts.extend(calls.end());
        let (mut said, mut called) = (String::new(), Vec::new());
        for part in parts {
            match part {
                Part::Text(text) => said.push_str(text.expose()),
                Part::Call(call) => {
                    assert_eq!(call.index, Some(called.len()));
                    called.push((call.function.name, call.function.arguments.0.expose().clone()));
                }
            }
        }
        assert_eq!(calls.are_any(), !called.is_empty());
        (said, called)
    }

    #[test]
    fn calls_are_told_from_what_is_said_however_they_come() {
        let one = r#"<tool_call>{"name": "f", "arguments": {"é": 1.50}}</tool_call>"#;
        let two = "<tool_call>\n{\"name\":\"g\",\"arguments\":{}}\n</tool_call>";
        for size in [1, 2, 5, 7, 11, 1000] {
            let (said, called) = cut(&format!("I ask. \n{one}\n{two}\n"), size);
            let within = r#"<tool_call>{"name": "f", "arguments": {"x": "\"}\n</tool_call>"}}</tool_call>"#;
            assert_eq!(cut(within, size).1, [("f".to_owned(), r#"{"x": "\"}\n</tool_call>"}"#.to_owned())]);
            let want = [("f", r#"{"é": 1.50}"#), ("g", "{}")].map(|(name, given)| (name.to_owned(), given.to_owned()));
            assert_eq!((said.as_str(), called.as_slice()), ("I ask.", want.as_slice()), "{size}");
            assert_eq!(cut(&format!("{one} done "), size).0, " done");
        }
    }

    #[test]
    fn what_is_no_call_of_a_tool_that_there_is_said_as_it_is() {
        for text in [
            "a < b <tool_ca",
            "<tool_call>{\"name\": \"f\", \"arguments\": {}}",
            "<tool_call>{\"name\": \"other\", \"arguments\": {}}</tool_call>",
            "<tool_call>{\"name\": \"f\", \"arguments\": 1}</tool_call>",
            "<tool_call>f()</tool_call> and",
            "</tool_call>日本<tool_call>日</tool",
            " space around \n",
        ] {
            for size in [1, 3, 1000] {
                assert_eq!(cut(text, size), (text.to_owned(), vec![]), "{size}");
            }
        }
    }

    #[test]
    fn without_tools_everything_is_said_at_once() {
        let mut calls = Calls::new(Arc::default());
        let parts = calls.push("<tool_call>").unwrap();
        assert!(matches!(parts.as_slice(), [Part::Text(text)] if text.expose() == "<tool_call>"));
        assert!(calls.end().is_none());
    }
}
