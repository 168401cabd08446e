//! Makes an ONNX model compute in 8-bit integers: static quantisation, as in Jacob et al., "Quantization and Training of
//! Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018.
//!
//! Every convolution, sum, concatenation and maximum is put between a `DequantizeLinear` and a `QuantizeLinear`, which
//! run times recognise and replace by one integer operator. Activations have 8 bits without a sign, one scale for each
//! tensor, and a step that is exactly 0; a ReLU becomes the lower end of its input's range. Weights have 8 bits with a
//! sign and a scale for each output channel. What is left, a thousandth of the work, computes in floats as before.
//! Knows no network.

use std::collections::{BTreeMap, BTreeSet};

use super::ConvertError;
use super::onnx::{Attribute, Model, NodeProto};
use super::ranges::Ranges;

/// A model that shows what its tensors hold.
#[derive(Debug)]
pub struct Observed {
    /// The ONNX file; all of `tensors` that are no inputs are outputs besides the model's own.
    pub model: Vec<u8>,
    /// Names of the tensors whose ranges quantisation needs. Inputs come first.
    pub tensors: Vec<String>,
}

/// Makes a model that a conversion of this crate wrote show every tensor whose range quantisation needs.
///
/// # Errors
/// When `model` is no such file.
pub fn observe(model: &[u8]) -> Result<Observed, ConvertError> {
    let mut model = Model::parse(model)?;
    let tensors = Plan::of(&model).tensors();
    let inputs: Vec<String> = model.inputs().map(str::to_owned).collect();
    for tensor in tensors.iter().filter(|tensor| !inputs.contains(tensor)) {
        model.plain_output(tensor);
    }
    Ok(Observed { model: model.into_bytes(), tensors })
}

/// Quantises `model`. `ranges` has every tensor that [`observe`] names.
pub(super) fn quantize(model: &Model, ranges: &Ranges) -> Result<Vec<u8>, ConvertError> {
    let plan = Plan::of(model);
    let mut quantizer =
        Quantizer { source: model, result: model.emptied(), ranges, steps: BTreeMap::new(), floats: BTreeMap::new() };
    for node in model.nodes() {
        if plan.absorbed.contains(result(node)) {
            continue;
        }
        match Kind::of(node) {
            Some(kind) => quantizer.integers(node, kind, plan.settled(node))?,
            None => quantizer.keep(node),
        }
    }
    Ok(quantizer.result.into_bytes())
}

/// The operators that compute in integers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Its second and third input are constants.
    Convolution,
    /// Answers some of the numbers that it takes, so that their steps are its own.
    Selection,
    Other,
}

impl Kind {
    fn of(node: &NodeProto) -> Option<Self> {
        match node.op_type.as_str() {
            "Conv" => Some(Self::Convolution),
            "MaxPool" => Some(Self::Selection),
            "Add" | "Concat" => Some(Self::Other),
            _ => None,
        }
    }

    /// Those of the node's inputs that are computed.
    fn activations(self, node: &NodeProto) -> &[String] {
        match self {
            Self::Convolution => node.input.get(..1).unwrap_or_default(),
            Self::Selection | Self::Other => &node.input,
        }
    }
}

fn result(node: &NodeProto) -> &str {
    node.output.first().map_or("", String::as_str)
}

/// What becomes of the nodes of a model.
struct Plan<'a> {
    model: &'a Model,
    /// Results of the ReLUs that become a part of the operator before them.
    absorbed: BTreeSet<&'a str>,
    /// Where such an operator's result is then: in the ReLU's.
    settled: BTreeMap<&'a str, &'a str>,
}

impl<'a> Plan<'a> {
    fn of(model: &'a Model) -> Self {
        let mut users: BTreeMap<&str, usize> = BTreeMap::new();
        for input in model.nodes().iter().flat_map(|node| &node.input) {
            *users.entry(input).or_default() += 1;
        }
        let bounded: BTreeSet<&str> = model
            .nodes()
            .iter()
            .filter(|node| matches!(Kind::of(node), Some(Kind::Convolution | Kind::Other)))
            .map(result)
            .filter(|result| users.get(result) == Some(&1))
            .collect();
        let relus = model.nodes().iter().filter(|node| node.op_type == "Relu");
        let settled: BTreeMap<_, _> = relus
            .filter_map(|relu| Some((relu.input.first()?.as_str(), result(relu))))
            .filter(|(input, _)| bounded.contains(input))
            .collect();
        Self { model, absorbed: settled.values().copied().collect(), settled }
    }

