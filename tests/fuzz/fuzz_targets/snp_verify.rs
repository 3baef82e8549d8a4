//! See `strongroom_fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(init: strongroom_fuzz::begin("snp_verify"), |input: &[u8]| strongroom_fuzz::run("snp_verify", input));
