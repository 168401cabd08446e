//! A scorer called by itself: records in, a verdict or a rejection out, all of them as JSON.
//!
//! Owns the translation between JSON and the records of `wit/score.wit`, and the recorded cases. Must never know who wrote
//! the scorer or in what language. The JSON has the contract's names in snake case; a variant is an object with one key.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use wasmtime::component::{Component, Func, InstancePre, Linker, Type, Val};
use wasmtime::{Config, Engine, OptLevel, Store};

/// How far a number of an answer may lie from the recorded one. Languages compute with more digits than f32 has, and
/// their exponential functions differ in the last ones.
pub const TOLERANCE: f64 = 1e-5;

/// A compiled scorer. Each call gets a fresh instance, whose imports trap: a scorer needs none of them.
pub struct Scorer {
    engine: Engine,
    pre: InstancePre<()>,
}

impl Scorer {
    /// Compiles the component in `file`.
    pub fn load(file: &Path) -> Self {
        let bytes = fs::read(file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
        let mut config = Config::new();
        // An interpreter's millions of instructions are compiled once, and few of them run.
        config.cranelift_opt_level(OptLevel::None);
        let engine = Engine::new(&config).expect("the engine supports this machine");
        let failed = |error: wasmtime::Error| -> ! { panic!("{} is no scorer: {error:#}", file.display()) };
        let component = Component::new(&engine, bytes).unwrap_or_else(|error| failed(error));
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&component).unwrap_or_else(|error| failed(error));
        let pre = linker.instantiate_pre(&component).unwrap_or_else(|error| failed(error));
        Self { engine, pre }
    }

    /// The decision about one case: `{"verdict": ...}` or `{"rejection": ...}`. `null` stands for a number that is none.
    pub fn score(&self, case: &Value) -> Value {
        let answer = self.call("score", [&case["first"], &case["second"], &case["policy"]]);
        match answer {
            Val::Result(Ok(Some(verdict))) => json!({ "verdict": to_json(&verdict) }),
            Val::Result(Err(Some(rejection))) => json!({ "rejection": to_json(&rejection) }),
            other => panic!("no result of a decision: {other:?}"),
        }
    }

    /// Whether this face looks into the camera.
    pub fn frontal(&self, face: &Value) -> bool {
        match self.call("frontal", [face]) {
            Val::Bool(frontal) => frontal,
            other => panic!("no truth value: {other:?}"),
        }
    }

    fn call<const N: usize>(&self, name: &str, arguments: [&Value; N]) -> Val {
        let mut store = Store::new(&self.engine, ());
        let instance = self.pre.instantiate(&mut store).expect("an instance");
        let interface = instance.get_export_index(&mut store, None, "visavis:face/score@0.1.0");
        let interface = interface.expect("this is no scorer: it has no interface `score` of visavis:face");
        let index = instance.get_export_index(&mut store, Some(&interface), name).expect("the interface has it");
        let function: Func = instance.get_func(&mut store, index).expect("it is a function");
        let types: Vec<Type> = function.ty(&store).params().map(|(_, ty)| ty).collect();
        assert_eq!(types.len(), N, "{name}");
        let arguments: Vec<Val> = types.iter().zip(arguments).map(|(ty, value)| to_val(value, ty, name)).collect();
        let mut answers = [Val::Bool(false)];
        function.call(&mut store, &arguments, &mut answers).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        let [answer] = answers;
        answer
    }
}

/// The recorded cases in `file`: a list of `{name, first, second, policy, expect}`.
pub fn cases(file: &Path) -> Vec<Value> {
    let text = fs::read(file).unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
    let cases: Vec<Value> = serde_json::from_slice(&text).expect("the cases are a JSON list");
    assert!(!cases.is_empty());
    cases
}

