//! Reads a frozen TensorFlow graph: its nodes in an order in which they can run, with their attributes and constants.
//!
//! Field numbers are those of TensorFlow's `graph.proto`, `attr_value.proto` and `tensor.proto`. Knows no network.

use std::collections::{BTreeMap, VecDeque};

use prost::Message;

use super::ConvertError;
use super::tensor::Tensor;

/// The nodes of a graph; every node comes after its inputs.
#[derive(Debug)]
pub(super) struct Graph {
    nodes: Vec<Node>,
}

/// One operation.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) operation: String,
    /// Names of the nodes whose first output is taken.
    pub(super) inputs: Vec<String>,
    attributes: BTreeMap<String, AttributeValue>,
}

/// The content of a `Const` node.
#[derive(Debug, Clone)]
pub(super) enum Constant {
    Floats(Tensor),
    Integers(Vec<i64>),
}

impl Graph {
    /// Reads a serialised `GraphDef`.
    pub(super) fn parse(source: &[u8]) -> Result<Self, ConvertError> {
        let definition = GraphDefinition::decode(source).map_err(|error| malformed(error.to_string()))?;
        if definition.node.is_empty() {
            return Err(malformed("it has no nodes"));
        }
        let nodes = definition.node.into_iter().map(Node::new).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { nodes: sorted(nodes)? })
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The node that no other takes as its input: the result of the graph.
    pub(super) fn result(&self) -> Result<&Node, ConvertError> {
        let taken = |name: &String| self.nodes.iter().any(|node| node.inputs.contains(name));
        let mut results = self.nodes.iter().filter(|node| !taken(&node.name));
        match (results.next(), results.next()) {
            (Some(result), None) => Ok(result),
            _ => Err(malformed("it has not exactly one result")),
        }
    }
}

impl Node {
    fn new(definition: NodeDefinition) -> Result<Self, ConvertError> {
        // `^name` only orders two nodes, and `name:0` is the same as `name`.
        let data = definition.input.into_iter().filter(|input| !input.starts_with('^'));
        let inputs = data.map(|input| input.strip_suffix(":0").map(str::to_owned).unwrap_or(input)).collect();
        Ok(Self { name: definition.name, operation: definition.op, inputs, attributes: definition.attr })
    }

    /// An error about this node.
    pub(super) fn unsupported(&self, problem: impl Into<String>) -> ConvertError {
        ConvertError::unsupported(format!("{} ({})", self.name, self.operation), problem)
    }

    /// The inputs, when there are as many as the operation takes.
    pub(super) fn expect_inputs<const N: usize>(&self) -> Result<&[String; N], ConvertError> {
        let problem = || self.unsupported(format!("has {} inputs where {N} are expected", self.inputs.len()));
        self.inputs.as_slice().try_into().map_err(|_| problem())
    }

    /// An attribute that is a string.
    pub(super) fn text(&self, key: &str) -> Result<&str, ConvertError> {
        let Some(Kind::Bytes(bytes)) = self.attribute(key) else { return Err(self.lacks(key)) };
        std::str::from_utf8(bytes).map_err(|_| self.lacks(key))
    }

    /// An attribute that is a boolean.
    pub(super) fn flag(&self, key: &str) -> Result<bool, ConvertError> {
        let Some(Kind::Flag(value)) = self.attribute(key) else { return Err(self.lacks(key)) };
        Ok(*value)
    }

    /// An attribute that is a number.
    pub(super) fn float(&self, key: &str) -> Result<f32, ConvertError> {
        let Some(Kind::Float(value)) = self.attribute(key) else { return Err(self.lacks(key)) };
        Ok(*value)
    }

    /// An attribute that gives one length for each of the axes batch, height, width, channels: its height and width.
    /// A convolution or pooling does nothing across images or channels, so the two others must be 1.
    pub(super) fn spatial(&self, key: &str) -> Result<[usize; 2], ConvertError> {
        let Some(Kind::List(list)) = self.attribute(key) else { return Err(self.lacks(key)) };
        match list.i[..] {
            [1, height, width, 1] if height > 0 && width > 0 => Ok([height as usize, width as usize]),
            _ => Err(self.unsupported(format!("`{key}` is {:?}, which is not [1, height, width, 1]", list.i))),
        }
    }

