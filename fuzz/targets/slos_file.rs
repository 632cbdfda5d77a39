#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scx_vnuma::fuzzing::check("slos_file", bytes));
