//! See `strongroom_fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(init: strongroom_fuzz::begin("signers"), |input: &[u8]| strongroom_fuzz::run("signers", input));
