//! `visavis_fuzz::bundle`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| visavis_fuzz::bundle(bytes));