    /// The shape of a `Placeholder`.
    pub(super) fn shape(&self) -> Result<Vec<i64>, ConvertError> {
        let Some(Kind::Shape(shape)) = self.attribute("shape") else { return Err(self.lacks("shape")) };
        Ok(shape.dim.iter().map(|side| side.size).collect())
    }

    /// The content of a `Const`.
    pub(super) fn constant(&self) -> Result<Constant, ConvertError> {
        let Some(Kind::Tensor(tensor)) = self.attribute("value") else { return Err(self.lacks("value")) };
        let sides = tensor.tensor_shape.iter().flat_map(|shape| &shape.dim);
        let shape: Vec<_> =
            sides.map(|side| usize::try_from(side.size)).collect::<Result<_, _>>().map_err(|_| self.lacks("shape"))?;
        let cells = shape.iter().try_fold(1_usize, |product, side| product.checked_mul(*side));
        let cells = cells.ok_or_else(|| self.unsupported("its shape is too large"))?;
        match tensor.dtype {
            1 => {
                let values = self.cells(tensor, cells, &tensor.float_val, f32::from_le_bytes)?;
                Ok(Constant::Floats(Tensor::new(&self.name, shape, values)?))
            }
            3 => {
                let values = self.cells(tensor, cells, &tensor.int_val, i32::from_le_bytes)?;
                Ok(Constant::Integers(values.into_iter().map(i64::from).collect()))
            }
            other => Err(self.unsupported(format!("its data type {other} is neither float32 nor int32"))),
        }
    }

    /// TensorFlow keeps a tensor as raw bytes, or as values of which one stands for all.
    fn cells<T: Copy>(
        &self,
        tensor: &TensorDefinition,
        cells: usize,
        listed: &[T],
        decode: fn([u8; 4]) -> T,
    ) -> Result<Vec<T>, ConvertError> {
        // Bounds what one node may ask for: 2^28 values are a gigabyte, more than any model here.
        if cells > 1 << 28 {
            return Err(self.unsupported(format!("{cells} values are too many")));
        }
        match *listed {
            [single] => Ok(vec![single; cells]),
            [] => {
                let (values, rest) = tensor.tensor_content.as_chunks();
                if !rest.is_empty() || values.len() != cells {
                    return Err(self.unsupported(format!("its content does not fill {cells} values")));
                }
                Ok(values.iter().map(|value| decode(*value)).collect())
            }
            _ if listed.len() == cells => Ok(listed.to_vec()),
            _ => Err(self.unsupported(format!("it lists {} of {cells} values", listed.len()))),
        }
    }

    fn attribute(&self, key: &str) -> Option<&Kind> {
        self.attributes.get(key)?.kind.as_ref()
    }

    fn lacks(&self, key: &str) -> ConvertError {
        self.unsupported(format!("its attribute `{key}` is missing or of another type"))
    }
}

/// Kahn's algorithm. Nodes that are ready at the same time keep the order of the file, so that the result is always the
/// same.
fn sorted(nodes: Vec<Node>) -> Result<Vec<Node>, ConvertError> {
    let mut places = BTreeMap::new();
    for (place, node) in nodes.iter().enumerate() {
        if places.insert(node.name.as_str(), place).is_some() {
            return Err(malformed(format!("two nodes are called {}", node.name)));
        }
    }
    let mut takers = vec![Vec::new(); nodes.len()];
    let mut missing = vec![0; nodes.len()];
    for (place, node) in nodes.iter().enumerate() {
        for input in &node.inputs {
            let &giver = places
                .get(input.as_str())
                .ok_or_else(|| malformed(format!("{} takes {input}, which does not exist", node.name)))?;
            takers[giver].push(place);
            missing[place] += 1;
        }
    }
    let mut ready: VecDeque<_> = (0..nodes.len()).filter(|&place| missing[place] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(place) = ready.pop_front() {
        order.push(place);
        for &taker in &takers[place] {
            missing[taker] -= 1;
            if missing[taker] == 0 {
                ready.push_back(taker);
            }
        }
    }
    if order.len() < nodes.len() {
        return Err(malformed("it has a cycle"));
    }
    let mut nodes: Vec<_> = nodes.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|place| nodes[place].take()).collect())
}

fn malformed(problem: impl Into<String>) -> ConvertError {
    ConvertError::Malformed { format: "a frozen TensorFlow graph", problem: problem.into() }
}

#[derive(Message)]
struct GraphDefinition {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeDefinition>,
}

