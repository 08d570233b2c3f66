//! See `syncbridge_codec::fuzzing::json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncbridge_codec::fuzzing::json(data));
