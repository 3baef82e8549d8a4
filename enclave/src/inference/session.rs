//! A model's graph in the runtime, whatever kind of model it is of.

use crate::memory::{GRAPH, ModelFiles};
use crate::runtime::Runtime;
use core::fmt;
use ort::session::Session;
use std::thread;
use strongroom_wire::{Code, Refusal, Result};

/// ONNX Runtime, `onnxruntime_session_options_config_keys.h`: where the external data is of a graph that has no path.
const EXTERNAL_FOLDER: &str = "session.model_external_initializers_file_folder_path";
/// The longest protocol buffer, which a graph is.
const PROTOBUF: usize = (1 << 31) - 1;

/// Loads `model.onnx` of an opened model out of sealed memory, with its external data if it has any, to run on every core.
///
/// # Errors
/// `model-unsupported` there is none; `runtime-failed` the runtime does not take it, for one because its external data is in
/// files of other names than its own and an ending.
pub(super) fn load(runtime: &Runtime, files: &ModelFiles) -> Result<Session> {
    let missing = || Refusal::new(Code::ModelUnsupported, GRAPH).because("missing");
    let file = files.get(GRAPH).ok_or_else(missing)?;
    let failed = |e: &dyn fmt::Display| Refusal::new(Code::RuntimeFailed, "loading model.onnx").because(e);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut builder = Session::builder(runtime.environment())
        .map_err(|e| failed(&e))?
        .with_intra_threads(threads)
        .map_err(|e| failed(&e))?;
    match files.external() {
        None => builder.commit_from_file(file.path()).map_err(|e| failed(&e)),
        // The runtime maps the data; the graph, which has few weights of its own, is all that is copied.
        Some(folder) => builder
            .with_config_entry(EXTERNAL_FOLDER, folder.display().to_string())
            .map_err(|e| failed(&e))?
            .commit_from_memory(&file.read(PROTOBUF, GRAPH)?)
            .map_err(|e| failed(&e)),
    }
}

/// What is told of a failed run: the runtime's error code alone, since its messages quote values of its input.
pub(super) fn failed(error: &ort::Error) -> Refusal {
    Refusal::new(Code::RuntimeFailed, "running model.onnx").got(format!("{:?}", error.code()))
}
