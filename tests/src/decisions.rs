//! What a scorer decides beside what was recorded of the built-in one.
//!
//! Owns what is compared: every recorded case, and numbers that JSON cannot record. Must never know who wrote a scorer or in what
//! language.

use serde_json::{Value, json};

use crate::scorer::{Scorer, difference};

/// What this scorer decides otherwise than recorded, a line for each; empty when it passes.
///
/// # Panics
/// When the scorer traps, or there is no case.
pub fn compare(scorer: &Scorer, cases: &[Value]) -> Vec<String> {
    let mut wrong = Vec::new();
    for case in cases {
        let found = scorer.score(case);
        wrong.extend(difference(&case["expect"], &found).map(|what| format!("{}: {what}", case["name"])));
        for (photograph, index) in [("first", 0), ("second", 1)] {
            let verdict = &case["expect"]["verdict"];
            let Some(face) = verdict["faces"][index].as_u64() else { continue };
            let face = &case[photograph]["faces"][face as usize];
            if verdict["frontal"][index] != scorer.frontal(face) {
                wrong.push(format!("{}: `frontal` says another thing of the {photograph} face", case["name"]));
            }
        }
    }
    not_a_number(scorer, cases.first().expect("there are cases"), &mut wrong);
    wrong
}

/// Numbers that are none, which JSON can not record, are neither frontal nor comparable, and never end a scorer.
fn not_a_number(scorer: &Scorer, sound: &Value, wrong: &mut Vec<String>) {
    let with = |pointer: &str| {
        let mut case = sound.clone();
        *case.pointer_mut(pointer).expect("the case has it") = Value::Null;
        case
    };
    let mut expect = |holds: bool, what: &str, found: &Value| {
        if !holds {
            wrong.push(format!("where {what} is not a number: {found}"));
        }
    };
    for pointer in ["/first/faces/0/embedding/0", "/second/faces/0/embedding/1", "/policy/threshold", "/policy/slope"] {
        let found = scorer.score(&with(pointer));
        expect(found["rejection"]["incomparable"].is_string(), pointer, &found);
    }
    for point in ["left_eye", "right_eye", "nose", "left_mouth", "right_mouth"] {
        let pointer = format!("/second/faces/0/landmarks/{point}/y");
        let case = with(&pointer);
        let found = scorer.score(&case);
        expect(found["rejection"]["non_frontal_face"]["photograph"] == "second", &pointer, &found);
        let frontal = scorer.frontal(&case["second"]["faces"][0]);
        expect(!frontal, &pointer, &json!({ "frontal": frontal }));
    }
    let doubtful = scorer.score(&with("/first/faces/0/confidence"));
    expect(doubtful["verdict"]["faces"] == json!([0, 0]), "/first/faces/0/confidence", &doubtful);
    let mut beside_another = with("/first/faces/0/box/x2");
    let shapeless = beside_another["first"]["faces"][0].clone();
    beside_another["first"]["faces"] = json!([shapeless, sound["first"]["faces"][0]]);
    let found = scorer.score(&beside_another);
    expect(found["verdict"]["faces"] == json!([1, 0]), "/first/faces/0/box/x2", &found);
}