    /// Where the node's result is once a ReLU after it is a part of it.
    fn settled(&self, node: &'a NodeProto) -> &'a str {
        self.settled.get(result(node)).copied().unwrap_or_else(|| result(node))
    }

    /// The tensors that need a range, the model's inputs first.
    fn tensors(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let nodes = self.model.nodes().iter().filter_map(|node| Some((node, Kind::of(node)?)));
        let needed = nodes.flat_map(|(node, kind)| {
            let results = (kind != Kind::Selection).then(|| self.settled(node));
            kind.activations(node).iter().map(String::as_str).chain(results)
        });
        // A selection's result has its input's range.
        let selected = self.model.nodes().iter().filter(|node| Kind::of(node) == Some(Kind::Selection)).map(result);
        let selected: BTreeSet<_> = selected.collect();
        let mut tensors: Vec<&str> =
            needed.filter(|tensor| !selected.contains(tensor) && seen.insert(*tensor)).collect();
        tensors.sort_by_key(|tensor| !self.model.inputs().any(|input| input == *tensor));
        tensors.into_iter().map(str::to_owned).collect()
    }
}

/// The numbers that the 256 steps of a tensor stand for: `scale * (step - zero)`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Steps {
    scale: f32,
    zero: u8,
}

impl Steps {
    /// Steps from the least to the greatest value, or 0 where it lies beyond, so that 0 is a step.
    fn over([least, greatest]: [f32; 2]) -> Self {
        let (least, greatest) = (f64::from(least.min(0.0)), f64::from(greatest.max(0.0)));
        let scale = ((greatest - least) / 255.0) as f32;
        if scale <= f32::MIN_POSITIVE {
            return Self { scale: 1.0, zero: 0 };
        }
        Self { scale, zero: (-least / f64::from(scale)).round_ties_even() as u8 }
    }
}

struct Quantizer<'a> {
    source: &'a Model,
    result: Model,
    ranges: &'a Ranges,
    /// Of each tensor that was written in integers.
    steps: BTreeMap<String, Steps>,
    /// Under which name the floats of a tensor that was written in integers are.
    floats: BTreeMap<String, String>,
}

