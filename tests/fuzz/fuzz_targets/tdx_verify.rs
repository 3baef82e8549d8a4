//! See `strongroom_fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(init: strongroom_fuzz::begin("tdx_verify"), |input: &[u8]| strongroom_fuzz::run("tdx_verify", input));
