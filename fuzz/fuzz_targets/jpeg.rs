//! `visavis_fuzz::jpeg`, by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| visavis_fuzz::jpeg(bytes));
