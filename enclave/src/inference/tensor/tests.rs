use super::*;
use crate::api::tests::caller_of;
use crate::inference::{Kind, Model};
use strongroom_policy::CallAction;
use strongroom_wire::digest::Sha256;

pub(super) fn tensor(name: &str, shape: &[usize], data: Data) -> Tensor {
    Tensor { name: name.into(), shape: shape.to_vec(), data: Prompt::new(data) }
}

pub(super) fn integers(tensor: &Tensor) -> Vec<i32> {
    let Data::Int32(all) = tensor.data.expose() else { panic!("another type") };
    all.clone()
}

/// A model of another graph, `run`, that takes `x` and gives `y`, both of pairs of 32-bit integers. For tests of what is around a
/// graph, which so need no set-up.
fn around(run: impl FnMut(&[&Tensor]) -> Reply + Send + 'static) -> TensorModel {
    let port =
        |name: &str| Port { name: name.into(), datatype: Datatype::Int32, shape: vec![-1, 2], rows: Some("n".into()) };
    TensorModel::new(vec![port("x")], vec![port("y")], worker::start(true, run).unwrap())
}

fn doubled(inputs: &[&Tensor]) -> Reply {
    let double = |input: &&Tensor| {
        let all = integers(input).iter().map(|element| element * 2).collect();
        tensor("y", &input.shape, Data::Int32(all))
    };
    Ok(inputs.iter().map(double).collect())
}

/// A model that gives pairs of integers doubled.
pub(crate) fn doubling() -> Model {
    Model { manifest: Sha256([1; 32]), kind: Kind::Tensors(around(doubled)) }
}

async fn infer(model: &TensorModel, inputs: Vec<Tensor>) -> core::result::Result<Vec<i32>, Code> {
    let outputs = model.infer(&caller_of(CallAction::Infer, "tiny/1"), inputs).await.map_err(|refusal| refusal.code)?;
    Ok(integers(&outputs[0]))
}

fn pair(name: &str, shape: &[usize], all: &[i32]) -> Vec<Tensor> {
    vec![tensor(name, shape, Data::Int32(all.to_vec()))]
}

#[tokio::test]
async fn input_of_the_graph_accepted_and_another_name_number_type_or_shape_refused() {
    let model = around(doubled);
    assert_eq!(infer(&model, pair("x", &[1, 2], &[1, 2])).await, Ok(vec![2, 4]));
    assert_eq!(infer(&model, pair("x", &[2, 2], &[1, 2, 3, 4])).await, Ok(vec![2, 4, 6, 8]));
    let twice = (0..2).flat_map(|_| pair("x", &[1, 2], &[1, 2])).collect();
    for inputs in [
        Vec::new(),
        twice,
        pair("z", &[1, 2], &[1, 2]),
        pair("x", &[2], &[1, 2]),
        pair("x", &[1, 3], &[1, 2, 3]),
        pair("x", &[1, 2, 1], &[1, 2]),
        pair("x", &[0, 2], &[]),
        pair("x", &[1, 2], &[1, 2, 3]),
        vec![tensor("x", &[1, 2], Data::Int64(vec![1, 2]))],
    ] {
        assert_eq!(infer(&model, inputs).await, Err(Code::RequestInvalid));
    }
}

#[tokio::test]
async fn text_without_a_zero_byte_accepted_and_with_one_refused() {
    let port = Port { name: "x".into(), datatype: Datatype::Bytes, shape: vec![1], rows: None };
    let worker = worker::start(false, |_| Ok(vec![tensor("y", &[1], Data::Int32(vec![7]))])).unwrap();
    let model = TensorModel::new(vec![port], Vec::new(), worker);
    let text = |text: &str| vec![tensor("x", &[1], Data::Bytes(vec![text.into()]))];
    assert_eq!(infer(&model, text("a")).await, Ok(vec![7]));
    assert_eq!(infer(&model, text("a\0b")).await, Err(Code::RequestInvalid));
}

#[tokio::test]
async fn requests_as_many_as_may_wait_accepted_and_one_more_refused_until_one_is_answered() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let model = Arc::new(around(move |inputs| {
        released.recv().unwrap();
        doubled(inputs)
    }));
    let ask = || {
        let model = Arc::clone(&model);
        tokio::spawn(async move { infer(&model, pair("x", &[1, 2], &[1, 2])).await })
    };
    let asked: Vec<_> = (0..JOBS).map(|_| ask()).collect();
    while model.jobs.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(infer(&model, pair("x", &[1, 2], &[1, 2])).await, Err(Code::Busy));
    drop(release);
    for asked in asked {
        // Without its channel the thread panics.
        assert_eq!(asked.await.unwrap(), Err(Code::RuntimeFailed));
    }
    model.ended().await;
    assert!(!model.is_alive());
    // What the last ones held goes with the thread.
    while (model.jobs.available_permits(), model.bytes.available_permits()) != (JOBS, BYTES) {
        tokio::task::yield_now().await;
    }
}

#[test]
fn refusal_shows_neither_element_nor_name_of_the_caller() {
    let model = around(doubled);
    for inputs in [pair("secret", &[1, 2], &[4242, 1]), pair("x", &[1, 2], &[4242, 1, 2])] {
        let refusal = model.arrange(inputs).unwrap_err().to_string();
        assert!(!refusal.contains("secret") && !refusal.contains("4242"), "{refusal}");
    }
}
