//! Small graphs for tests, written byte by byte.
//!
//! Owns as much of ONNX's protobuf as a graph of a few nodes needs, and where tests find the library and the real
//! models. Must never be part of the host that ships.

use std::path::PathBuf;

use wasmtime_wasi_nn::backend::NamedTensor;
use wasmtime_wasi_nn::wit::{Tensor, TensorType};

use super::tensor::{Plain, bytes_of};
use super::{Config, GraphSource, Library, Nn, Precision};

/// ONNX's numbers for the element types.
pub(crate) const FLOAT: u64 = 1;
pub(crate) const UINT8: u64 = 2;
pub(crate) const INT32: u64 = 6;
pub(crate) const INT64: u64 = 7;
pub(crate) const FLOAT16: u64 = 10;
pub(crate) const DOUBLE: u64 = 11;

/// A dimension: of a fixed length, or of any.
pub(crate) type Length = Option<u64>;

/// One node: the operator, its inputs, its one output.
pub(crate) type Node<'a> = (&'a str, &'a [&'a str], &'a str);

/// The set-up's folder, as a developer has it.
pub(crate) fn assets() -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/visavis");
    std::env::var_os("VISAVIS_ASSETS").map_or_else(built, PathBuf::from)
}

/// The set-up's ONNX Runtime.
pub(crate) fn library() -> PathBuf {
    assets().join("lib/libonnxruntime.so")
}

/// The settings of tests: the real library, and two sessions whatever the machine.
pub(crate) fn config() -> Config {
    Config { sessions: 2, ..Config::new(Library::OnnxRuntime(library())) }
}

/// The same with the set-up's OpenVINO.
pub(crate) fn openvino() -> Config {
    Config { library: Library::OpenVino(assets().join("lib/openvino/libopenvino_c.so")), ..config() }
}

/// A model that no table knows.
pub(crate) fn source(name: &str, model: Vec<u8>) -> GraphSource {
    GraphSource { name: name.to_owned(), model, sha256: String::new(), precision: Precision::F32 }
}

/// Starts inference on one graph.
pub(crate) fn start(name: &str, model: Vec<u8>) -> Nn {
    start_with(&config(), name, model)
}

/// Starts inference on one graph with other settings.
pub(crate) fn start_with(config: &Config, name: &str, model: Vec<u8>) -> Nn {
    match Nn::start(config, [source(name, model)]) {
        Ok(nn) => nn,
        Err(error) => panic!("{error}"),
    }
}

/// A tensor for an input.
pub(crate) fn named<T: Plain>(name: &str, ty: TensorType, dimensions: &[u32], elements: &[T]) -> NamedTensor {
    let tensor = Tensor::new(dimensions.to_vec(), ty, bytes_of(elements).to_vec());
    NamedTensor { name: name.to_owned(), tensor }
}

/// A tensor of f32 for an input.
pub(crate) fn floats(name: &str, dimensions: &[u32], elements: &[f32]) -> NamedTensor {
    named(name, TensorType::Fp32, dimensions, elements)
}

/// A model whose inputs and outputs all have one type.
pub(crate) fn model(
    ty: u64,
    inputs: &[(&str, &[Length])],
    nodes: &[Node<'_>],
    outputs: &[(&str, &[Length])],
) -> Vec<u8> {
    let mut graph = Vec::new();
    for (operator, from, to) in nodes {
        let mut node = Vec::new();
        for input in *from {
            node.field(1, input.as_bytes());
        }
        node.field(2, to.as_bytes()).field(4, operator.as_bytes());
        graph.field(1, &node);
    }
    graph.field(2, b"g");
    for (number, ports) in [(11, inputs), (12, outputs)] {
        for (name, lengths) in ports {
            graph.field(number, &value_info(name, ty, lengths));
        }
    }
    let mut opset = Vec::new();
    opset.number(2, 17);
    let mut model = Vec::new();
    model.number(1, 8).field(7, &graph).field(8, &opset);
    model
}

/// `input` as `output`, unchanged.
pub(crate) fn identity(ty: u64, lengths: &[Length]) -> Vec<u8> {
    model(ty, &[("input", lengths)], &[("Identity", &["input"], "output")], &[("output", lengths)])
}

/// `a + b` as `sum`.
pub(crate) fn sum(lengths: &[Length]) -> Vec<u8> {
    model(FLOAT, &[("a", lengths), ("b", lengths)], &[("Add", &["a", "b"], "sum")], &[("sum", lengths)])
}

/// A square matrix to the power of `steps + 1`, one node a step: as slow as one likes, in small pieces.
pub(crate) fn power(steps: usize) -> Vec<u8> {
    let names: Vec<_> = (0..=steps).map(|step| format!("x{step}")).collect();
    let links: Vec<_> = names.windows(2).map(|pair| ([pair[0].as_str(), "x0"], pair[1].as_str())).collect();
    let nodes: Vec<Node<'_>> = links.iter().map(|(from, to)| ("MatMul", from.as_slice(), *to)).collect();
    let any = [None, None];
    model(FLOAT, &[("x0", &any)], &nodes, &[(&names[steps], &any)])
}

fn value_info(name: &str, ty: u64, lengths: &[Length]) -> Vec<u8> {
    let mut shape = Vec::new();
    for length in lengths {
        let mut dimension = Vec::new();
        if let Some(length) = length {
            dimension.number(1, *length);
        }
        shape.field(1, &dimension);
    }
    let (mut tensor, mut kind, mut info) = (Vec::new(), Vec::new(), Vec::new());
    tensor.number(1, ty).field(2, &shape);
    kind.field(1, &tensor);
    info.field(1, name.as_bytes()).field(2, &kind);
    info
}

/// Protobuf's wire format: a varint of field number and kind, then a varint, or a length and bytes.
trait Message {
    fn number(&mut self, field: u64, value: u64) -> &mut Self;
    fn field(&mut self, field: u64, bytes: &[u8]) -> &mut Self;
}

impl Message for Vec<u8> {
    fn number(&mut self, field: u64, value: u64) -> &mut Self {
        varint(self, field << 3);
        varint(self, value);
        self
    }

    fn field(&mut self, field: u64, bytes: &[u8]) -> &mut Self {
        varint(self, field << 3 | 2);
        varint(self, bytes.len() as u64);
        self.extend_from_slice(bytes);
        self
    }
}

fn varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}
