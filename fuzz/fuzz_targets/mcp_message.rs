#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| caxton::fuzzing::run("mcp_message", bytes));
