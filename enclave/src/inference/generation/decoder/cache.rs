//! The keys and values of some rows, bound to the graph as its past and its present at once.

use super::{IDS, LOGITS, MASK, Shape};
use crate::inference::session::failed;
use ort::session::{IoBinding, Session};
use ort::value::{PrimitiveTensorElementType, Tensor};
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroize as _;

/// What a graph keeps of its rows. All of it is zeroised when it is dropped, and of a row when that is released.
#[derive(Debug)]
pub(in crate::inference) struct Cache {
    binding: IoBinding,
    /// `[rows, heads, capacity, width]` each, in the order of [`Shape::parts`].
    parts: Vec<Tensor<f32>>,
    /// `[rows, 1, vocabulary]`.
    logits: Tensor<f32>,
    /// How many tokens each row has; `None` where it is nobody's.
    lengths: Vec<Option<usize>>,
    capacity: usize,
}

impl Cache {
    /// One row without a token, and room for `capacity`.
    pub(super) fn new(session: &Session, shape: &Shape, capacity: usize) -> Result<Self> {
        let parts = shape.parts.iter().map(|_| tensor(session, [1, shape.heads, capacity, shape.width]));
        let mut cache = Self {
            binding: session.create_binding().map_err(|e| failed(&e))?,
            parts: parts.collect::<Result<_>>()?,
            logits: tensor(session, [1, 1, shape.vocabulary])?,
            lengths: vec![Some(0)],
            capacity,
        };
        cache.bind(shape)?;
        Ok(cache)
    }

    fn bind(&mut self, shape: &Shape) -> Result<()> {
        for ((past, present), part) in shape.parts.iter().zip(&mut self.parts) {
            self.binding.bind_input(past, part).map_err(|e| failed(&e))?;
            self.binding.bind_output(present, part).map_err(|e| failed(&e))?;
        }
        self.binding.bind_output(LOGITS, &mut self.logits).map_err(|e| failed(&e))
    }

    /// Runs as many tokens of each row, and one of whatever number for rows that are nobody's.
    pub(super) fn run(&mut self, session: &mut Session, tokens: &[u32]) -> Result<()> {
        let rows = self.lengths.len();
        let each = tokens.len() / rows.max(1);
        let after: Vec<Option<usize>> = self.lengths.iter().map(|length| length.map(|length| length + each)).collect();
        let longest = after.iter().flatten().max().copied().unwrap_or(0);
        if each == 0 || tokens.len() != each * rows || longest > self.capacity {
            return Err(Refusal::new(Code::Internal, "tokens of a step"));
        }
        let mut ids = tensor::<i64, 2>(session, [rows, each])?;
        ids.extract_tensor_mut().1.iter_mut().zip(tokens).for_each(|(to, token)| *to = i64::from(*token));
        let mut mask = tensor::<i64, 2>(session, [rows, longest])?;
        for (row, length) in mask.extract_tensor_mut().1.chunks_exact_mut(longest).zip(&after) {
            // The graph takes the length of a row from the sum, and a row has at least one token.
            row.iter_mut().take(length.unwrap_or(1)).for_each(|to| *to = 1);
        }
        let bound = self.binding.bind_input(IDS, &ids).and_then(|()| self.binding.bind_input(MASK, &mask));
        let ran = bound.and_then(|()| session.run_binding(&self.binding).map(drop));
        ids.extract_tensor_mut().1.zeroize();
        ran.map_err(|e| failed(&e))?;
        self.lengths = after;
        Ok(())
    }

