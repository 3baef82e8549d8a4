//! Requests as one: rows one below the other on the way in, and apart again on the way out.

use super::Tensor;
use super::data::Data;
use crate::prompt::Prompt;
use strongroom_wire::{Code, Refusal, Result};

/// Rows of one run, beyond which the runtime is no faster per row.
pub(super) const ROWS: usize = 64;
/// Bytes of the inputs of one run of several requests: what a graph takes for each is many times that.
pub(super) const BYTES: usize = 8 * 1024 * 1024;

/// How many rows a request has; `None` where its inputs do not all have as many.
pub(super) fn rows(inputs: &[Tensor]) -> Option<usize> {
    let mut sizes = inputs.iter().map(|tensor| tensor.shape.first().copied());
    let first = sizes.next()??;
    sizes.all(|size| size == Some(first)).then_some(first)
}

/// Bytes of all inputs.
pub(super) fn size(inputs: &[Tensor]) -> usize {
    inputs.iter().fold(0, |sum, tensor| sum.saturating_add(tensor.data.expose().size()))
}

/// Whether the rows of both are of one shape, so that they can stand one below the other.
pub(super) fn are_alike(one: &[Tensor], other: &[Tensor]) -> bool {
    let row = |tensor: &Tensor| tensor.shape.get(1..).map(<[usize]>::to_vec);
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| row(one) == row(other))
}

/// The inputs of all `requests`, which are alike, one below the other.
///
/// # Errors
/// `internal` they are not.
pub(super) fn join(requests: &[&[Tensor]]) -> Result<Vec<Tensor>> {
    let first = requests.first().copied().unwrap_or_default();
    first.iter().enumerate().map(|(at, like)| join_one(like, requests.iter().filter_map(|all| all.get(at)))).collect()
}

fn join_one<'a>(like: &Tensor, tensors: impl Iterator<Item = &'a Tensor> + Clone) -> Result<Tensor> {
    let many = tensors.clone().fold(0usize, |sum, tensor| sum.saturating_add(tensor.data.expose().count()));
    // Of the right size from the start, so that no copy is left behind by growing.
    let mut data = Data::with_capacity(like.data.expose().datatype(), many);
    let mut shape = like.shape.clone();
    let mut rows = 0usize;
    for tensor in tensors {
        data.extend(tensor.data.expose())?;
        rows = rows.saturating_add(tensor.shape.first().copied().unwrap_or_default());
    }
    if let Some(first) = shape.first_mut() {
        *first = rows;
    }
    Ok(Tensor { name: like.name.clone(), shape, data: Prompt::new(data) })
}

/// What of `outputs` is each request's, where these have so many `rows` and all outputs as many as all of them.
///
/// # Errors
/// `runtime-failed` an output has another number of rows, so that nobody can tell whose they are.
pub(super) fn split(outputs: &[Tensor], rows: &[usize]) -> Result<Vec<Vec<Tensor>>> {
    let mut start = 0usize;
    let mut parts = Vec::with_capacity(rows.len());
    let all = rows.iter().fold(0usize, |sum, rows| sum.saturating_add(*rows));
    for many in rows {
        let end = start.saturating_add(*many);
        parts.push(outputs.iter().map(|output| part(output, start, end, all)).collect::<Result<_>>()?);
        start = end;
    }
    Ok(parts)
}

fn part(output: &Tensor, start: usize, end: usize, all: usize) -> Result<Tensor> {
    let failed = || Refusal::new(Code::RuntimeFailed, "running model.onnx").got("another number of rows");
    let mut shape = output.shape.clone();
    let first = shape.first_mut().filter(|first| **first == all).ok_or_else(failed)?;
    *first = end.saturating_sub(start);
    let each = output.data.expose().count().checked_div(all).ok_or_else(failed)?;
    let data = output.data.expose().slice(start.saturating_mul(each)..end.saturating_mul(each)).ok_or_else(failed)?;
    Ok(Tensor { name: output.name.clone(), shape, data: Prompt::new(data) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize], data: &[i64]) -> Tensor {
        Tensor { name: "x".into(), shape: shape.to_vec(), data: Prompt::new(Data::Int64(data.to_vec())) }
    }

    fn numbers(tensor: &Tensor) -> Vec<i64> {
        let Data::Int64(numbers) = tensor.data.expose() else { panic!("another type") };
        numbers.clone()
    }

    #[test]
    fn rows_joined_and_split_are_each_request_s_own() {
        let (one, other) = ([tensor(&[1, 2], &[1, 2])], [tensor(&[2, 2], &[3, 4, 5, 6])]);
        assert!(are_alike(&one, &other));
        let joined = join(&[&one, &other]).unwrap();
        assert_eq!((joined[0].shape.as_slice(), numbers(&joined[0])), (&[3, 2][..], vec![1, 2, 3, 4, 5, 6]));
        let parts = split(&joined, &[1, 2]).unwrap();
        assert_eq!((parts[0][0].shape.as_slice(), numbers(&parts[0][0])), (&[1, 2][..], vec![1, 2]));
        assert_eq!((parts[1][0].shape.as_slice(), numbers(&parts[1][0])), (&[2, 2][..], vec![3, 4, 5, 6]));
    }

    #[test]
    fn rows_of_one_length_are_alike_and_of_two_are_not() {
        let one = [tensor(&[1, 2], &[1, 2])];
        assert!(are_alike(&one, &[tensor(&[3, 2], &[0; 6])]));
        assert!(!are_alike(&one, &[tensor(&[1, 3], &[0; 3])]));
        assert!(!are_alike(&one, &[tensor(&[1, 2], &[1, 2]), tensor(&[1, 2], &[1, 2])]));
    }

    #[test]
    fn request_has_rows_where_all_its_inputs_have_as_many() {
        assert_eq!(rows(&[tensor(&[2, 1], &[1, 2]), tensor(&[2], &[1, 2])]), Some(2));
        assert_eq!(rows(&[tensor(&[2, 1], &[1, 2]), tensor(&[1], &[1])]), None);
        assert_eq!(rows(&[tensor(&[], &[1])]), None);
    }

    #[test]
    fn outputs_of_another_number_of_rows_refused() {
        let output = [tensor(&[3, 1], &[1, 2, 3])];
        assert!(split(&output, &[1, 2]).is_ok());
        for rows in [&[1, 1][..], &[2, 2]] {
            assert_eq!(split(&output, rows).unwrap_err().code, Code::RuntimeFailed);
        }
    }
}
