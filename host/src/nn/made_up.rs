//! Tensors that no guest would hand in by mistake: any names, types, shapes and lengths, against the rules written once more.
//!
//! Owns the made-up inputs. Must never be part of the host that ships.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use wasmtime_wasi_nn::GraphRegistry;
use wasmtime_wasi_nn::backend::{BackendError, NamedTensor};
use wasmtime_wasi_nn::wit::{Tensor, TensorType};

use super::registry::Graphs;
use super::{Config, fixture};
use crate::telemetry::TraceContext;

/// So many calls, unless `PROPTEST_CASES` says another number.
const CALLS: u32 = 4000;

/// The most elements of all inputs together.
const MOST: usize = 60;

/// The longest sentence that a guest gets to read, bytes.
const LONGEST: usize = 1000;

fn types() -> impl Strategy<Value = TensorType> {
    use TensorType::{Bf16, Fp16, Fp32, Fp64, I32, I64, U8};
    prop_oneof![12 => Just(Fp32), 1 => prop::sample::select(vec![Fp16, Fp64, Bf16, U8, I32, I64])]
}

fn dimensions() -> impl Strategy<Value = Vec<u32>> {
    let length = prop_oneof![
        8 => 1_u32..6,
        1 => Just(0),
        1 => prop::sample::select(vec![u32::MAX, 1 << 31, 1 << 30, 65_536, 7, 21]),
    ];
    prop_oneof![
        6 => length.clone().prop_map(|rows| vec![rows, 3]),
        2 => (length.clone(), length.clone()).prop_map(|(rows, columns)| vec![rows, columns]),
        1 => prop::collection::vec(length, 0..5),
        1 => prop::collection::vec(Just(1), 0..300),
    ]
}

/// As many bytes as the shape asks for, or a few more or less, or none.
fn tensor() -> impl Strategy<Value = Tensor> {
    let off = prop_oneof![8 => Just(0_isize), 1 => -5_isize..6, 1 => Just(isize::MIN)];
    (types(), dimensions(), off, any::<u8>()).prop_map(|(ty, dimensions, off, seed)| {
        let whole = dimensions.iter().try_fold(4_usize, |bytes, length| bytes.checked_mul(*length as usize));
        let whole = whole.filter(|bytes| *bytes < 4096).unwrap_or(24);
        let bytes = (0..whole.saturating_add_signed(off)).map(|at| (at as u8).wrapping_mul(37) ^ seed).collect();
        Tensor::new(dimensions, ty, bytes)
    })
}

/// An input as a guest names it.
type Named = (String, Tensor);

fn inputs() -> impl Strategy<Value = Vec<Named>> {
    let name =
        prop_oneof![9 => Just("a".to_owned()), 9 => Just("b".to_owned()), 1 => "[abc\0\u{e9}]{0,3}", 1 => "x{100}"];
    let pair = (tensor(), tensor(), any::<bool>()).prop_map(|(a, b, turned)| {
        let pair = [("a".to_owned(), a), ("b".to_owned(), b)];
        if turned { pair.into_iter().rev().collect() } else { Vec::from(pair) }
    });
    prop_oneof![3 => pair, 1 => prop::collection::vec((name, tensor()), 0..12)]
}

/// Rows of an input that is as the graph declares it, and its elements.
fn sound(tensor: &Tensor) -> Option<(usize, Vec<f32>)> {
    let [rows, 3] = tensor.dimensions[..] else { return None };
    let rows = rows as usize;
    let fits = tensor.ty == TensorType::Fp32 && rows > 0 && Some(tensor.data.len()) == rows.checked_mul(12);
    fits.then(|| (rows, tensor.data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
}

/// What the graph answers, or whose fault it is that it does not: `true` for the guest's.
fn expected(inputs: &[Named]) -> Result<Vec<f32>, bool> {
    let find = |name: &str| inputs.iter().find(|(own, _)| own == name).map(|(_, tensor)| tensor);
    let (Some(a), Some(b), 2) = (find("a"), find("b"), inputs.len()) else { return Err(true) };
    let ((rows, a), (others, b)) = sound(a).zip(sound(b)).ok_or(true)?;
    if a.len() + b.len() > MOST {
        return Err(true);
    }
    // One row is added to all others; else there must be as many. That only the graph itself knows.
    if rows != others && rows != 1 && others != 1 {
        return Err(false);
    }
    let sum = |at: usize| a[at % a.len()] + b[at % b.len()];
    Ok((0..a.len().max(b.len())).map(sum).collect())
}

#[test]
fn made_up_tensors_are_computed_or_refused_and_change_nothing_after() {
    let config = Config { max_elements: MOST, ..fixture::config() };
    let nn = fixture::start_with(&config, "sum", fixture::sum(&[None, Some(3)]));
    let deadline = Instant::now() + Duration::from_secs(600);
    let asked = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { asked.cases } else { CALLS };
    let settings = ProptestConfig { cases, failure_persistence: None, ..asked };
    // Each for an instance of its own: one may make only so many computations that fail. The graph is the same for all.
    let context = || {
        let graphs = Graphs::new(&nn.networks, &nn.watchdog, deadline, &TraceContext::default());
        graphs.get("sum").unwrap().init_execution_context().unwrap()
    };
    let counts = RefCell::new([0_usize; 3]);
    proptest!(settings, |(inputs in inputs())| {
        let expected = expected(&inputs);
        let inputs = inputs.into_iter().map(|(name, tensor)| NamedTensor { name, tensor }).collect();
        let kind = match (context().compute_with_io(inputs), &expected) {
            (Ok(outputs), Ok(sums)) => {
                prop_assert_eq!(outputs.len(), 1);
                let tensor = &outputs[0].tensor;
                prop_assert_eq!(&tensor.dimensions[..], &[sums.len() as u32 / 3, 3][..]);
                let found = tensor.data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
                prop_assert!(found.zip(sums).all(|(found, sum)| found == *sum || (found.is_nan() && sum.is_nan())));
                0
            }
            (Err(BackendError::UnsupportedTensorType(text)), Err(true)) => {
                prop_assert!(text.starts_with("graph 'sum'") && text.len() <= LONGEST, "{}", text);
                1
            }
            (Err(BackendError::BackendAccess(_)), Err(false)) => 2,
            (Ok(_), _) => return Err(TestCaseError::fail("it was computed")),
            (Err(error), _) => return Err(TestCaseError::fail(format!("{error:?}"))),
        };
        counts.borrow_mut()[kind] += 1;
    });
    let counts = counts.into_inner();
    println!("computed, refused, failed in the graph: {counts:?}");
    assert!(counts.iter().all(|count| *count > 20), "{counts:?}");
}
