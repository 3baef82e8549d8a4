//! An ONNX graph of plain tensors: what it takes and gives, and how tensors go through it.

use super::data::{Data, Datatype};
use super::{Tensor, elements};
use crate::inference::session;
use crate::prompt::Prompt;
use half::slice::{HalfBitsSliceExt as _, HalfFloatSliceExt as _};
use half::{bf16, f16};
use ort::error::ErrorCode;
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Outlet, PrimitiveTensorElementType, TensorRef, ValueType};
use strongroom_wire::{Code, Refusal, Result, limits};

/// An input or output of a graph.
#[derive(Debug, Clone)]
pub struct Port {
    /// Its name in the graph.
    pub name: String,
    /// The type of its elements.
    pub datatype: Datatype,
    /// Its dimensions, -1 for those that each call decides. None at all where the graph states none: a scalar, or any shape.
    pub shape: Vec<i64>,
    /// What its first dimension is called, where that is open and by its name that of rows.
    pub(super) rows: Option<String>,
}

/// A loaded graph.
#[derive(Debug)]
pub(super) struct Graph {
    session: Session,
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
}

impl Graph {
    /// What a session takes and gives.
    ///
    /// # Errors
    /// `model-unsupported` an input or output is no tensor, or of a type that the protocol has no name for.
    pub(super) fn of(session: Session) -> Result<Self> {
        let [inputs, outputs] = [session.inputs(), session.outputs()].map(ports);
        Ok(Self { inputs: inputs?, outputs: outputs?, session })
    }

    /// Whether rows of several requests may go through it together: the author of the graph gave the first dimension of
    /// every input and output one name, and that of a batch. An open dimension of another name may be anything, a sequence
    /// for one, whose elements the graph mixes.
    pub(super) fn takes_batches(&self) -> bool {
        let mut ports = self.inputs.iter().chain(&self.outputs).map(|port| port.rows.as_ref());
        let first = ports.next().flatten();
        first.is_some() && ports.all(|rows| rows == first)
    }

    /// What comes out for `inputs`, one for each of its own and in their order.
    ///
    /// # Errors
    /// `request-invalid` the runtime says that it is the inputs' fault; `runtime-failed` that of anything else, both with its
    /// error code alone: its messages quote values of its input. `too-large` the outputs are over [`limits::TENSOR_ANSWER`].
    pub(super) fn run(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        let named = self.inputs.iter().zip(inputs).map(|(port, tensor)| Ok((port.name.as_str(), value(tensor)?)));
        let values = named.collect::<ort::Result<Vec<_>>>().map_err(failed)?;
        let outputs = self.session.run(values).map_err(failed)?;
        let mut room = limits::TENSOR_ANSWER;
        let mut tensors = Vec::with_capacity(self.outputs.len());
        for port in &self.outputs {
            let value = outputs.get(&port.name);
            let value = value.ok_or_else(|| Refusal::new(Code::RuntimeFailed, "output of model.onnx").got("none"))?;
            let tensor = extract(port, value, room).map_err(failed)?;
            let over = || Refusal::too_large("bytes of all outputs", "more", limits::TENSOR_ANSWER);
            let tensor = tensor.ok_or_else(over)?;
            room = room.checked_sub(tensor.data.expose().size()).ok_or_else(over)?;
            tensors.push(tensor);
        }
        Ok(tensors)
    }
}

fn failed(error: ort::Error) -> Refusal {
    let refusal = session::failed(&error);
    match error.code() {
        ErrorCode::InvalidArgument => Refusal { code: Code::RequestInvalid, ..refusal },
        _ => refusal,
    }
}

fn ports(outlets: &[Outlet]) -> Result<Vec<Port>> {
    outlets.iter().map(Port::of).collect()
}

impl Port {
    fn of(outlet: &Outlet) -> Result<Self> {
        let name = outlet.name();
        let unsupported = |got: String| {
            Refusal::new(Code::ModelUnsupported, format!("`{name}` of the graph")).got(got).want("a plain tensor")
        };
        let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype() else {
            return Err(unsupported(outlet.dtype().to_string()));
        };
        let datatype = Datatype::of(*ty).filter(|_| !name.is_empty()).ok_or_else(|| unsupported(ty.to_string()))?;
        let first = shape.first().zip(dimension_symbols.first());
        // Strings are not joined: they are few, and each is a copy.
        let rows = first.filter(|(size, symbol)| datatype != Datatype::Bytes && **size < 0 && is_rows(symbol));
        let rows = rows.map(|(_, symbol)| symbol.clone());
        Ok(Self { name: name.to_owned(), datatype, shape: shape.to_vec(), rows })
    }

