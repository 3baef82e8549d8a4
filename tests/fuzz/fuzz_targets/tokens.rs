//! See `strongroom_fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(init: strongroom_fuzz::begin("tokens"), |input: &[u8]| strongroom_fuzz::run("tokens", input));
