//! Whose rows may go through a graph in one run.

use crate::memory::{GRAPH, ModelFiles};
use memchr::memmem::Finder;
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroizing;

/// The operators that scale a whole tensor by its largest element (`DynamicQuantizeLinear` of ONNX; `DynamicQuantizeMatMul` and
/// `DynamicQuantizeLSTM` of ONNX Runtime) begin with this: of several rows, the largest shows in all.
const SCALES_ALL: &[u8] = b"DynamicQuantize";
/// How much of a graph is looked at at a time.
const CHUNK: usize = 1024 * 1024;

/// Whose rows may be in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// Anybody's: the graph computes each for itself.
    OfAll,
    /// Those of one identity: the graph lets the one show in the other.
    OfOne,
}

impl Rows {
    /// What `model.onnx` says. Its operators stand in it by name; what else happens to spell one costs speed and nothing else. A graph that
    /// comes to the same by other operators is not found out.
    ///
    /// # Errors
    /// `model-unsupported` there is no graph; `io`.
    pub(super) fn of(files: &ModelFiles) -> Result<Self> {
        let missing = || Refusal::new(Code::ModelUnsupported, GRAPH).because("missing");
        let file = files.get(GRAPH).ok_or_else(missing)?;
        let scales = Finder::new(SCALES_ALL);
        // The end of what was looked at before stays, for a name that goes on.
        let mut seen = Zeroizing::new(Vec::with_capacity(CHUNK.saturating_add(SCALES_ALL.len())));
        let mut offset = 0;
        loop {
            let read = file.read_at(offset, CHUNK, &mut seen)?;
            if scales.find(&seen).is_some() {
                return Ok(Self::OfOne);
            }
            if read == 0 {
                return Ok(Self::OfAll);
            }
            offset = offset.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            let kept = seen.len().saturating_sub(SCALES_ALL.len());
            seen.drain(..kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::tests::files_of;

    /// A graph of `length` bytes with `name` at `at`.
    fn rows(length: usize, name: &[u8], at: usize) -> Rows {
        let mut graph = vec![b'D'; length];
        graph[at..at + name.len()].copy_from_slice(name);
        Rows::of(&files_of(&[(GRAPH, &graph)])).unwrap()
    }

    #[test]
    fn graph_that_scales_all_rows_alike_found_wherever_it_says_so() {
        let name = b"DynamicQuantizeLinear";
        for (length, at) in [(21, 0), (4 * CHUNK, CHUNK - 1), (4 * CHUNK, 2 * CHUNK - 14), (2 * CHUNK, 2 * CHUNK - 21)]
        {
            assert_eq!(rows(length, name, at), Rows::OfOne, "{at} of {length}");
            assert_eq!(rows(length, b"QuantizeLinear", at), Rows::OfAll, "{at} of {length}");
        }
        assert_eq!(Rows::of(&files_of(&[(GRAPH, b"")])).unwrap(), Rows::OfAll);
    }

    #[test]
    fn model_without_a_graph_refused() {
        assert_eq!(Rows::of(&files_of(&[("other", b"")])).unwrap_err().code, Code::ModelUnsupported);
    }
}
