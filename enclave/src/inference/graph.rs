//! A model's ONNX graph and how a batch goes through it.

use super::encoder::Sequence;
use super::pooling::Pooling;
use super::session;
use super::worker::Vectors;
use crate::memory::ModelFiles;
use ndarray::{Array2, ArrayView2, Axis, Ix2, Ix3};
use ort::session::{Session, SessionInputValue};
use ort::value::{Tensor, TensorElementType};
use strongroom_wire::{Code, Refusal, Result};

const IDS: &str = "input_ids";
const MASK: &str = "attention_mask";
const SEGMENTS: &str = "token_type_ids";
pub(super) const POOLED: &str = "sentence_embedding";
pub(super) const HIDDEN: &str = "last_hidden_state";
pub(super) const LOGITS: &str = "logits";

/// A loaded graph.
#[derive(Debug)]
pub(super) struct Graph {
    session: Session,
    inputs: Vec<Feed>,
    output: Output,
}

/// What an input of the graph is fed with.
#[derive(Debug, Clone, Copy)]
enum Feed {
    Ids,
    Mask,
    Segments,
}

#[derive(Debug, Clone, Copy)]
enum Output {
    /// The graph gives one vector an input by itself, under this name: `[batch, dimensions]`.
    Pooled(&'static str),
    /// One vector a token, under this name, `[batch, tokens, dimensions]`: pooled here, or given as they are, one after the other.
    Each(&'static str, Option<Pooling>),
}

/// Whether a graph gives logits of each token of its inputs, `[batch, tokens, labels]`.
pub(super) fn tells_tokens(session: &Session) -> bool {
    let mut outputs = session.outputs().iter().filter(|output| output.name() == LOGITS);
    outputs.any(|output| output.dtype().tensor_shape().is_some_and(|shape| shape.len() == 3))
}

impl Graph {
    /// The graph that `session` holds, with the pooling that the model's settings say.
    ///
    /// # Errors
    /// `model-unsupported` it is no text encoder.
    pub(super) fn new(session: Session, files: &ModelFiles) -> Result<Self> {
        let unsupported = |what: &str| Refusal::new(Code::ModelUnsupported, what);
        let inputs = session.inputs().iter().map(|input| match (input.name(), input.dtype().tensor_type()) {
            (IDS, Some(TensorElementType::Int64)) => Ok(Feed::Ids),
            (MASK, Some(TensorElementType::Int64)) => Ok(Feed::Mask),
            (SEGMENTS, Some(TensorElementType::Int64)) => Ok(Feed::Segments),
            (name, _) => Err(unsupported("graph input").got(name).want(format!("{IDS}, {MASK}, {SEGMENTS} of int64"))),
        });
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        if !inputs.iter().any(|feed| matches!(feed, Feed::Ids)) {
            return Err(unsupported("graph input").got("none of that name").want(IDS));
        }
        let has = |name: &str| session.outputs().iter().any(|output| output.name() == name);
        let output = match [POOLED, HIDDEN, LOGITS].into_iter().find(|name| has(name)) {
            Some(HIDDEN) => Output::Each(HIDDEN, Some(Pooling::load(files)?)),
            Some(LOGITS) if tells_tokens(&session) => Output::Each(LOGITS, None),
            Some(name) => Output::Pooled(name),
            None => return Err(unsupported("graph output").want(format!("{POOLED}, {HIDDEN} or {LOGITS}"))),
        };
        Ok(Self { session, inputs, output })
    }

    /// How many vectors it gives for `sequence`, one after the other.
    pub(super) fn vectors_of(&self, sequence: &Sequence) -> usize {
        match self.output {
            Output::Pooled(_) | Output::Each(_, Some(_)) => 1,
            Output::Each(_, None) => sequence.len(),
        }
    }

    /// The vectors of `batch`, in its order. Shorter sequences are filled up with `padding` and masked.
    ///
    /// # Errors
    /// `runtime-failed`, with the runtime's error code alone: its messages quote values of its input. So too for a single
    /// vector that is not of numbers.
    pub(super) fn run(&mut self, batch: &[&Sequence], padding: u32) -> Result<Vectors> {
        let failed = |e: ort::Error| session::failed(&e);
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for feed in &self.inputs {
            let tensor = Tensor::from_array(feed.rows(batch, padding)).map_err(failed)?;
            inputs.push((feed.name(), SessionInputValue::from(tensor)));
        }
        let outputs = self.session.run(inputs).map_err(failed)?;
        let shape = |_| Refusal::new(Code::RuntimeFailed, "running model.onnx").got("output of another rank");
        let array = |name| outputs.get(name).map(|value| value.try_extract_array::<f32>());
        let vectors: Vec<Vec<f32>> = match self.output {
            Output::Pooled(name) => {
                let pooled = array(name).transpose().map_err(failed)?.map(|a| a.into_dimensionality::<Ix2>());
                let pooled = pooled.transpose().map_err(shape)?;
                pooled.iter().flat_map(|a| a.axis_iter(Axis(0))).map(|row| row.to_vec()).collect()
            }
            Output::Each(name, pooling) => {
                let all = array(name).transpose().map_err(failed)?.map(|a| a.into_dimensionality::<Ix3>());
                let all = all.transpose().map_err(shape)?;
                let each = all.iter().flat_map(|a| a.axis_iter(Axis(0)));
                let own = |rows: ArrayView2<'_, f32>, len: usize| match pooling {
                    Some(pooling) => pooling.apply(rows, len),
                    None => rows.iter().take(len.saturating_mul(rows.ncols())).copied().collect(),
                };
                each.zip(batch).map(|(rows, sequence)| own(rows, sequence.len())).collect()
            }
        };
        judge(vectors, batch.len())
    }
}

/// That there are `want` vectors, and of each that it can be answered: JSON has no infinity.
fn judge(vectors: Vec<Vec<f32>>, want: usize) -> Result<Vectors> {
    let failed = |got: &str| Refusal::new(Code::RuntimeFailed, "running model.onnx").got(got);
    // Of another number, some would be somebody else's.
    if vectors.len() != want {
        return Err(failed("another number of vectors"));
    }
    let finite = |vector: Vec<f32>| {
        let is_finite = vector.iter().all(|x| x.is_finite());
        is_finite.then_some(vector).ok_or_else(|| failed("a vector that is not of numbers"))
    };
    Ok(vectors.into_iter().map(finite).collect())
}

impl Feed {
    const fn name(self) -> &'static str {
        match self {
            Self::Ids => IDS,
            Self::Mask => MASK,
            Self::Segments => SEGMENTS,
        }
    }