/// Where two answers differ by more than the tolerance, or nothing. What a rejection says in words is the scorer's own.
pub fn difference(expected: &Value, found: &Value) -> Option<String> {
    let either = || Some(format!("{expected} was expected, {found} came"));
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            if a.len() != b.len() {
                return either();
            }
            let differs = |(key, a): (&String, &Value)| match b.get(key) {
                None => either(),
                Some(Value::String(words)) if key == "incomparable" => words.is_empty().then(|| "no words".to_owned()),
                Some(b) => difference(a, b).map(|what| format!("{key}: {what}")),
            };
            a.iter().find_map(differs)
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a.iter().zip(b).find_map(|(a, b)| difference(a, b)),
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            let (a, b) = (a.as_f64()?, b.as_f64()?);
            ((a - b).abs() > TOLERANCE).then(either).flatten()
        }
        (a, b) => (a != b).then(either).flatten(),
    }
}

fn to_val(value: &Value, ty: &Type, name: &str) -> Val {
    let wrong = || -> ! { panic!("`{name}` is {value}, which does not fit its type") };
    match ty {
        Type::Bool => Val::Bool(value.as_bool().unwrap_or_else(|| wrong())),
        Type::U32 => Val::U32(value.as_u64().and_then(|it| it.try_into().ok()).unwrap_or_else(|| wrong())),
        Type::Float32 if value.is_null() => Val::Float32(f32::NAN),
        Type::Float32 => Val::Float32(value.as_f64().unwrap_or_else(|| wrong()) as f32),
        Type::Float64 => Val::Float64(value.as_f64().unwrap_or_else(|| wrong())),
        Type::String => Val::String(value.as_str().unwrap_or_else(|| wrong()).to_owned()),
        Type::Enum(_) => Val::Enum(value.as_str().unwrap_or_else(|| wrong()).replace('_', "-")),
        Type::List(list) => {
            let values = value.as_array().unwrap_or_else(|| wrong());
            Val::List(values.iter().map(|value| to_val(value, &list.ty(), name)).collect())
        }
        Type::Record(record) => {
            let members = value.as_object().unwrap_or_else(|| wrong());
            assert_eq!(members.len(), record.fields().len(), "the members of `{name}`: {value}");
            let fields = record.fields().map(|field| {
                let key = field.name.replace('-', "_");
                let member = members.get(&key).unwrap_or_else(|| panic!("`{name}` has no `{key}`: {value}"));
                (field.name.to_owned(), to_val(member, &field.ty, &key))
            });
            Val::Record(fields.collect())
        }
        other => panic!("no argument of a scorer is of type {other:?}"),
    }
}

fn to_json(value: &Val) -> Value {
    match value {
        Val::Bool(it) => json!(it),
        Val::U32(it) => json!(it),
        // The shortest decimal number that is this f32.
        Val::Float32(it) => it.to_string().parse::<f64>().map_or(Value::Null, |it| json!(it)),
        Val::String(it) => json!(it),
        Val::Enum(it) => json!(it.replace('-', "_")),
        Val::Tuple(values) => values.iter().map(to_json).collect(),
        Val::Record(fields) => {
            fields.iter().map(|(name, value)| (name.replace('-', "_"), to_json(value))).collect::<Map<_, _>>().into()
        }
        Val::Variant(case, Some(payload)) => json!({ case.replace('-', "_"): to_json(payload) }),
        other => panic!("no answer of a scorer holds {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_found_and_rounding_is_not_one() {
        let expected = json!({ "verdict": { "verified": true, "score": 0.5, "faces": [0, 1] } });
        assert_eq!(difference(&expected, &expected), None);
        for (pointer, other, same) in [
            ("/verdict/score", json!(0.500_001), true),
            ("/verdict/score", json!(0.500_1), false),
            ("/verdict/score", Value::Null, false),
            ("/verdict/verified", json!(false), false),
            ("/verdict/faces", json!([0, 2]), false),
            ("/verdict/faces", json!([0]), false),
            ("/verdict", json!({ "verified": true, "score": 0.5 }), false),
        ] {
            let mut found = expected.clone();
            *found.pointer_mut(pointer).unwrap() = other;
            assert_eq!(difference(&expected, &found).is_none(), same, "{found}");
        }
        let incomparable = |words: &str| json!({ "rejection": { "incomparable": words } });
        assert_eq!(difference(&incomparable("a"), &incomparable("b")), None, "words are free");
        assert!(difference(&incomparable("a"), &incomparable("")).is_some());
        assert!(difference(&incomparable("a"), &json!({ "rejection": { "no_face": "first" } })).is_some());
    }
}
