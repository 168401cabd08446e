//! PReLU, put together again in a model in ONNX.
//!
//! Owns finding the four nodes that stand for it, and writing one in their place. Must never know a library or a run.
//!
//! Models are written as ONNX Runtime is fastest with them: `slope * x + relu((1 - slope) * x)` instead of PRelu. OpenVINO takes
//! PRelu into the convolution before it, and runs the four nodes one after the other: it needs half as long again for them.

use std::borrow::Cow;
use std::collections::HashMap;

// Fields of ONNX's messages, by its specification.
const MODEL_GRAPH: u64 = 7;
const GRAPH_NODE: u64 = 1;
const GRAPH_INITIALIZER: u64 = 5;
const GRAPH_OUTPUT: u64 = 12;
const VALUE_NAME: u64 = 1;
const NODE_INPUT: u64 = 1;
const NODE_OUTPUT: u64 = 2;
const NODE_OPERATOR: u64 = 4;
const NODE_DOMAIN: u64 = 7;
const TENSOR_DIMENSIONS: u64 = 1;
const TENSOR_TYPE: u64 = 2;
const TENSOR_NAME: u64 = 8;
const TENSOR_BYTES: u64 = 9;
/// The element type f32.
const FLOAT: u64 = 1;

/// The model with PRelu wherever its four nodes stand for it; as it was where there are none, and where it is damaged, which is for
/// the library to say.
pub(super) fn fused(model: &[u8]) -> Cow<'_, [u8]> {
    rewritten(model).map_or(Cow::Borrowed(model), Cow::Owned)
}

fn rewritten(model: &[u8]) -> Option<Vec<u8>> {
    let parts = fields(model)?;
    let body = parts.iter().find(|part| part.number == MODEL_GRAPH)?.body;
    let graph = Graph::parse(body)?;
    let (mut gone, mut instead) = (vec![false; graph.nodes.len()], HashMap::new());
    for (at, node) in graph.nodes.iter().enumerate() {
        if let Some(Found { input, slope, parts }) = graph.prelu(node) {
            parts.into_iter().for_each(|part| gone[part] = true);
            instead.insert(at, written(input, slope, node.outputs[0]));
        }
    }
    if instead.is_empty() {
        return None;
    }
    let (mut rebuilt, mut at) = (Vec::with_capacity(body.len()), 0);
    for part in fields(body)? {
        if part.number == GRAPH_NODE {
            match instead.get(&at) {
                Some(node) => put(&mut rebuilt, GRAPH_NODE, node),
                None if gone[at] => {}
                None => rebuilt.extend(part.whole),
            }
            at += 1;
        } else {
            rebuilt.extend(part.whole);
        }
    }
    let mut model = Vec::with_capacity(model.len());
    for part in parts {
        match part.number {
            MODEL_GRAPH => put(&mut model, MODEL_GRAPH, &rebuilt),
            _ => model.extend(part.whole),
        }
    }
    Some(model)
}

/// A PRelu with one slope a channel.
fn written(input: &[u8], slope: &[u8], output: &[u8]) -> Vec<u8> {
    let mut node = Vec::new();
    put(&mut node, NODE_INPUT, input);
    put(&mut node, NODE_INPUT, slope);
    put(&mut node, NODE_OUTPUT, output);
    put(&mut node, NODE_OPERATOR, b"PRelu");
    node
}

/// What four nodes stand for: the value, its slopes, and where the three before the last one stand.
struct Found<'a> {
    input: &'a [u8],
    slope: &'a [u8],
    parts: [usize; 3],
}

struct Graph<'a> {
    nodes: Vec<Node<'a>>,
    constants: HashMap<&'a [u8], Constant<'a>>,
    /// Which node makes a value.
    makers: HashMap<&'a [u8], usize>,
    /// How often a value is used.
    uses: HashMap<&'a [u8], usize>,
}

#[derive(Default)]
struct Node<'a> {
    inputs: Vec<&'a [u8]>,
    outputs: Vec<&'a [u8]>,
    operator: &'a [u8],
}

/// A tensor of f32, or of what is not looked into.
#[derive(Default)]
struct Constant<'a> {
    dimensions: Vec<u64>,
    values: Option<&'a [u8]>,
}

