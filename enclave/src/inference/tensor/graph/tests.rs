use super::super::TensorModel;
use super::super::tests::tensor;
use super::*;
use crate::api::tests::caller_of;
use crate::inference::tests::files_of;
use crate::runtime::tests::runtime;
use crate::setup::setup;
use strongroom_policy::CallAction;

/// A field of a protocol buffer: a number, or bytes.
fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).unwrap();
    // Beyond 127 a length has two bytes.
    let length = if length < 0x80 { vec![length] } else { vec![length | 0x80, 1] };
    [vec![field << 3 | 2], length, content.to_vec()].concat()
}

/// A dimension of a tensor: known, or known by a name alone.
#[derive(Clone, Copy)]
enum Size {
    Of(u8),
    Named(&'static str),
}

/// `TypeProto` of a tensor.
fn tensor_type(element: u8, shape: &[Size]) -> Vec<u8> {
    let size = |size: &Size| match size {
        Size::Of(size) => bytes(1, &number(1, *size)),
        Size::Named(name) => bytes(1, &bytes(2, name.as_bytes())),
    };
    let shape = shape.iter().flat_map(size).collect::<Vec<_>>();
    bytes(1, &[number(1, element), bytes(2, &shape)].concat())
}

/// An ONNX model whose one node gives `x` back as `y`, both of that `TypeProto` (onnx.proto, IR version 8, operators of 17).
fn identity(kind: &[u8]) -> Vec<u8> {
    let value = |name: &str| [bytes(1, name.as_bytes()), bytes(2, kind)].concat();
    let node = [bytes(1, b"x"), bytes(2, b"y"), bytes(4, b"Identity")].concat();
    let graph = [bytes(1, &node), bytes(2, b"g"), bytes(11, &value("x")), bytes(12, &value("y"))].concat();
    [number(1, 8), bytes(7, &graph), bytes(8, &number(2, 17))].concat()
}

fn load(runtime: &crate::runtime::Runtime, graph: &[u8]) -> Result<Graph> {
    Graph::of(session::load(runtime, &files_of(&[("model.onnx", graph)])).unwrap())
}

/// onnx.proto, `TensorProto.DataType`.
const ELEMENTS: [(Datatype, u8); 14] = [
    (Datatype::Fp32, 1),
    (Datatype::Uint8, 2),
    (Datatype::Int8, 3),
    (Datatype::Uint16, 4),
    (Datatype::Int16, 5),
    (Datatype::Int32, 6),
    (Datatype::Int64, 7),
    (Datatype::Bytes, 8),
    (Datatype::Bool, 9),
    (Datatype::Fp16, 10),
    (Datatype::Fp64, 11),
    (Datatype::Uint32, 12),
    (Datatype::Uint64, 13),
    (Datatype::Bf16, 16),
];

fn sample(datatype: Datatype) -> Data {
    match datatype {
        Datatype::Bool => Data::Bool(vec![true, false]),
        Datatype::Uint8 => Data::Uint8(vec![0, u8::MAX]),
        Datatype::Uint16 => Data::Uint16(vec![0, u16::MAX]),
        Datatype::Uint32 => Data::Uint32(vec![0, u32::MAX]),
        Datatype::Uint64 => Data::Uint64(vec![0, u64::MAX]),
        Datatype::Int8 => Data::Int8(vec![i8::MIN, 1]),
        Datatype::Int16 => Data::Int16(vec![i16::MIN, 1]),
        Datatype::Int32 => Data::Int32(vec![i32::MIN, 1]),
        Datatype::Int64 => Data::Int64(vec![i64::MIN, 1]),
        Datatype::Fp16 => Data::Fp16(vec![0x3c00, 0xfc00]),
        Datatype::Bf16 => Data::Bf16(vec![0x3f80, 0xff80]),
        Datatype::Fp32 => Data::Fp32(vec![0.5, f32::MIN]),
        Datatype::Fp64 => Data::Fp64(vec![0.5, f64::MIN]),
        Datatype::Bytes => Data::Bytes(vec![String::new(), "é".into()]),
    }
}

fn written(data: &Data) -> String {
    match data {
        Data::Bool(all) => format!("{all:?}"),
        Data::Uint8(all) => format!("{all:?}"),
        Data::Uint16(all) | Data::Fp16(all) | Data::Bf16(all) => format!("{all:?}"),
        Data::Uint32(all) => format!("{all:?}"),
        Data::Uint64(all) => format!("{all:?}"),
        Data::Int8(all) => format!("{all:?}"),
        Data::Int16(all) => format!("{all:?}"),
        Data::Int32(all) => format!("{all:?}"),
        Data::Int64(all) => format!("{all:?}"),
        Data::Fp32(all) => format!("{all:?}"),
        Data::Fp64(all) => format!("{all:?}"),
        Data::Bytes(all) => format!("{all:?}"),
    }
}

#[test]
fn tensor_of_every_type_comes_back_from_a_graph_that_gives_it_back() {
    let Some(runtime) = runtime() else { return };
    assert_eq!(ELEMENTS.len(), Datatype::ALL.len());
    for (datatype, element) in ELEMENTS {
        let mut graph = load(&runtime, &identity(&tensor_type(element, &[Size::Of(2), Size::Of(1)]))).unwrap();
        assert_eq!((graph.inputs[0].datatype, graph.inputs[0].shape.as_slice()), (datatype, &[2, 1][..]));
        let outputs = graph.run(&[&tensor("x", &[2, 1], sample(datatype))]).unwrap();
        assert_eq!((outputs[0].name.as_str(), outputs[0].shape.as_slice()), ("y", &[2, 1][..]));
        assert_eq!(outputs[0].data.expose().datatype(), datatype);
        assert_eq!(written(outputs[0].data.expose()), written(&sample(datatype)));
    }
}

#[test]
fn graph_of_tensors_accepted_and_of_a_sequence_refused_by_name() {
    let Some(runtime) = runtime() else { return };
    let tensor = tensor_type(1, &[Size::Of(2)]);
    assert!(load(&runtime, &identity(&tensor)).is_ok());
    // `TypeProto`: sequence_type is field 4, its elem_type field 1.
    let refusal = load(&runtime, &identity(&bytes(4, &bytes(1, &tensor)))).unwrap_err();
    assert_eq!(refusal.code, Code::ModelUnsupported);
    assert!(refusal.what.contains("`x`"), "{refusal}");
}

#[test]
fn graph_takes_batches_where_every_first_dimension_is_called_so_and_otherwise_not() {
    let Some(runtime) = runtime() else { return };
    let takes =
        |element: u8, shape: &[Size]| load(&runtime, &identity(&tensor_type(element, shape))).unwrap().takes_batches();
    for name in ["batch", "batch_size", "Batch", "N"] {
        assert!(takes(1, &[Size::Named(name), Size::Of(2)]), "{name}");
    }
    for name in ["sequence", "unk__214", "b", "batch*heads", "batched_tokens"] {
        assert!(!takes(1, &[Size::Named(name), Size::Of(2)]), "{name}");
    }
    assert!(!takes(1, &[Size::Of(1), Size::Named("batch")]));
    assert!(!takes(1, &[]));
    assert!(!takes(8, &[Size::Named("batch")]), "strings");
}

#[test]
fn outputs_at_the_limit_accepted_and_one_more_byte_refused() {
    let Some(runtime) = runtime() else { return };
    let mut graph = load(&runtime, &identity(&tensor_type(2, &[Size::Named("n")]))).unwrap();
    let mut run = |length: usize| graph.run(&[&tensor("x", &[length], Data::Uint8(vec![0; length]))]).map(|_| ());
    assert!(run(limits::TENSOR_ANSWER).is_ok());
    assert_eq!(run(limits::TENSOR_ANSWER + 1).unwrap_err().code, Code::TooLarge);
}

#[test]
fn inputs_that_the_runtime_takes_accepted_and_others_are_the_caller_s_fault() {
    let Some(runtime) = runtime() else { return };
    let mut graph = load(&runtime, &identity(&tensor_type(6, &[Size::Of(2)]))).unwrap();
    let mut run = |all: &[i32]| graph.run(&[&tensor("x", &[all.len()], Data::Int32(all.to_vec()))]);
    assert!(run(&[4242, 1]).is_ok());
    let refusal = run(&[4242, 1, 2]).unwrap_err();
    assert_eq!((refusal.code, refusal.got.as_deref()), (Code::RequestInvalid, Some("InvalidArgument")));
}

#[tokio::test]
async fn real_model_says_what_it_takes_and_runs() {
    let (Some(runtime), Some(folder)) = (runtime(), setup("MODEL_MAGIKA")) else { return };
    let graph = std::fs::read(folder.join("model.onnx")).unwrap();
    let model = TensorModel::load(session::load(&runtime, &files_of(&[("model.onnx", &graph)])).unwrap()).unwrap();
    let port = &model.inputs()[0];
    assert_eq!((port.name.as_str(), port.datatype, port.shape.as_slice()), ("bytes", Datatype::Int32, &[-1, 2048][..]));
    let outputs = model
        .infer(&caller_of(CallAction::Infer, "tiny/1"), vec![tensor("bytes", &[2, 2048], Data::Int32(vec![256; 4096]))])
        .await
        .unwrap();
    let Data::Fp32(scores) = outputs[0].data.expose() else { panic!("another type") };
    assert_eq!((outputs[0].shape.as_slice(), scores.len()), (&[2, 214][..], 428));
    assert!((scores[..214].iter().sum::<f32>() - 1.0).abs() < 1e-4);
}
