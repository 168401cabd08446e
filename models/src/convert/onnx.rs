//! Writes ONNX: a builder for graphs, and the few protobuf messages that it needs. Reads again what it wrote.
//!
//! Field numbers and meanings are those of the ONNX specification, version 1.12 (IR version 8, operator set 17). Knows no
//! network: whoever calls it names the operators.

use prost::Message;

use super::ConvertError;
use super::tensor::Tensor;

/// IR version and operator set: old enough for every run time of the last years, new enough for all that is used here.
const IR_VERSION: i64 = 8;
const OPERATOR_SET: i64 = 17;
const PRODUCER: &str = "visavis";

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

    /// Reads a file that [`Model::into_bytes`] wrote.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ConvertError> {
        let malformed = |problem: String| ConvertError::Malformed { format: "an ONNX model", problem };
        let model = ModelProto::decode(bytes).map_err(|error| malformed(error.to_string()))?;
        // Another program's file may hold fields that this one does not know, and would lose.
        if model.producer_name != PRODUCER {
            return Err(malformed(format!("it was written by `{}`", model.producer_name)));
        }
        Ok(Self { graph: model.graph.ok_or_else(|| malformed("it holds no graph".to_owned()))? })
    }

    /// A model with the same name, inputs and outputs, and nothing in it.
    pub(super) fn emptied(&self) -> Self {
        let GraphProto { name, input, output, .. } = &self.graph;
        Self {
            graph: GraphProto {
                name: name.clone(),
                input: input.clone(),
                output: output.clone(),
                ..GraphProto::default()
            },
        }
    }

    /// The nodes in the order in which they run.
    pub(super) fn nodes(&self) -> &[NodeProto] {
        &self.graph.node
    }

    /// Names of the inputs.
    pub(super) fn inputs(&self) -> impl Iterator<Item = &str> {
        self.graph.input.iter().map(|input| input.name.as_str())
    }

    /// The constant of floats with that name.
    pub(super) fn floats(&self, name: &str) -> Result<Tensor, ConvertError> {
        let constant = self.stored(name).filter(|constant| constant.data_type == FLOAT);
        let constant = constant.ok_or_else(|| ConvertError::unsupported(name, "is no constant of floats"))?;
        let values = constant.raw_data.as_chunks().0.iter().map(|cell| f32::from_le_bytes(*cell)).collect();
        Tensor::new(name, constant.dims.iter().map(|side| *side as usize).collect(), values)
    }

    /// Takes over the constant with that name from another model, if it is one there.
    pub(super) fn adopt(&mut self, from: &Self, name: &str) {
        if self.stored(name).is_none() {
            self.graph.initializer.extend(from.stored(name).cloned());
        }
    }

    fn stored(&self, name: &str) -> Option<&TensorProto> {
        self.graph.initializer.iter().find(|constant| constant.name == name)
    }

    pub(super) fn input(&mut self, name: &str, shape: &[Side]) {
        self.graph.input.push(value(name, shape));
    }

    pub(super) fn output(&mut self, name: &str, shape: &[Side]) {
        self.graph.output.push(value(name, shape));
    }

    /// An output of floats that has a name and no shape.
    pub(super) fn plain_output(&mut self, name: &str) {
        let tensor_type = Some(TensorType { elem_type: FLOAT, shape: None });
        self.graph.output.push(ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }) });
    }

    /// A constant of floats.
    pub(super) fn constant(&mut self, name: &str, tensor: &Tensor) {
        self.numbers(name, tensor.shape(), tensor.values());
    }

    /// A constant of 64-bit integers with one axis: what operators take for axes and shapes.
    pub(super) fn integers(&mut self, name: &str, values: &[i64]) {
        self.numbers(name, &[values.len()], values);
    }

    /// A constant of any numbers. There are as many as `shape` says; without a side it is one.
    pub(super) fn numbers<N: Number>(&mut self, name: &str, shape: &[usize], values: &[N]) {
        let raw_data = values.iter().flat_map(Number::bytes).collect();
        let dims = shape.iter().map(|side| *side as i64).collect();
        self.graph.initializer.push(TensorProto { dims, data_type: N::CODE, name: name.to_owned(), raw_data });
    }

    /// A node with one output, which gives the node its name.
    pub(super) fn node<const N: usize>(
        &mut self,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attributes: [Attribute; N],
    ) {
        self.push(NodeProto {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: output.to_owned(),
            op_type: operator.to_owned(),
            attribute: attributes.into_iter().map(|it| it.0).collect(),
        });
    }

    /// A node of another model, perhaps with other names.
    pub(super) fn push(&mut self, node: NodeProto) {
        self.graph.node.push(node);
    }

    /// The ONNX file.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: PRODUCER.to_owned(),
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

/// What a constant can hold.
pub(super) trait Number {
    /// The type's number in ONNX.
    const CODE: i32;

    /// Little-endian.
    fn bytes(&self) -> impl Iterator<Item = u8>;
}

macro_rules! number {
    ($($number:ty: $code:expr),*) => {
        $(impl Number for $number {
            const CODE: i32 = $code;

            fn bytes(&self) -> impl Iterator<Item = u8> {
                self.to_le_bytes().into_iter()
            }
        })*
    };
}

number!(f32: FLOAT, u8: 2, i8: 3, i32: 6, i64: 7);

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

/// A node. Those that are written here have one output, and its name.
#[derive(Clone, Message)]
pub(super) struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    pub(super) input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub(super) output: Vec<String>,
    #[prost(string, tag = "3")]
    pub(super) name: String,
    #[prost(string, tag = "4")]
    pub(super) op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) attribute: Vec<AttributeProto>,
}

#[derive(Clone, Message)]
pub(super) struct AttributeProto {
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

#[derive(Clone, Message)]
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

#[derive(Clone, Message)]
struct ValueInfoProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    r#type: Option<TypeProto>,
}

#[derive(Clone, Message)]
struct TypeProto {
    #[prost(message, optional, tag = "1")]
    tensor_type: Option<TensorType>,
}

#[derive(Clone, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<TensorShapeProto>,
}

#[derive(Clone, Message)]
struct TensorShapeProto {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dimension>,
}

#[derive(Clone, Message)]
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
