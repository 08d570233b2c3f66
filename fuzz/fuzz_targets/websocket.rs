//! See `syncbridge_codec::fuzzing::websocket`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| syncbridge_codec::fuzzing::websocket(data));