    /// `[batch, longest]`.
    fn rows(self, batch: &[&Sequence], padding: u32) -> Array2<i64> {
        let longest = batch.iter().map(|sequence| sequence.len()).max().unwrap_or(0);
        let fill = match self {
            Self::Ids => i64::from(padding),
            Self::Mask | Self::Segments => 0,
        };
        let mut rows = Array2::from_elem((batch.len(), longest), fill);
        for (mut row, sequence) in rows.axis_iter_mut(Axis(0)).zip(batch) {
            let ids = sequence.ids.expose();
            match self {
                Self::Ids => row.iter_mut().zip(ids).for_each(|(to, id)| *to = i64::from(*id)),
                Self::Mask => row.iter_mut().take(ids.len()).for_each(|to| *to = 1),
                Self::Segments => row.iter_mut().zip(&sequence.segments).for_each(|(to, id)| *to = i64::from(*id)),
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::encoder::{Encoder, Input};
    use crate::inference::tests::tiny_files;
    use crate::prompt::Prompt;
    use crate::runtime::Runtime;
    use crate::runtime::tests::runtime;

    fn graph(runtime: &Runtime, files: &ModelFiles) -> Graph {
        Graph::new(session::load(runtime, files).unwrap(), files).unwrap()
    }

    #[test]
    fn pooling_here_gives_what_pooling_in_the_graph_gives() {
        let (Some(runtime), Some(files)) = (runtime(), tiny_files()) else { return };
        let (encoder, mut graph) = (Encoder::load(&files).unwrap(), graph(&runtime, &files));
        assert!(matches!(graph.output, Output::Pooled(POOLED)));
        let texts = ["a cat", "", "the quick brown fox"].map(|text| Input::text(text.to_owned()));
        let sequences = texts.map(|text| encoder.encode(&text).unwrap());
        let batch: Vec<&Sequence> = sequences.iter().collect();
        let pooled = graph.run(&batch, encoder.padding()).unwrap();
        graph.output = Output::Each(HIDDEN, Some(Pooling::load(&files).unwrap()));
        let here = graph.run(&batch, encoder.padding()).unwrap();
        let all = |vectors: &Vectors| vectors.iter().flat_map(|vector| vector.clone().unwrap()).collect::<Vec<f32>>();
        for (a, b) in all(&pooled).iter().zip(all(&here)) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
        assert_eq!(pooled.len(), here.len());
    }

    #[test]
    fn vector_with_a_number_that_is_none_fails_and_those_beside_it_do_not() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let judged = judge(vec![vec![1.0, 2.0], vec![1.0, bad], vec![3.0, 4.0]], 3).unwrap();
            let codes = judged.into_iter().map(|vector| vector.map_err(|refusal| refusal.code)).collect::<Vec<_>>();
            assert_eq!(codes, [Ok(vec![1.0, 2.0]), Err(Code::RuntimeFailed), Ok(vec![3.0, 4.0])]);
        }
    }

    #[test]
    fn vectors_of_another_number_than_sequences_refused() {
        let vectors = || vec![vec![1.0], vec![2.0]];
        assert!(judge(vectors(), 2).is_ok());
        for want in [1, 3] {
            assert_eq!(judge(vectors(), want).unwrap_err().code, Code::RuntimeFailed);
        }
    }

    #[test]
    fn batch_is_filled_up_with_padding_that_the_mask_leaves_out() {
        let sequence = |ids: &[u32]| Sequence { ids: Prompt::new(ids.to_vec()), segments: vec![1; ids.len()] };
        let (short, long) = (sequence(&[2, 3]), sequence(&[2, 9, 3]));
        let rows = |feed: Feed| feed.rows(&[&short, &long], 7);
        assert_eq!(rows(Feed::Ids), ndarray::array![[2, 3, 7], [2, 9, 3]]);
        assert_eq!(rows(Feed::Mask), ndarray::array![[1, 1, 0], [1, 1, 1]]);
        assert_eq!(rows(Feed::Segments), ndarray::array![[1, 1, 0], [1, 1, 1]]);
    }
}
