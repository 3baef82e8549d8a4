//! The answer to an inference: JSON, and after it the outputs that were asked for as binary data.

use super::super::room::{self, Room};
use super::binary;
use super::json::Flat;
use super::request::Call;
use crate::inference::tensor::{Datatype, Tensor};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroizing;

/// How long the JSON is of a body that has binary data after it.
pub(super) const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

#[derive(Serialize)]
struct Document<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<Output<'a>>,
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    datatype: Datatype,
    shape: &'a [usize],
    #[serde(flatten)]
    elements: Elements<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Elements<'a> {
    Data(Flat<'a>),
    Parameters(Binary),
}

#[derive(Serialize)]
struct Binary {
    binary_data_size: usize,
}

/// The outputs that are asked for, by their places among those of the graph, and whether as binary data.
///
/// # Errors
/// `request-invalid` the graph has none of that name, or it is asked for twice.
pub(super) fn select<'a>(call: &Call, graph: impl Iterator<Item = &'a str> + Clone) -> Result<Vec<(usize, bool)>> {
    if call.outputs.is_empty() {
        return Ok(graph.enumerate().map(|(at, _)| (at, call.all_binary)).collect());
    }
    let mut selected: Vec<(usize, bool)> = Vec::with_capacity(call.outputs.len());
    for (name, binary) in &call.outputs {
        let invalid = |got: &str| Refusal::new(Code::RequestInvalid, "outputs").got(got);
        let at = graph.clone().position(|output| output == name);
        let at = at.ok_or_else(|| invalid("one that the model does not have"))?;
        if selected.iter().any(|(other, _)| *other == at) {
            return Err(invalid("one of them twice"));
        }
        selected.push((at, *binary));
    }
    Ok(selected)
}

/// The answer with those of the graph's `outputs` that are `selected`, in that order.
///
/// # Errors
/// `request-invalid` an output cannot be said in JSON; `too-large` the JSON is over [`strongroom_wire::limits::TENSOR_ANSWER`], or a string too long for
/// binary data; `busy` there is no room for it.
pub(super) fn write(
    room: &Room,
    (name, version): (&str, &str),
    id: Option<&str>,
    outputs: &[Tensor],
    selected: &[(usize, bool)],
) -> Result<Response> {
    let mut tail = Zeroizing::new(Vec::new());
    let mut written = Vec::with_capacity(selected.len());
    for (at, binary) in selected {
        let Some(Tensor { name, shape, data }) = outputs.get(*at) else { continue };
        let data = data.expose();
        let elements = match binary {
            true => Elements::Parameters(Binary { binary_data_size: binary::write(data, &mut tail)? }),
            false => Elements::Data(Flat::of(data)?),
        };
        written.push(Output { name, datatype: data.datatype(), shape, elements });
    }
    let document = Document { model_name: name, model_version: version, id, outputs: written };
    let mut body = room::json(&document)?;
    let json = HeaderValue::from_static("application/json");
    if selected.iter().all(|(_, binary)| !binary) {
        return Ok(([(header::CONTENT_TYPE, json)], room.hold(body)?).into_response());
    }
    let length = HeaderValue::from(body.len());
    body.append(&mut tail);
    let bytes = HeaderValue::from_static("application/octet-stream");
    Ok(([(header::CONTENT_TYPE, bytes), (HEADER_LENGTH, length)], room.hold(body)?).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::tensor::Data;
    use crate::prompt::Prompt;
    use strongroom_transport::read_body;

    fn outputs() -> Vec<Tensor> {
        let tensor = |name: &str, shape: &[usize], data: Data| Tensor {
            name: name.into(),
            shape: shape.to_vec(),
            data: Prompt::new(data),
        };
        vec![tensor("a", &[1, 2], Data::Fp32(vec![0.5, -1.0])), tensor("b", &[], Data::Uint8(vec![7]))]
    }

    async fn written(selected: &[(usize, bool)]) -> (Option<String>, Vec<u8>) {
        let response = write(&Room::default(), ("m", "v"), Some("7"), &outputs(), selected).unwrap();
        let (head, body) = response.into_parts();
        let length = head.headers.get(HEADER_LENGTH).map(|value| value.to_str().unwrap().to_owned());
        (length, read_body(body, 1 << 20, "answer").await.unwrap().to_vec())
    }

    #[tokio::test]
    async fn answer_in_json_has_the_protocol_s_shape() {
        let want = r#"{"model_name":"m","model_version":"v","id":"7","outputs":[{"name":"a","datatype":"FP32","shape":[1,2],"data":[0.5,-1.0]},{"name":"b","datatype":"UINT8","shape":[],"data":[7]}]}"#;
        assert_eq!(written(&[(0, false), (1, false)]).await, (None, want.as_bytes().to_vec()));
    }

    #[tokio::test]
    async fn binary_data_come_after_the_json_in_the_order_that_was_asked() {
        let json = r#"{"model_name":"m","model_version":"v","id":"7","outputs":[{"name":"b","datatype":"UINT8","shape":[],"parameters":{"binary_data_size":1}},{"name":"a","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}]}"#;
        let want = [json.as_bytes(), &[7, 0, 0, 0, 0x3f, 0, 0, 0x80, 0xbf]].concat();
        assert_eq!(written(&[(1, true), (0, true)]).await, (Some(json.len().to_string()), want));
    }

    #[test]
    fn answer_in_json_at_the_limit_accepted_and_over_it_refused_where_binary_data_are_not() {
        let code = |texts: usize, binary: bool| {
            let data = Prompt::new(Data::Bytes(vec!["a".repeat(1 << 20); texts]));
            let outputs = [Tensor { name: "a".into(), shape: vec![texts], data }];
            write(&Room::default(), ("m", "v"), None, &outputs, &[(0, binary)])
                .map(|_| ())
                .map_err(|refusal| refusal.code)
        };
        assert_eq!((code(15, false), code(16, false), code(16, true)), (Ok(()), Err(Code::TooLarge), Ok(())));
    }

    #[test]
    fn outputs_that_the_graph_has_accepted_and_another_or_one_twice_refused() {
        let selected = |names: &[&str]| {
            let outputs = names.iter().map(|name| ((*name).to_owned(), false)).collect();
            let call = Call { id: None, inputs: Vec::new(), outputs, all_binary: true };
            select(&call, ["a", "b"].into_iter()).map_err(|refusal| refusal.code)
        };
        assert_eq!(selected(&[]), Ok(vec![(0, true), (1, true)]));
        assert_eq!(selected(&["b"]), Ok(vec![(1, false)]));
        assert_eq!(selected(&["c"]), Err(Code::RequestInvalid));
        assert_eq!(selected(&["a", "a"]), Err(Code::RequestInvalid));
    }
}