#[derive(Message)]
struct NodeDefinition {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    op: String,
    #[prost(string, repeated, tag = "3")]
    input: Vec<String>,
    #[prost(btree_map = "string, message", tag = "5")]
    attr: BTreeMap<String, AttributeValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AttributeValue {
    #[prost(oneof = "Kind", tags = "1, 2, 4, 5, 7, 8")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    List(List),
    #[prost(bytes, tag = "2")]
    Bytes(Vec<u8>),
    #[prost(float, tag = "4")]
    Float(f32),
    #[prost(bool, tag = "5")]
    Flag(bool),
    #[prost(message, tag = "7")]
    Shape(ShapeDefinition),
    #[prost(message, tag = "8")]
    Tensor(TensorDefinition),
}

#[derive(Clone, PartialEq, Message)]
struct List {
    #[prost(int64, repeated, tag = "3")]
    i: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct ShapeDefinition {
    #[prost(message, repeated, tag = "2")]
    dim: Vec<SideDefinition>,
}

#[derive(Clone, PartialEq, Message)]
struct SideDefinition {
    #[prost(int64, tag = "1")]
    size: i64,
}

#[derive(Clone, PartialEq, Message)]
struct TensorDefinition {
    #[prost(int32, tag = "1")]
    dtype: i32,
    #[prost(message, optional, tag = "2")]
    tensor_shape: Option<ShapeDefinition>,
    #[prost(bytes = "vec", tag = "4")]
    tensor_content: Vec<u8>,
    #[prost(float, repeated, tag = "5")]
    float_val: Vec<f32>,
    #[prost(int32, repeated, tag = "7")]
    int_val: Vec<i32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, inputs: &[&str]) -> NodeDefinition {
        let input = inputs.iter().map(|&it| it.to_owned()).collect();
        NodeDefinition { name: name.into(), op: "Add".into(), input, attr: BTreeMap::new() }
    }

    fn parse(nodes: Vec<NodeDefinition>) -> Result<Graph, ConvertError> {
        Graph::parse(&GraphDefinition { node: nodes }.encode_to_vec())
    }

    #[test]
    fn nodes_come_after_their_inputs() {
        let graph = parse(vec![node("c", &["b:0", "a"]), node("b", &["a", "^c2"]), node("a", &[]), node("c2", &[])]);
        let graph = graph.unwrap();
        let names: Vec<_> = graph.nodes().iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["a", "c2", "b", "c"]);
        assert_eq!(graph.nodes()[3].inputs, ["b", "a"]);
    }

    #[test]
    fn broken_graphs_are_refused() {
        assert!(parse(vec![node("a", &["b"]), node("b", &["a"])]).unwrap_err().to_string().contains("cycle"));
        assert!(parse(vec![node("a", &["x"])]).unwrap_err().to_string().contains("takes x"));
        assert!(parse(vec![node("a", &[]), node("a", &[])]).unwrap_err().to_string().contains("two nodes"));
        assert!(Graph::parse(b"").is_err());
        assert!(Graph::parse(b"\x0a\xff\xff\xff\xff\x0f").is_err());
    }

    #[test]
    fn a_constant_that_lies_about_its_size_is_refused() {
        let constant = |sides: &[i64], content: &[u8], listed: &[f32]| {
            let dim = sides.iter().map(|&size| SideDefinition { size }).collect();
            let tensor = TensorDefinition {
                dtype: 1,
                tensor_shape: Some(ShapeDefinition { dim }),
                tensor_content: content.to_vec(),
                float_val: listed.to_vec(),
                int_val: vec![],
            };
            let value = AttributeValue { kind: Some(Kind::Tensor(tensor)) };
            let attr = BTreeMap::from([("value".to_owned(), value)]);
            let node = NodeDefinition { name: "w".into(), op: "Const".into(), input: vec![], attr };
            parse(vec![node]).unwrap().nodes()[0].constant()
        };
        assert!(matches!(constant(&[2], &[0; 8], &[]), Ok(Constant::Floats(_))));
        assert!(matches!(constant(&[512], &[], &[1.0]), Ok(Constant::Floats(all)) if all.values() == [1.0; 512]));
        assert!(constant(&[3], &[0; 8], &[]).is_err());
        assert!(constant(&[-1], &[0; 8], &[]).is_err());
        assert!(constant(&[i64::MAX, 4], &[], &[1.0]).is_err());
        assert!(constant(&[1 << 40], &[], &[1.0]).is_err());
    }
}
