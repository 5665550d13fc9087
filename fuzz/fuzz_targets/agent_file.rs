#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| caxton::fuzzing::run("agent_file", bytes));
