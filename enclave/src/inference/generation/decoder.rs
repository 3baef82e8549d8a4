//! A generating model's graph: tokens in, the logits of what is next out, and between them what it keeps of the tokens before.
//!
//! The graph has the inputs `input_ids`, `attention_mask` and `past_key_values.N.key` and `.value`, and the outputs `logits`, of
//! each row's last position, and `present.N.key` and `.value`, as Optimum and ONNX Runtime GenAI name them. Its attention is
//! `GroupQueryAttention`, whose past and present may be one tensor: then a step writes the keys and values of its own tokens and
//! copies none. Rows of one tensor are of different lengths, which the mask tells.

mod cache;

pub(super) use cache::Cache;

use super::batch::Forward;
use ort::session::Session;
use ort::value::{Outlet, TensorElementType, ValueType};
use strongroom_wire::{Code, Refusal, Result};

const IDS: &str = "input_ids";
const MASK: &str = "attention_mask";
const PAST: &str = "past_key_values.";
const PRESENT: &str = "present.";
const LOGITS: &str = "logits";

/// A loaded graph.
#[derive(Debug)]
pub(super) struct Decoder {
    session: Session,
    shape: Shape,
}

/// What a cache of it is made of.
#[derive(Debug)]
struct Shape {
    /// The names of each part of what it keeps, as an input and as an output.
    parts: Vec<(String, String)>,
    heads: usize,
    width: usize,
    vocabulary: usize,
}

impl Shape {
    /// Numbers kept of one token in one part.
    const fn of_token(&self) -> usize {
        self.heads.saturating_mul(self.width)
    }
}

/// Whether `session` holds such a graph: whatever keeps keys and values generates.
pub(super) fn is_decoder(session: &Session) -> bool {
    session.inputs().iter().any(|input| input.name().starts_with(PAST))
}

impl Decoder {
    /// The graph that `session` holds.
    ///
    /// # Errors
    /// `model-unsupported` an input or output has another name, type or shape.
    pub(super) fn new(session: Session) -> Result<Self> {
        let unsupported =
            |what: &str, name: &str, want: &str| Refusal::new(Code::ModelUnsupported, what).got(name).want(want);
        let (mut parts, mut sizes) = (Vec::new(), None);
        for input in session.inputs() {
            let name = input.name();
            if let Some(rest) = name.strip_prefix(PAST) {
                let found = dimensions(input, TensorElementType::Float32);
                let (Some([_, heads, _, width]), true) = (found, sizes.is_none_or(|sizes| found == Some(sizes))) else {
                    return Err(unsupported(
                        "graph input",
                        name,
                        "binary32 of [batch, heads, tokens, width], all alike",
                    ));
                };
                if heads == 0 || width == 0 {
                    return Err(unsupported("graph input", name, "a number of heads and of width that is known"));
                }
                sizes = found;
                parts.push((name.to_owned(), format!("{PRESENT}{rest}")));
            } else if ![IDS, MASK].contains(&name) || dimensions::<2>(input, TensorElementType::Int64).is_none() {
                return Err(unsupported("graph input", name, "input_ids, attention_mask, past_key_values"));
            }
        }
        let output = |name: &str| session.outputs().iter().find(|output| output.name() == name);
        for (_, present) in &parts {
            if output(present).is_none() {
                return Err(unsupported("graph output", "none of that name", present));
            }
        }
        let logits = output(LOGITS).and_then(|logits| dimensions(logits, TensorElementType::Float32));
        let (Some([_, 1, vocabulary]), Some([_, heads, _, width])) = (logits, sizes) else {
            return Err(unsupported(
                "graph output",
                LOGITS,
                "binary32 of [batch, 1, vocabulary]: of the last position alone",
            ));
        };
        if vocabulary == 0 {
            return Err(unsupported("graph output", LOGITS, "a vocabulary of a size that is known"));
        }
        Ok(Self { session, shape: Shape { parts, heads, width, vocabulary } })
    }
}

/// The sizes of a tensor of this type and rank; zero where they are known at run time only.
fn dimensions<const RANK: usize>(outlet: &Outlet, element: TensorElementType) -> Option<[usize; RANK]> {
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else { return None };
    let sizes: Vec<usize> = shape.iter().map(|size| usize::try_from(*size).unwrap_or(0)).collect();
    sizes.try_into().ok().filter(|_| *ty == element)
}

impl Forward for Decoder {
    type Cache = Cache;

    fn cache(&mut self, capacity: usize) -> Result<Cache> {
        Cache::new(&self.session, &self.shape, capacity)
    }

    fn run(&mut self, cache: &mut Cache, tokens: &[u32]) -> Result<()> {
        cache.run(&mut self.session, tokens)
    }

    fn arrange(&mut self, cache: &mut Cache, rows: &[Option<usize>], capacity: usize) -> Result<()> {
        cache.arrange(&self.session, &self.shape, rows, capacity)
    }

    fn copy(&mut self, from: &Cache, to: &mut Cache, row: usize) -> Result<()> {
        to.take(&self.shape, from, row)
    }

    fn release(&mut self, cache: &mut Cache, row: usize) {
        cache.release(&self.shape, row);
    }

    fn logits<'a>(&self, cache: &'a Cache, row: usize) -> &'a [f32] {
        cache.logits(&self.shape, row)
    }

    fn of_token(&self) -> usize {
        self.shape.parts.len().saturating_mul(self.shape.of_token()).saturating_mul(size_of::<f32>())
    }
}
