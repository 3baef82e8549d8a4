//! The body of `POST /v2/models/{name}/infer`: JSON, and after it the binary data of the tensors that have some.
//!
//! Parameters that are not known are passed over, as the protocol leaves them to each server; those that would change what an
//! answer means are refused. No error quotes the body.

use super::list::List;
use super::{binary, json};
use crate::inference::tensor::{Datatype, Tensor};
use crate::prompt::Prompt;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use strongroom_wire::{Code, Refusal, Result, limits};

/// What is asked, all limits kept.
#[derive(Debug)]
pub(super) struct Call {
    /// What the caller calls the request.
    pub(super) id: Option<String>,
    /// The inputs, in the caller's order.
    pub(super) inputs: Vec<Tensor>,
    /// The outputs that are asked for, and whether as binary data; none: all, as [`Self::all_binary`] says.
    pub(super) outputs: Vec<(String, bool)>,
    /// Whether outputs come as binary data where they say nothing else.
    pub(super) all_binary: bool,
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Option<Parameters>,
    #[serde(borrow)]
    inputs: List<Input<'a>, { limits::TENSORS }>,
    #[serde(default)]
    outputs: Option<List<Output, { limits::TENSORS }>>,
}

#[derive(Deserialize)]
struct Input<'a> {
    name: String,
    datatype: Datatype,
    shape: List<usize, { limits::TENSOR_RANK }>,
    #[serde(default)]
    parameters: Option<Parameters>,
    #[serde(default, borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: Option<Parameters>,
}

/// Of a request, an input or an output: each has those that it has.
#[derive(Default, Deserialize)]
struct Parameters {
    #[serde(default)]
    binary_data_output: Option<bool>,
    #[serde(default)]
    binary_data_size: Option<usize>,
    #[serde(default)]
    binary_data: Option<bool>,
    /// Calls that belong together: a model here keeps nothing from one to the next.
    #[serde(default)]
    sequence_id: Option<IgnoredAny>,
    /// Labels in place of an output.
    #[serde(default)]
    classification: Option<IgnoredAny>,
    /// Tensors elsewhere than in the body.
    #[serde(default)]
    shared_memory_region: Option<IgnoredAny>,
}

impl Parameters {
    fn judged(given: Option<Self>) -> Result<Self> {
        let given = given.unwrap_or_default();
        let refused = [
            ("sequence_id", &given.sequence_id),
            ("classification", &given.classification),
            ("shared_memory_region", &given.shared_memory_region),
        ];
        match refused.iter().find(|(_, value)| value.is_some()) {
            Some((name, _)) => Err(Refusal::new(Code::RequestInvalid, "parameter").got(name).want("none of that name")),
            None => Ok(given),
        }
    }
}

impl Call {
    /// Parses a body, of which the first `header` bytes are JSON, or all where the caller says nothing.
    ///
    /// # Errors
    /// `request-invalid` it is no such request; `too-large` its id is over [`limits::REQUEST_ID`], or a tensor has too many
    /// strings.
    pub(super) fn parse(body: &[u8], header: Option<usize>) -> Result<Self> {
        let invalid = |what: &str| Refusal::new(Code::RequestInvalid, what);
        let (json, mut tail) = body
            .split_at_checked(header.unwrap_or(body.len()))
            .ok_or_else(|| invalid("Inference-Header-Content-Length").got("more than the body"))?;
        // serde's message quotes what it did not expect, which may be a prompt.
        let document: Document<'_> = serde_json::from_slice(json).map_err(|error| {
            invalid("inference request")
                .got(format!("a mistake at line {}, column {}", error.line(), error.column()))
                .want("`inputs`, each with `name`, `datatype`, `shape` and `data`")
        })?;
        if let Some(id) = document.id.as_ref().filter(|id| id.len() > limits::REQUEST_ID) {
            return Err(Refusal::too_large("bytes of the request's id", id.len(), limits::REQUEST_ID));
        }
        let all_binary = Parameters::judged(document.parameters)?.binary_data_output.unwrap_or_default();
        let mut inputs = Vec::with_capacity(document.inputs.0.len());
        for (at, input) in document.inputs.0.into_iter().enumerate() {
            inputs.push(input.read(&mut tail).map_err(|refusal| refusal.within(format!("input {at}")))?);
        }
        if !tail.is_empty() {
            return Err(invalid("binary data").got("more than the inputs say").want("`binary_data_size` of each"));
        }
        let outputs = document.outputs.unwrap_or_default().0.into_iter().map(|output| {
            let binary = Parameters::judged(output.parameters)?.binary_data.unwrap_or(all_binary);
            Ok((output.name, binary))
        });
        Ok(Self { id: document.id, inputs, outputs: outputs.collect::<Result<_>>()?, all_binary })
    }
}