    /// Lays the rows out anew, with room for `capacity` tokens each: row `i` is what row `rows[i]` was, or nobody's.
    pub(super) fn arrange(
        &mut self,
        session: &Session,
        shape: &Shape,
        rows: &[Option<usize>],
        capacity: usize,
    ) -> Result<()> {
        let length = |from: usize| self.lengths.get(from).copied().flatten();
        let lengths: Vec<Option<usize>> = rows.iter().map(|from| from.and_then(length)).collect();
        if lengths.iter().flatten().any(|length| *length > capacity) {
            return Err(Refusal::new(Code::Internal, "capacity of a cache"));
        }
        // Bindings keep what they bind: those of before go first, so that one part at a time is there twice.
        self.binding.clear();
        let of_row = |capacity: usize| shape.of_token() * capacity;
        for part in &mut self.parts {
            let mut new = tensor::<f32, 4>(session, [rows.len(), shape.heads, capacity, shape.width])?;
            let (_, old) = part.extract_tensor();
            for (to, from) in new.extract_tensor_mut().1.chunks_exact_mut(of_row(capacity)).zip(rows) {
                let from = from.and_then(|from| old.chunks_exact(of_row(self.capacity)).nth(from).zip(length(from)));
                if let Some((from, length)) = from {
                    copy_heads(shape, from, self.capacity, to, capacity, length);
                }
            }
            core::mem::swap(part, &mut new);
            wipe(shape, &mut new, &self.lengths);
        }
        let mut logits = tensor::<f32, 3>(session, [rows.len(), 1, shape.vocabulary])?;
        core::mem::swap(&mut logits, &mut self.logits);
        logits.extract_tensor_mut().1.fill(0.0);
        (self.lengths, self.capacity) = (lengths, capacity);
        self.bind(shape)
    }

    /// Copies the first row of `from` into `row`, which is nobody's.
    pub(super) fn take(&mut self, shape: &Shape, from: &Self, row: usize) -> Result<()> {
        let length = from.lengths.first().copied().flatten();
        let (Some(length), Some(to)) = (length.filter(|length| *length <= self.capacity), self.lengths.get_mut(row))
        else {
            return Err(Refusal::new(Code::Internal, "row of a cache"));
        };
        *to = Some(length);
        for (to, from) in self.parts.iter_mut().zip(&from.parts) {
            let to = to.extract_tensor_mut().1.chunks_exact_mut(shape.of_token() * self.capacity).nth(row);
            if let Some(to) = to {
                copy_heads(shape, from.extract_tensor().1, from_capacity(shape, from), to, self.capacity, length);
            }
        }
        Ok(())
    }

    /// Zeroises a row, which is nobody's from here on.
    pub(super) fn release(&mut self, shape: &Shape, row: usize) {
        let Some(length) = self.lengths.get_mut(row).and_then(Option::take) else { return };
        let alone: Vec<Option<usize>> = (0..self.lengths.len()).map(|at| (at == row).then_some(length)).collect();
        self.parts.iter_mut().for_each(|part| wipe(shape, part, &alone));
    }

    /// The logits of what is next in `row`.
    pub(super) fn logits(&self, shape: &Shape, row: usize) -> &[f32] {
        self.logits.extract_tensor().1.chunks_exact(shape.vocabulary).nth(row).unwrap_or_default()
    }
}

/// How many tokens a part of one row has room for.
fn from_capacity(shape: &Shape, part: &Tensor<f32>) -> usize {
    part.extract_tensor().1.len() / shape.of_token()
}

/// Copies the first `length` tokens of one row: each head's are together.
fn copy_heads(shape: &Shape, from: &[f32], from_capacity: usize, to: &mut [f32], to_capacity: usize, length: usize) {
    let heads = from.chunks_exact(shape.width * from_capacity);
    for (from, to) in heads.zip(to.chunks_exact_mut(shape.width * to_capacity)) {
        let tokens = shape.width * length;
        if let (Some(from), Some(to)) = (from.get(..tokens), to.get_mut(..tokens)) {
            to.copy_from_slice(from);
        }
    }
}

/// Zeroises the tokens that each row has. The memory is the runtime's, into which the compiler does not see: no write is left out.
fn wipe(shape: &Shape, part: &mut Tensor<f32>, lengths: &[Option<usize>]) {
    let numbers = part.extract_tensor_mut().1;
    let capacity = numbers.len() / (shape.of_token() * lengths.len()).max(1);
    for (row, length) in numbers.chunks_exact_mut((shape.of_token() * capacity).max(1)).zip(lengths) {
        let tokens = shape.width * length.unwrap_or(0);
        row.chunks_exact_mut((shape.width * capacity).max(1))
            .filter_map(|head| head.get_mut(..tokens))
            .for_each(|head| head.fill(0.0));
    }
}

fn tensor<T: PrimitiveTensorElementType + core::fmt::Debug, const RANK: usize>(
    session: &Session,
    shape: [usize; RANK],
) -> Result<Tensor<T>> {
    Tensor::new(session.allocator(), shape).map_err(|e| failed(&e))
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.parts.iter_mut().for_each(|part| part.extract_tensor_mut().1.fill(0.0));
        self.logits.extract_tensor_mut().1.fill(0.0);
    }
}
