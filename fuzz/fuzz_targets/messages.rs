//! See `syncbridge_codec::fuzzing::messages`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncbridge_codec::fuzzing::messages(data));