impl Input<'_> {
    /// The tensor, whose binary data are the first of `tail` where it has some.
    fn read(self, tail: &mut &[u8]) -> Result<Tensor> {
        let Self { name, datatype, shape, parameters, data } = self;
        let shape = shape.0;
        let invalid = |what: &str| Refusal::new(Code::RequestInvalid, what);
        let data = match (Parameters::judged(parameters)?.binary_data_size, data) {
            (None, Some(data)) => json::parse(datatype, &shape, data.get())?,
            (Some(size), None) => {
                let (own, rest) = tail
                    .split_at_checked(size)
                    .ok_or_else(|| invalid("binary_data_size").got("more than there is in the body"))?;
                *tail = rest;
                binary::parse(datatype, &shape, own)?
            }
            (Some(_), Some(_)) => return Err(invalid("data").got("in JSON and in binary").want("one of them")),
            (None, None) => return Err(invalid("data").got("none").want("`data`, or binary data")),
        };
        Ok(Tensor { name, shape, data: Prompt::new(data) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::tensor::Data;

    fn code(body: &[u8], header: Option<usize>) -> core::result::Result<Call, Code> {
        Call::parse(body, header).map_err(|refusal| refusal.code)
    }

    fn input(members: &str) -> String {
        format!(r#"{{"inputs":[{{"name":"x","datatype":"INT32","shape":[2]{members}}}]}}"#)
    }

    fn integers(call: &Call) -> Vec<i32> {
        let Data::Int32(all) = call.inputs[0].data.expose() else { panic!("another type") };
        all.clone()
    }

    #[test]
    fn members_in_any_order_are_the_same_request() {
        let call = r#"{"outputs":[{"name":"y"}],"inputs":[{"data":[1,2],"shape":[2],"datatype":"INT32","name":"x"}],"id":"7"}"#;
        let call = code(call.as_bytes(), None).unwrap();
        assert_eq!((call.id.as_deref(), call.inputs[0].name.as_str()), (Some("7"), "x"));
        assert_eq!((integers(&call), call.outputs), (vec![1, 2], vec![("y".into(), false)]));
    }

    #[test]
    fn binary_data_that_fill_the_body_accepted_and_others_refused() {
        let json = input(r#","parameters":{"binary_data_size":8}"#);
        let body = |length: usize| [json.as_bytes(), &[1, 0, 0, 0, 2, 0, 0, 0, 3][..length]].concat();
        let header = Some(json.len());
        assert_eq!(integers(&code(&body(8), header).unwrap()), [1, 2]);
        for (length, header) in
            [(7, header), (9, header), (8, None), (8, Some(json.len() + 9)), (8, Some(json.len() - 1))]
        {
            assert_eq!(code(&body(length), header).unwrap_err(), Code::RequestInvalid, "{length} {header:?}");
        }
    }

    #[test]
    fn data_once_accepted_and_twice_or_never_refused() {
        assert!(code(input(r#","data":[1,2]"#).as_bytes(), None).is_ok());
        let both = input(r#","data":[1,2],"parameters":{"binary_data_size":8}"#);
        let body = [both.as_bytes(), &[0; 8]].concat();
        assert_eq!(code(&body, Some(both.len())).unwrap_err(), Code::RequestInvalid);
        assert_eq!(code(input("").as_bytes(), None).unwrap_err(), Code::RequestInvalid);
    }

    #[test]
    fn form_of_an_output_is_its_own_else_the_request_s() {
        let ask = |all: bool, own: &str| {
            let json = format!(
                r#"{{"inputs":[],"parameters":{{"binary_data_output":{all}}},"outputs":[{{"name":"y","parameters":{{{own}}}}}]}}"#
            );
            Call::parse(json.as_bytes(), None).unwrap().outputs[0].1
        };
        assert!(ask(true, "") && ask(false, r#""binary_data":true"#));
        assert!(!ask(false, "") && !ask(true, r#""binary_data":false"#));
    }

    #[test]
    fn parameter_that_means_nothing_here_accepted_and_one_that_changes_the_answer_refused() {
        let ask = |parameter: &str| {
            code(format!(r#"{{"inputs":[],"parameters":{{"{parameter}":1}}}}"#).as_bytes(), None).map(|_| ())
        };
        assert_eq!((ask("priority"), ask("timeout")), (Ok(()), Ok(())));
        for parameter in ["sequence_id", "classification", "shared_memory_region"] {
            assert_eq!(ask(parameter), Err(Code::RequestInvalid), "{parameter}");
        }
    }

    #[test]
    fn id_inputs_and_dimensions_at_their_limits_accepted_and_one_more_refused() {
        let id = |length: usize| {
            code(format!(r#"{{"id":"{}","inputs":[]}}"#, "i".repeat(length)).as_bytes(), None).map(|_| ())
        };
        assert_eq!((id(limits::REQUEST_ID), id(limits::REQUEST_ID + 1)), (Ok(()), Err(Code::TooLarge)));
        let tensor = |rank: usize| {
            let shape = vec!["1"; rank].join(",");
            format!(r#"{{"name":"x","datatype":"INT32","shape":[{shape}],"data":[1]}}"#)
        };
        let inputs = |many: usize, rank: usize| {
            code(format!(r#"{{"inputs":[{}]}}"#, vec![tensor(rank); many].join(",")).as_bytes(), None).map(|_| ())
        };
        assert_eq!((inputs(limits::TENSORS, 1), inputs(1, limits::TENSOR_RANK)), (Ok(()), Ok(())));
        assert_eq!(inputs(limits::TENSORS + 1, 1), Err(Code::RequestInvalid));
        assert_eq!(inputs(1, limits::TENSOR_RANK + 1), Err(Code::RequestInvalid));
    }

    #[test]
    fn refusal_shows_nothing_of_the_body() {
        for body in [r#"{"inputs":"secret"}"#, r#"secret"#, r#"{"inputs":[{"name":"secret","shape":[-1]}]}"#] {
            let refusal = Call::parse(body.as_bytes(), None).unwrap_err();
            assert!(!refusal.to_string().contains("secret"), "{refusal}");
        }
    }
}
