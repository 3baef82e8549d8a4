//! See `strongroom_fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(init: strongroom_fuzz::begin("hardware"), |input: &[u8]| strongroom_fuzz::run("hardware", input));