    /// That `tensor` is what this takes.
    ///
    /// # Errors
    /// `request-invalid` it is of another type or shape.
    pub(super) fn admit(&self, tensor: &Tensor) -> Result<()> {
        let invalid = |what: &str| Refusal::new(Code::RequestInvalid, format!("{what} of input `{}`", self.name));
        let datatype = tensor.data.expose().datatype();
        if datatype != self.datatype {
            return Err(invalid("type").got(datatype).want(self.datatype));
        }
        let fits =
            |(want, got): (&i64, &usize)| *want < 0 || u64::try_from(*want).is_ok_and(|want| want == as_u64(*got));
        let is_of_rank = self.shape.is_empty() || self.shape.len() == tensor.shape.len();
        if !is_of_rank || !self.shape.iter().zip(&tensor.shape).all(fits) {
            return Err(invalid("shape").got(format!("{:?}", tensor.shape)).want(format!("{:?}", self.shape)));
        }
        Ok(())
    }
}

fn as_u64(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// Whether exporters call a dimension of rows so. Longer names, `batch*heads`, are of dimensions that were folded into one.
fn is_rows(symbol: &str) -> bool {
    ["batch", "batch_size", "n"].iter().any(|name| symbol.eq_ignore_ascii_case(name))
}

/// A view of a tensor for the runtime, which copies strings alone.
fn value(tensor: &Tensor) -> ort::Result<SessionInputValue<'_>> {
    let shape = tensor.shape.as_slice();
    Ok(match tensor.data.expose() {
        Data::Bool(all) => TensorRef::from_array_view((shape, all.as_slice()))?.into(),
        Data::Uint8(all) => TensorRef::from_array_view((shape, all.as_slice()))?.into(),
        Data::Uint16(all) => TensorRef::from_array_view((shape, all.as_slice()))?.into(),
        Data::Uint32(all) => TensorRef::from_array_view((shape, all.as_slice()))?.into(),
        Data::Uint64(all) => TensorRef::from_array_view((shape, all.as_slice()))?.into(),
        Data::Int8(all) => TensorRef::from_array_view((shape, all.as_slice()))?.into(),
        Data::Int16(all) => TensorRef::from_array_view((shape, all.as_slice()))?.into(),
        Data::Int32(all) => TensorRef::from_array_view((shape, all.as_slice()))?.into(),
        Data::Int64(all) => TensorRef::from_array_view((shape, all.as_slice()))?.into(),
        Data::Fp16(all) => TensorRef::from_array_view((shape, all.reinterpret_cast::<f16>()))?.into(),
        Data::Bf16(all) => TensorRef::from_array_view((shape, all.reinterpret_cast::<bf16>()))?.into(),
        Data::Fp32(all) => TensorRef::from_array_view((shape, all.as_slice()))?.into(),
        Data::Fp64(all) => TensorRef::from_array_view((shape, all.as_slice()))?.into(),
        Data::Bytes(all) => ort::value::Tensor::from_string_array((shape, all.as_slice()))?.into(),
    })
}

/// A copy of what came out; `None` where it is over `room` bytes, found out before it is copied. Of strings that holds for their number:
/// how long they are is known once they are here.
fn extract(port: &Port, value: &DynValue, room: usize) -> ort::Result<Option<Tensor>> {
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
        return Err(ort::Error::new("an output that is no tensor"));
    };
    let sizes = shape.iter().map(|size| usize::try_from(*size)).collect::<core::result::Result<Vec<_>, _>>();
    let shape = sizes.map_err(|_| ort::Error::new("an output without a size"))?;
    let datatype = Datatype::of(*ty).ok_or_else(|| ort::Error::new("an output of another type"))?;
    // Of a string at least its place.
    let each = datatype.size().unwrap_or(size_of::<String>());
    if elements(&shape).and_then(|many| many.checked_mul(each)).is_none_or(|size| size > room) {
        return Ok(None);
    }
    let data = match datatype {
        Datatype::Bool => Data::Bool(numbers(value)?),
        Datatype::Uint8 => Data::Uint8(numbers(value)?),
        Datatype::Uint16 => Data::Uint16(numbers(value)?),
        Datatype::Uint32 => Data::Uint32(numbers(value)?),
        Datatype::Uint64 => Data::Uint64(numbers(value)?),
        Datatype::Int8 => Data::Int8(numbers(value)?),
        Datatype::Int16 => Data::Int16(numbers(value)?),
        Datatype::Int32 => Data::Int32(numbers(value)?),
        Datatype::Int64 => Data::Int64(numbers(value)?),
        Datatype::Fp16 => Data::Fp16(value.try_extract_tensor::<f16>()?.1.reinterpret_cast().to_vec()),
        Datatype::Bf16 => Data::Bf16(value.try_extract_tensor::<bf16>()?.1.reinterpret_cast().to_vec()),
        Datatype::Fp32 => Data::Fp32(numbers(value)?),
        Datatype::Fp64 => Data::Fp64(numbers(value)?),
        Datatype::Bytes => Data::Bytes(value.try_extract_strings()?.1),
    };
    Ok(Some(Tensor { name: port.name.clone(), shape, data: Prompt::new(data) }))
}

fn numbers<T: PrimitiveTensorElementType + Clone>(value: &DynValue) -> ort::Result<Vec<T>> {
    Ok(value.try_extract_tensor::<T>()?.1.to_vec())
}

#[cfg(test)]
mod tests;