impl<'a> Graph<'a> {
    fn parse(body: &'a [u8]) -> Option<Self> {
        let (mut nodes, mut constants) = (Vec::new(), HashMap::new());
        let (mut makers, mut uses) = (HashMap::new(), HashMap::new());
        for part in fields(body)? {
            match part.number {
                GRAPH_NODE => {
                    let node = Node::parse(part.body)?;
                    node.inputs.iter().for_each(|input| *uses.entry(*input).or_default() += 1);
                    node.outputs.iter().for_each(|output| _ = makers.insert(*output, nodes.len()));
                    nodes.push(node);
                }
                GRAPH_INITIALIZER => {
                    let (name, constant) = Constant::parse(part.body)?;
                    constants.insert(name, constant);
                }
                GRAPH_OUTPUT => {
                    let name = fields(part.body)?.iter().find(|part| part.number == VALUE_NAME)?.body;
                    *uses.entry(name).or_default() += 1;
                }
                _ => {}
            }
        }
        Some(Self { nodes, constants, makers, uses })
    }

    /// What `node` and the three before it stand for, if it is the sum that ends a PReLU.
    fn prelu(&self, node: &Node<'a>) -> Option<Found<'a>> {
        let (first, second) = node.operands(b"Add")?;
        self.halves(first, second).or_else(|| self.halves(second, first))
    }

    /// The same, of `slope * x` and `relu((1 - slope) * x)`.
    fn halves(&self, scaled: &'a [u8], kept: &'a [u8]) -> Option<Found<'a>> {
        let (scaled_at, kept_at) = (self.only_used_here(scaled)?, self.only_used_here(kept)?);
        let (input, slope) = self.factors(scaled_at)?;
        let relu = &self.nodes[kept_at];
        let raised_at = match (relu.operator, relu.inputs.as_slice()) {
            (b"Relu", [raised]) => self.only_used_here(raised)?,
            _ => return None,
        };
        let (raised, rest) = self.factors(raised_at)?;
        (raised == input && self.one_a_channel(input, slope) && self.complements(slope, rest)).then_some(Found {
            input,
            slope,
            parts: [scaled_at, kept_at, raised_at],
        })
    }

    /// Where the node stands whose value is used once.
    fn only_used_here(&self, value: &[u8]) -> Option<usize> {
        (self.uses.get(value) == Some(&1)).then(|| self.makers.get(value).copied())?
    }

    /// A value and the constant that it is multiplied with.
    fn factors(&self, at: usize) -> Option<(&'a [u8], &'a [u8])> {
        let (first, second) = self.nodes[at].operands(b"Mul")?;
        match (self.constants.contains_key(first), self.constants.contains_key(second)) {
            (false, true) => Some((first, second)),
            (true, false) => Some((second, first)),
            _ => None,
        }
    }

    /// Whether `slope` has one number for each channel of `input`: Mul would stretch either one to fit the other, PRelu would not.
    fn one_a_channel(&self, input: &[u8], slope: &[u8]) -> bool {
        let Some(maker) = self.makers.get(input).map(|at| &self.nodes[*at]) else { return false };
        let Some(slope) = self.constants.get(slope) else { return false };
        let weights = maker.inputs.get(1).and_then(|name| self.constants.get(name));
        match (maker.operator, weights) {
            (b"Conv", Some(weights)) => {
                let ones = slope.dimensions.iter().skip(1).all(|side| *side == 1);
                ones && slope.dimensions.len() + 1 == weights.dimensions.len()
                    && slope.dimensions.first() == weights.dimensions.first()
            }
            (b"Gemm", Some(weights)) => {
                slope.dimensions.len() == 1 && weights.dimensions.contains(&slope.dimensions[0])
            }
            _ => false,
        }
    }

    /// Whether `rest` is 1 less `slope`, number by number, and never negative: else it would rectify the other side.
    fn complements(&self, slope: &[u8], rest: &[u8]) -> bool {
        let (Some(slope), Some(rest)) = (self.constants.get(slope), self.constants.get(rest)) else { return false };
        let (Some(slopes), Some(rests)) = (slope.values, rest.values) else { return false };
        let numbers = |bytes: &'a [u8]| bytes.as_chunks().0.iter().map(|cell| f32::from_le_bytes(*cell));
        slope.dimensions == rest.dimensions
            && slopes.len() == rests.len()
            && numbers(slopes).zip(numbers(rests)).all(|(slope, rest)| 1.0 - slope == rest && rest >= 0.0)
    }
}

impl<'a> Node<'a> {
    fn parse(body: &'a [u8]) -> Option<Self> {
        let mut node = Self::default();
        for part in fields(body)? {
            match part.number {
                NODE_INPUT => node.inputs.push(part.body),
                NODE_OUTPUT => node.outputs.push(part.body),
                // An operator of somebody's own may have any name.
                NODE_OPERATOR if node.operator.is_empty() => node.operator = part.body,
                NODE_DOMAIN if !part.body.is_empty() => node.operator = b"?",
                _ => {}
            }
        }
        Some(node)
    }

    /// Both inputs, if it is such an operator.
    fn operands(&self, operator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
        match self.inputs[..] {
            [first, second] if self.operator == operator && self.outputs.len() == 1 => Some((first, second)),
            _ => None,
        }
    }
}

