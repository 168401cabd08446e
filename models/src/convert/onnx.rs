//! Writes ONNX: a builder for graphs of 32-bit floats, and the few protobuf messages that it needs.
//!
//! Field numbers and meanings are those of the ONNX specification, version 1.12 (IR version 8, operator set 17). Knows no
//! network: whoever calls it names the operators.

use prost::Message;

use super::tensor::Tensor;

/// IR version and operator set: old enough for every run time of the last years, new enough for all that is used here.
const IR_VERSION: i64 = 8;
const OPERATOR_SET: i64 = 17;

/// Builds one model, node by node, in the order in which they run.
pub(super) struct Model {
    graph: GraphProto,
}

/// One side of an input's or output's shape.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Fixed(usize),
    /// Known only when the model runs; equal names mean equal lengths.
    Dynamic(&'static str),
}

impl Model {
    pub(super) fn new(name: &str) -> Self {
        Self { graph: GraphProto { name: name.to_owned(), ..GraphProto::default() } }
    }

    pub(super) fn input(&mut self, name: &str, shape: &[Side]) {
        self.graph.input.push(value(name, shape));
    }

    pub(super) fn output(&mut self, name: &str, shape: &[Side]) {
        self.graph.output.push(value(name, shape));
    }

    /// A constant of floats.
    pub(super) fn constant(&mut self, name: &str, tensor: &Tensor) {
        let raw = tensor.values().iter().flat_map(|value| value.to_le_bytes()).collect();
        let dims = tensor.shape().iter().map(|side| *side as i64).collect();
        self.graph.initializer.push(TensorProto { dims, data_type: FLOAT, name: name.to_owned(), raw_data: raw });
    }

    /// A constant of 64-bit integers with one axis: what operators take for axes and shapes.
    pub(super) fn integers(&mut self, name: &str, values: &[i64]) {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let dims = vec![values.len() as i64];
        self.graph.initializer.push(TensorProto { dims, data_type: INT64, name: name.to_owned(), raw_data: raw });
    }

    /// A node with one output, which gives the node its name.
    pub(super) fn node<const N: usize>(
        &mut self,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attributes: [Attribute; N],
    ) {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: output.to_owned(),
            op_type: operator.to_owned(),
            attribute: attributes.into_iter().map(|it| it.0).collect(),
        });
    }

    /// The ONNX file.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "visavis".to_owned(),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetId { domain: String::new(), version: OPERATOR_SET }],
        };
        model.encode_to_vec()
    }
}

/// A named setting of a node.
pub(super) struct Attribute(AttributeProto);

impl Attribute {
    pub(super) fn integer(name: &str, value: i64) -> Self {
        Self(AttributeProto { name: name.to_owned(), i: Some(value), kind: 2, ..AttributeProto::default() })
    }

    pub(super) fn integers(name: &str, values: &[usize]) -> Self {
        let ints = values.iter().map(|value| *value as i64).collect();
        Self(AttributeProto { name: name.to_owned(), ints, kind: 7, ..AttributeProto::default() })
    }
}

fn value(name: &str, shape: &[Side]) -> ValueInfoProto {
    let dim = shape
        .iter()
        .map(|side| match side {
            Side::Fixed(length) => Dimension { dim_value: Some(*length as i64), dim_param: None },
            Side::Dynamic(name) => Dimension { dim_value: None, dim_param: Some((*name).to_owned()) },
        })
        .collect();
    let tensor_type = Some(TensorType { elem_type: FLOAT, shape: Some(TensorShapeProto { dim }) });
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }) }
}

const FLOAT: i32 = 1;
const INT64: i32 = 7;

#[derive(Message)]
struct ModelProto {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSetId>,
}

#[derive(Message)]
struct OperatorSetId {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfoProto>,
}

#[derive(Message)]
struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<AttributeProto>,
}

#[derive(Message)]
struct AttributeProto {
    #[prost(string, tag = "1")]
    name: String,
    // Optional, so that a zero is written and not taken for "no value".
    #[prost(int64, optional, tag = "3")]
    i: Option<i64>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    ints: Vec<i64>,
    #[prost(int32, tag = "20")]
    kind: i32,
}

#[derive(Message)]
struct TensorProto {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

#[derive(Message)]
struct ValueInfoProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    r#type: Option<TypeProto>,
}

#[derive(Message)]
struct TypeProto {
    #[prost(message, optional, tag = "1")]
    tensor_type: Option<TensorType>,
}

#[derive(Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<TensorShapeProto>,
}

#[derive(Message)]
struct TensorShapeProto {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dimension>,
}

#[derive(Message)]
struct Dimension {
    #[prost(int64, optional, tag = "1")]
    dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    dim_param: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zero_attribute_is_written() {
        let mut model = Model::new("m");
        model.node("Flatten", &["x"], "y", [Attribute::integer("axis", 0)]);
        let written = ModelProto::decode(&model.into_bytes()[..]).unwrap().graph.unwrap();
        assert_eq!(written.node[0].attribute[0].i, Some(0));
        // Field 3, wire type 0, value 0: present on the wire although it is the default.
        let bytes = written.node[0].attribute[0].encode_to_vec();
        assert!(bytes.windows(2).any(|pair| pair == [0x18, 0]), "{bytes:?}");
    }

    #[test]
    fn constants_are_little_endian_and_carry_their_shape() {
        let mut model = Model::new("m");
        model.constant("w", &Tensor::new("w", vec![1, 2], vec![1.0, -2.0]).unwrap());
        let written = ModelProto::decode(&model.into_bytes()[..]).unwrap().graph.unwrap();
        assert_eq!(written.initializer[0].dims, [1, 2]);
        assert_eq!(written.initializer[0].raw_data, [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]);
    }
}