impl Quantizer<'_> {
    /// Writes an operator that computes in integers, and its result as `settled`.
    fn integers(&mut self, node: &NodeProto, kind: Kind, settled: &str) -> Result<(), ConvertError> {
        let mut written = node.clone();
        let mut first = None;
        for (input, slot) in kind.activations(node).iter().zip(&mut written.input) {
            if !self.steps.contains_key(input) {
                // The model's input, or the result of an operator that computes in floats.
                self.round(input, input, Steps::over(self.ranges.of(input)?));
            }
            first.get_or_insert(self.steps[input]);
            slot.clone_from(&self.floats[input]);
        }
        let Some(first) = first else {
            return Err(ConvertError::unsupported(&node.name, "takes nothing that is computed"));
        };
        let steps = match kind {
            Kind::Selection => first,
            Kind::Other => Steps::over(self.ranges.of(settled)?),
            Kind::Convolution => {
                let [_, weights, bias] = &node.input[..] else {
                    return Err(ConvertError::unsupported(&node.name, "a convolution has weights and a bias"));
                };
                let scales = self.weights(weights, bias, first.scale)?;
                self.bias(bias, first.scale, &scales)?;
                written.input[1..].clone_from_slice(&[dequantized(weights), dequantized(bias)]);
                Steps::over(self.ranges.of(settled)?)
            }
        };
        self.result.push(written);
        self.round(result(node), settled, steps);
        Ok(())
    }

    /// Writes an operator that computes in floats.
    fn keep(&mut self, node: &NodeProto) {
        let mut written = node.clone();
        for slot in &mut written.input {
            match self.floats.get(slot) {
                Some(floats) => slot.clone_from(floats),
                None => self.result.adopt(self.source, slot),
            }
        }
        self.result.push(written);
    }

    /// Writes the tensor `name` in integers, as the tensor `settled`, and back in floats.
    fn round(&mut self, name: &str, settled: &str, steps: Steps) {
        let [scale, zero] = ["scale", "zero"].map(|part| format!("{settled}/{part}"));
        let (quantized, floats) = (quantized(settled), dequantized(settled));
        self.result.numbers(&scale, &[], &[steps.scale]);
        self.result.numbers(&zero, &[], &[steps.zero]);
        self.result.node("QuantizeLinear", &[name, &scale, &zero], &quantized, []);
        self.result.node("DequantizeLinear", &[&quantized, &scale, &zero], &floats, []);
        self.steps.insert(settled.to_owned(), steps);
        self.floats.insert(settled.to_owned(), floats);
    }

    /// Writes a convolution's weights, f32 [outputs, ...], with a scale for each output. Answers the scales.
    ///
    /// A scale is at least so large that the bias, in steps of `input` times the scale, fits into its 32 bits.
    fn weights(&mut self, name: &str, bias: &str, input: f32) -> Result<Vec<f32>, ConvertError> {
        let (weights, bias) = (self.source.floats(name)?, self.source.floats(bias)?);
        let outputs = bias.values().len();
        if outputs == 0 || weights.shape().first() != Some(&outputs) {
            return Err(ConvertError::unsupported(name, "its first axis is not as long as its bias"));
        }
        let channels = weights.values().chunks(weights.values().len() / outputs);
        let scales: Vec<f32> = channels
            .clone()
            .zip(bias.values())
            .map(|(channel, bias)| {
                let largest = channel.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
                (largest / 127.0).max(bias.abs() / input / BIAS_STEPS).max(f32::MIN_POSITIVE)
            })
            .collect();
        let rounded = channels.zip(&scales).flat_map(|(channel, scale)| {
            channel.iter().map(move |weight| (weight / scale).round_ties_even().clamp(-127.0, 127.0) as i8)
        });
        let rounded: Vec<_> = rounded.collect();
        self.result.numbers(&quantized(name), weights.shape(), &rounded);
        self.dequantize(name, &scales, &vec![0_i8; outputs]);
        Ok(scales)
    }

    /// Writes a convolution's bias in the unit of its sums: the input's steps times the weights'.
    fn bias(&mut self, name: &str, input: f32, scales: &[f32]) -> Result<(), ConvertError> {
        let bias = self.source.floats(name)?;
        let units: Vec<_> = scales.iter().map(|scale| input * scale).collect();
        let rounded = bias.values().iter().zip(&units).map(|(bias, unit)| (bias / unit).round_ties_even() as i32);
        let rounded: Vec<_> = rounded.collect();
        self.result.numbers(&quantized(name), bias.shape(), &rounded);
        self.dequantize(name, &units, &vec![0_i32; units.len()]);
        Ok(())
    }

    /// Writes how a constant in integers becomes floats, with a scale for each place on its first axis.
    fn dequantize<N: super::onnx::Number>(&mut self, name: &str, scales: &[f32], zeros: &[N]) {
        let [scale, zero] = ["scale", "zero"].map(|part| format!("{name}/{part}"));
        self.result.numbers(&scale, &[scales.len()], scales);
        self.result.numbers(&zero, &[zeros.len()], zeros);
        let axis = Attribute::integer("axis", 0);
        self.result.node("DequantizeLinear", &[&quantized(name), &scale, &zero], &dequantized(name), [axis]);
    }
}

/// How far from 0 a bias may be, in steps: far from the ends of 32 bits, and exact in 32-bit floats.
const BIAS_STEPS: f32 = (1 << 24) as f32;

fn quantized(name: &str) -> String {
    format!("{name}/quantized")
}

fn dequantized(name: &str) -> String {
    format!("{name}/dequantized")
}

#[cfg(test)]
mod tests {
    use super::super::onnx::Side;
    use super::super::tensor::Tensor;
    use super::*;

