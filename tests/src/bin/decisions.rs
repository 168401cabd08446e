//! `cargo xtask decisions`: holds a scorer against the recorded decisions, or has the built-in one decide them anew.
//!
//! Knows how the record is written. Must never know what is compared.

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs, panic};

use serde_json::Value;
use visavis_tests::decisions;
use visavis_tests::languages::{built_in, recorded_cases};
use visavis_tests::scorer::{Scorer, cases};

fn main() -> ExitCode {
    // What calls a scorer panics when that is none, in words that are enough.
    panic::set_hook(Box::new(|info| {
        eprintln!("error: {}", info.payload_as_str().unwrap_or("the comparison broke off"))
    }));
    let recorded = cases(&recorded_cases());
    match env::args_os().nth(1) {
        Some(file) => {
            let wrong = decisions::compare(&Scorer::load(Path::new(&file)), &recorded);
            if wrong.is_empty() {
                println!("it decides all {} cases as recorded", recorded.len());
                return ExitCode::SUCCESS;
            }
            println!("it decides otherwise:\n{}", wrong.join("\n"));
            ExitCode::FAILURE
        }
        None => {
            let text = record(&Scorer::load(&built_in()), recorded);
            fs::write(recorded_cases(), text).expect("the cases can be written");
            ExitCode::SUCCESS
        }
    }
}

/// The cases with what this scorer decides.
fn record(scorer: &Scorer, cases: Vec<Value>) -> String {
    let mut text = String::from("[");
    for (index, mut case) in cases.into_iter().enumerate() {
        case["expect"] = scorer.score(&case);
        text.push_str(if index == 0 { "\n  {" } else { ",\n  {" });
        for (index, key) in ["name", "first", "second", "policy", "expect"].into_iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            text.push_str(&format!("{comma}\n    \"{key}\": {}", case[key]));
        }
        text.push_str("\n  }");
    }
    text.push_str("\n]\n");
    text
}