impl<'a> Constant<'a> {
    /// With its name.
    fn parse(body: &'a [u8]) -> Option<(&'a [u8], Self)> {
        let (mut name, mut constant, mut is_float) = (None, Self::default(), false);
        for part in fields(body)? {
            match part.number {
                // Lengths come one by one or packed, as the writer pleases.
                TENSOR_DIMENSIONS if part.is_number => constant.dimensions.push(part.value),
                TENSOR_DIMENSIONS => {
                    let mut rest = part.body;
                    while !rest.is_empty() {
                        constant.dimensions.push(varint(&mut rest)?);
                    }
                }
                TENSOR_TYPE => is_float = part.value == FLOAT,
                TENSOR_NAME => name = Some(part.body),
                TENSOR_BYTES => constant.values = Some(part.body),
                _ => {}
            }
        }
        constant.values = constant.values.filter(|_| is_float);
        Some((name?, constant))
    }
}

/// One field of a protobuf message.
struct Field<'a> {
    number: u64,
    /// With its key, as it stands in the message.
    whole: &'a [u8],
    /// What it holds; nothing of a number.
    body: &'a [u8],
    /// The number that it is, if it is one.
    value: u64,
    is_number: bool,
}

/// A message's fields in their order; `None` of bytes that are none.
fn fields(message: &[u8]) -> Option<Vec<Field<'_>>> {
    let (mut found, mut rest) = (Vec::new(), message);
    while !rest.is_empty() {
        let begin = rest;
        let key = varint(&mut rest)?;
        let (mut body, mut value): (&[u8], _) = (&[], 0);
        match key & 7 {
            0 => value = varint(&mut rest)?,
            1 => (body, rest) = rest.split_at_checked(8)?,
            2 => {
                let length = varint(&mut rest)?;
                (body, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            }
            5 => (body, rest) = rest.split_at_checked(4)?,
            _ => return None,
        }
        let whole = &begin[..begin.len() - rest.len()];
        found.push(Field { number: key >> 3, whole, body, value, is_number: key & 7 == 0 });
    }
    Some(found)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Writes a field that holds bytes.
fn put(into: &mut Vec<u8>, number: u64, body: &[u8]) {
    for mut value in [number << 3 | 2, body.len() as u64] {
        while value >= 0x80 {
            into.push(value as u8 | 0x80);
            value >>= 7;
        }
        into.push(value as u8);
    }
    into.extend(body);
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture;
    use super::*;

    fn operators(model: &[u8]) -> Vec<String> {
        let body = fields(model).unwrap().into_iter().find(|part| part.number == MODEL_GRAPH).unwrap().body;
        let nodes = Graph::parse(body).unwrap().nodes;
        nodes.iter().map(|node| String::from_utf8_lossy(node.operator).into_owned()).collect()
    }

    #[test]
    fn the_detectors_graphs_get_their_prelus_back_and_others_stay_as_they_are() {
        for (file, expected) in [
            ("mtcnn-proposal.onnx", 3),
            ("mtcnn-refinement.onnx", 4),
            ("mtcnn-output.onnx", 5),
            ("facenet-casia-webface-int8.onnx", 0),
        ] {
            let path = fixture::assets().join("models").join(file);
            let model = std::fs::read(&path)
                .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask setup`", path.display()));
            let (before, after) = (operators(&model), operators(&fused(&model)));
            let prelus = after.iter().filter(|operator| *operator == "PRelu").count();
            assert_eq!((prelus, before.len() - after.len()), (expected, 3 * expected), "{file}");
            assert!(expected == 0 || !after.iter().any(|operator| operator == "Relu"), "{file}");
            assert_eq!(expected == 0, matches!(fused(&model), Cow::Borrowed(_)), "{file}");
        }
    }

    #[test]
    fn what_is_no_prelu_stays_and_damage_is_left_to_the_library() {
        let any = [None, Some(3)];
        let port: [(&str, &[fixture::Length]); 1] = [("x", &any)];
        // The factors are values here, not constants.
        let nodes: [fixture::Node<'_>; 4] = [
            ("Mul", &["x", "x"], "scaled"),
            ("Mul", &["x", "x"], "raised"),
            ("Relu", &["raised"], "kept"),
            ("Add", &["scaled", "kept"], "y"),
        ];
        let model = fixture::model(fixture::FLOAT, &port, &nodes, &[("y", &any)]);
        assert!(matches!(fused(&model), Cow::Borrowed(_)));
        for damaged in [&model[..model.len() - 1], &[0xff; 40], &[], b"no model"] {
            assert_eq!(fused(damaged), damaged);
        }
    }
}