    /// input -> convolution -> ReLU -> maximum -> mean.
    fn model() -> Model {
        let mut model = Model::new("m");
        let image = [Side::Dynamic("batch"), Side::Fixed(1), Side::Fixed(2), Side::Fixed(2)];
        model.input("input", &image);
        model.constant("w", &Tensor::new("w", vec![2, 1, 1, 1], vec![0.5, -2.0]).unwrap());
        model.constant("b", &Tensor::new("b", vec![2], vec![0.25, 1.0]).unwrap());
        model.node("Conv", &["input", "w", "b"], "conv", []);
        model.node("Relu", &["conv"], "relu", []);
        model.node("MaxPool", &["relu"], "max", [Attribute::integers("kernel_shape", &[2, 2])]);
        model.node("GlobalAveragePool", &["max"], "mean", []);
        model.output("mean", &image);
        model
    }

    fn operators(model: &Model) -> Vec<(&str, Vec<&str>)> {
        let nodes = model.nodes().iter();
        nodes.map(|node| (node.op_type.as_str(), node.input.iter().map(String::as_str).collect())).collect()
    }

    #[test]
    fn steps_cover_the_range_and_0() {
        assert_eq!(Steps::over([0.0, 255.0]), Steps { scale: 1.0, zero: 0 });
        assert_eq!(Steps::over([-51.0, 204.0]), Steps { scale: 1.0, zero: 51 });
        assert_eq!(Steps::over([51.0, 510.0]), Steps { scale: 2.0, zero: 0 });
        assert_eq!(Steps::over([-510.0, -51.0]), Steps { scale: 2.0, zero: 255 });
        assert_eq!(Steps::over([0.0, 0.0]), Steps { scale: 1.0, zero: 0 });
    }

    #[test]
    fn an_observed_model_shows_what_needs_a_range() {
        let observed = observe(&model().into_bytes()).unwrap();
        assert_eq!(observed.tensors, ["input", "relu"]);
        assert_ne!(observed.model, model().into_bytes());
        assert!(observe(b"\x08\x08").unwrap_err().to_string().contains("written by"));
    }

    #[test]
    fn operators_stand_between_integers() {
        let ranges = Ranges::parse("input -1 1\nrelu 0 2.55\n").unwrap();
        let quantized = Model::parse(&quantize(&model(), &ranges).unwrap()).unwrap();
        let operators = operators(&quantized);
        let kinds: Vec<_> = operators.iter().map(|(operator, _)| *operator).collect();
        let (q, dq) = ("QuantizeLinear", "DequantizeLinear");
        assert_eq!(kinds, [q, dq, dq, dq, "Conv", q, dq, "MaxPool", q, dq, "GlobalAveragePool"]);
        assert_eq!(operators[4].1, ["input/dequantized", "w/dequantized", "b/dequantized"]);
        assert_eq!(operators[5].1, ["conv", "relu/scale", "relu/zero"], "the ReLU is the end of the range");
        assert_eq!(operators[10].1, ["max/dequantized"], "floats go on with floats");
        let scale = |name: &str| quantized.floats(name).unwrap().values().to_vec();
        assert_eq!(scale("w/scale"), [0.5 / 127.0, 2.0 / 127.0], "one for each output");
        assert_eq!(scale("relu/scale"), [0.01]);
        assert_eq!(scale("max/scale"), [0.01], "a maximum keeps its input's steps");
        assert_eq!(scale("b/scale"), [2.0 / 255.0 * (0.5 / 127.0), 2.0 / 255.0 * (2.0 / 127.0)]);
    }

    #[test]
    fn a_bias_without_weights_still_fits() {
        let mut quantizer = Quantizer {
            source: &model(),
            result: Model::new("m"),
            ranges: &Ranges::default(),
            steps: BTreeMap::new(),
            floats: BTreeMap::new(),
        };
        // The input's steps are so fine that the weights' own scale would take the bias out of its bits.
        let scales = quantizer.weights("w", "b", 1e-9).unwrap();
        assert!(scales[0] > 0.5 / 127.0 && scales[1] > 2.0 / 127.0, "{scales:?}");
        assert!(scales.iter().zip([0.25, 1.0]).all(|(scale, bias)| bias / (scale * 1e-9) <= BIAS_STEPS * 1.001));
    }

    #[test]
    fn a_tensor_without_a_range_is_named() {
        let message = quantize(&model(), &Ranges::parse("input -1 1\n").unwrap()).unwrap_err().to_string();
        assert!(message.contains("relu") && message.contains("cargo xtask calibrate"), "{message}");
    }
}
