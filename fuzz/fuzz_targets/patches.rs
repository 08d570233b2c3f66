//! See `syncbridge_document::fuzzing::patches`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncbridge_document::fuzzing::patches(data));
