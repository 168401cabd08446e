//! MTCNN's three nets, built around a state dictionary of facenet-pytorch.
//!
//! The state dictionary holds weights and no network, so the order of the layers stands here; every size comes from the
//! weights. Knows no file format.
//!
//! Architecture: Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks",
//! 2016, figure 2. Pooling rounds sizes up, and the dense layers see the image's columns before its rows, because the
//! weights come from Caffe and MATLAB. Tensors in and out are those of `wit/analyze.wit`.
//!
//! # Layout
//!
//! - `channels`: how the channels of a layer are stored, so that ONNX Runtime is fast with them.

mod channels;

use self::channels::Channels;
use super::ConvertError;
use super::onnx::{Attribute, Model, Side};
use super::tensor::Tensor;
use super::torch::StateDictionary;

/// The first net: `input` `[batch, 3, height, width]` to `probability` `[batch, 2, h, w]` and `regression`
/// `[batch, 4, h, w]`.
pub(super) fn proposal(state: &StateDictionary) -> Result<Vec<u8>, ConvertError> {
    let mut net = Net::new("mtcnn-proposal", state, [Side::Dynamic("height"), Side::Dynamic("width")]);
    net.convolution("conv1", "prelu1")?;
    net.max_pool("pool1", 2);
    net.convolution("conv2", "prelu2")?;
    net.convolution("conv3", "prelu3")?;
    let classes = net.probability_head("conv4_1", "probability")?;
    let offsets = net.map_head("conv4_2", "regression")?;
    let map = [Side::Dynamic("map_height"), Side::Dynamic("map_width")];
    net.model.output("probability", &[BATCH, classes, map[0], map[1]]);
    net.model.output("regression", &[BATCH, offsets, map[0], map[1]]);
    Ok(net.model.into_bytes())
}

/// The second net: `input` `[batch, 3, 24, 24]` to `probability` `[batch, 2]` and `regression` `[batch, 4]`.
pub(super) fn refinement(state: &StateDictionary) -> Result<Vec<u8>, ConvertError> {
    let mut net = Net::new("mtcnn-refinement", state, [Side::Fixed(24); 2]);
    net.convolution("conv1", "prelu1")?;
    net.max_pool("pool1", 3);
    net.convolution("conv2", "prelu2")?;
    net.max_pool("pool2", 3);
    net.convolution("conv3", "prelu3")?;
    net.dense("dense4", "prelu4")?;
    let classes = net.dense_head("dense5_1", "logits")?;
    net.softmax("logits", "probability");
    let offsets = net.dense_head("dense5_2", "regression")?;
    net.model.output("probability", &[BATCH, classes]);
    net.model.output("regression", &[BATCH, offsets]);
    Ok(net.model.into_bytes())
}

/// The third net: `input` `[batch, 3, 48, 48]` to `probability` `[batch, 2]`, `regression` `[batch, 4]` and `landmarks`
/// `[batch, 10]` (five x, then five y).
pub(super) fn output(state: &StateDictionary) -> Result<Vec<u8>, ConvertError> {
    let mut net = Net::new("mtcnn-output", state, [Side::Fixed(48); 2]);
    net.convolution("conv1", "prelu1")?;
    net.max_pool("pool1", 3);
    net.convolution("conv2", "prelu2")?;
    net.max_pool("pool2", 3);
    net.convolution("conv3", "prelu3")?;
    net.max_pool("pool3", 2);
    net.convolution("conv4", "prelu4")?;
    net.dense("dense5", "prelu5")?;
    let classes = net.dense_head("dense6_1", "logits")?;
    net.softmax("logits", "probability");
    let offsets = net.dense_head("dense6_2", "regression")?;
    let points = net.dense_head("dense6_3", "landmarks")?;
    net.model.output("probability", &[BATCH, classes]);
    net.model.output("regression", &[BATCH, offsets]);
    net.model.output("landmarks", &[BATCH, points]);
    Ok(net.model.into_bytes())
}

const BATCH: Side = Side::Dynamic("batch");

/// A net under construction: a chain of layers whose last output is `value`.
struct Net<'a> {
    model: Model,
    state: &'a StateDictionary,
    value: String,
    channels: Channels,
}

impl<'a> Net<'a> {
    fn new(name: &str, state: &'a StateDictionary, [height, width]: [Side; 2]) -> Self {
        let colours = 3;
        let mut model = Model::new(name);
        model.input("input", &[BATCH, Side::Fixed(colours), height, width]);
        Self { model, state, value: "input".to_owned(), channels: Channels::plain(colours) }
    }

    /// A convolution without padding, and its PReLU with one slope per channel.
    fn convolution(&mut self, layer: &str, activation: &str) -> Result<(), ConvertError> {
        let (weight, bias) = (format!("{layer}.weight"), format!("{layer}.bias"));
        let slope = format!("{activation}.weight");
        let channels = Channels::after(self.state.tensor(&slope)?.values());
        let kernels = self.channels.taken(&weight, self.state.tensor(&weight)?)?;
        let (kernels, biases) = (channels.made(&slope, &kernels)?, channels.made(&slope, self.state.tensor(&bias)?)?);
        self.bare_convolution(layer, layer, &kernels, &biases)?;
        let slopes = channels.slopes();
        let slopes = Tensor::new(&slope, vec![slopes.len(), 1, 1], slopes)?;
        self.channels = channels;
        self.prelu(activation, layer, &slopes);
        Ok(())
    }

    /// Halves the image with windows of `side` pixels; the last window may hang over the edge.
    fn max_pool(&mut self, layer: &str, side: usize) {
        let window = [
            Attribute::integer("ceil_mode", 1),
            Attribute::integers("kernel_shape", &[side, side]),
            Attribute::integers("strides", &[2, 2]),
        ];
        self.model.node("MaxPool", &[&self.value], layer, window);
        self.value = layer.to_owned();
    }

    /// The first dense layer, which flattens the image, and its PReLU.
    ///
    /// The weights expect columns, rows, channels; reordering them once spares the net a transposition per face.
    fn dense(&mut self, layer: &str, activation: &str) -> Result<(), ConvertError> {
        let name = format!("{layer}.weight");
        let weight = self.state.tensor(&name)?;
        let &[outputs, inputs] = weight.shape() else {
            return Err(ConvertError::unsupported(name, "a dense layer's weight has two axes"));
        };
        // The image is square, as the net's input is; `reshaped` refuses sizes that do not agree.
        let channels = self.channels.count();
        let side = (inputs / channels).isqrt();
        let ordered =
            weight.clone().reshaped(&name, vec![outputs, side, side, channels])?.permuted(&name, [0, 3, 2, 1])?;
        let ordered = self.channels.taken(&name, &ordered)?;
        let inputs = ordered.shape().iter().skip(1).product();
        let ordered = ordered.reshaped(&name, vec![outputs, inputs])?;
        self.model.node("Flatten", &[&self.value], "flat", [Attribute::integer("axis", 1)]);
        self.value = "flat".to_owned();
        self.gemm(layer, layer, &ordered)?;
        let name = format!("{activation}.weight");
        let slopes = self.state.tensor(&name)?.clone().reshaped(&name, vec![outputs])?;
        if slopes.values().iter().any(|slope| *slope > 1.0) {
            return Err(ConvertError::unsupported(name, "slopes above 1 can be had after convolutions alone"));
        }
        self.prelu(activation, layer, &slopes);
        Ok(())
    }

    /// A 1x1 convolution of the image to `output`. Answers its channels.
    fn map_head(&mut self, layer: &str, output: &str) -> Result<Side, ConvertError> {
        let (weight, bias) = (format!("{layer}.weight"), format!("{layer}.bias"));
        let kernels = self.channels.taken(&weight, self.state.tensor(&weight)?)?;
        self.bare_convolution(layer, output, &kernels, self.state.tensor(&bias)?).map(Side::Fixed)
    }

    /// The same for two classes that exclude each other: their probabilities, as `output`.
    ///
    /// The softmax of two numbers is the sigmoid of what each exceeds the other by, which takes a tenth of the time on a map.
    fn probability_head(&mut self, layer: &str, output: &str) -> Result<Side, ConvertError> {
        let (weight, bias) = (format!("{layer}.weight"), format!("{layer}.bias"));
        let kernels = differences(&self.channels.taken(&weight, self.state.tensor(&weight)?)?);
        let difference = format!("{output}.difference");
        let classes = self.bare_convolution(layer, &difference, &kernels, &differences(self.state.tensor(&bias)?))?;
        self.model.node("Sigmoid", &[&difference], output, []);
        Ok(Side::Fixed(classes))
    }

    /// A dense layer to `output`. Answers its length.
    fn dense_head(&mut self, layer: &str, output: &str) -> Result<Side, ConvertError> {
        let weight = self.state.tensor(&format!("{layer}.weight"))?;
        self.gemm(layer, output, weight).map(Side::Fixed)
    }

    /// The probabilities of no face and of a face.
    fn softmax(&mut self, logits: &str, output: &str) {
        self.model.node("Softmax", &[logits], output, [Attribute::integer("axis", 1)]);
    }

    /// Writes the convolution `layer` of the current value as `output`. Answers its channels.
    fn bare_convolution(
        &mut self,
        layer: &str,
        output: &str,
        kernels: &Tensor,
        biases: &Tensor,
    ) -> Result<usize, ConvertError> {
        let (weight, bias) = (format!("{layer}.weight"), format!("{layer}.bias"));
        let &[channels, _, height, width] = kernels.shape() else {
            return Err(ConvertError::unsupported(weight, "a convolution's weight has four axes"));
        };
        self.model.constant(&weight, kernels);
        self.model.constant(&bias, biases);
        let kernel = [Attribute::integers("kernel_shape", &[height, width])];
        self.model.node("Conv", &[&self.value, &weight, &bias], output, kernel);
        Ok(channels)
    }

    /// Writes the dense layer `layer` of the current value, with `weights` `[outputs, inputs]`. Answers its outputs.
    fn gemm(&mut self, layer: &str, output: &str, weights: &Tensor) -> Result<usize, ConvertError> {
        let (weight, bias) = (format!("{layer}.weight"), format!("{layer}.bias"));
        let &[outputs, _] = weights.shape() else {
            return Err(ConvertError::unsupported(weight, "a dense layer's weight has two axes"));
        };
        self.model.constant(&weight, weights);
        self.model.constant(&bias, self.state.tensor(&bias)?);
        let transposed = [Attribute::integer("transB", 1)];
        self.model.node("Gemm", &[&self.value, &weight, &bias], output, transposed);
        Ok(outputs)
    }

    /// PReLU of `input` with one slope per channel, none above 1: `x` where it is positive, else `slope * x`.
    ///
    /// Written as `slope * x + relu((1 - slope) * x)`, which is the same but for a rounding: ONNX Runtime makes two steps of it, of
    /// its own PRelu three with copies in between.
    fn prelu(&mut self, layer: &str, input: &str, slopes: &Tensor) {
        let [slope, rest, scaled, raised, kept] =
            ["weight", "rest", "scaled", "raised", "kept"].map(|part| format!("{layer}.{part}"));
        let mut complements = slopes.clone();
        complements.values_mut().iter_mut().for_each(|slope| *slope = 1.0 - *slope);
        self.model.constant(&slope, slopes);
        self.model.constant(&rest, &complements);
        self.model.node("Mul", &[input, &slope], &scaled, []);
        self.model.node("Mul", &[input, &rest], &raised, []);
        self.model.node("Relu", &[&raised], &kept, []);
        self.model.node("Add", &[&scaled, &kept], layer, []);
        self.value = layer.to_owned();
    }
}

/// Of two rows, what the first exceeds the second by, and the other way round.
fn differences(rows: &Tensor) -> Tensor {
    let mut differences = rows.clone();
    let half = rows.values().len() / 2;
    let (first, second) = differences.values_mut().split_at_mut(half);
    for (first, second) in first.iter_mut().zip(second) {
        (*first, *second) = (*first - *second, *second - *first);
    }
    differences
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The shapes of the proposal net, with room to break one.
    fn state(change: impl Fn(&mut BTreeMap<&str, Vec<usize>>)) -> StateDictionary {
        let mut shapes = BTreeMap::from([
            ("conv1.weight", vec![10, 3, 3, 3]),
            ("conv1.bias", vec![10]),
            ("prelu1.weight", vec![10]),
            ("conv2.weight", vec![16, 10, 3, 3]),
            ("conv2.bias", vec![16]),
            ("prelu2.weight", vec![16]),
            ("conv3.weight", vec![32, 16, 3, 3]),
            ("conv3.bias", vec![32]),
            ("prelu3.weight", vec![32]),
            ("conv4_1.weight", vec![2, 32, 1, 1]),
            ("conv4_1.bias", vec![2]),
            ("conv4_2.weight", vec![4, 32, 1, 1]),
            ("conv4_2.bias", vec![4]),
        ]);
        change(&mut shapes);
        let tensors = shapes.into_iter().map(|(name, shape)| {
            let cells = shape.iter().product();
            (name.to_owned(), Tensor::new(name, shape, vec![0.5; cells]).unwrap())
        });
        StateDictionary::from_tensors(tensors.collect())
    }

    #[test]
    fn the_same_weights_give_the_same_bytes() {
        let first = proposal(&state(|_| {})).unwrap();
        assert_eq!(first, proposal(&state(|_| {})).unwrap());
    }

    #[test]
    fn weights_that_do_not_fit_are_refused_by_name() {
        let missing = proposal(&state(|it| drop(it.remove("conv3.bias")))).unwrap_err().to_string();
        assert!(missing.contains("conv3.bias"), "{missing}");
        let channels = proposal(&state(|it| drop(it.insert("conv2.weight", vec![16, 9, 3, 3])))).unwrap_err();
        assert!(channels.to_string().contains("takes 9 channels"), "{channels}");
        let slopes = proposal(&state(|it| drop(it.insert("prelu1.weight", vec![1])))).unwrap_err();
        assert!(slopes.to_string().contains("prelu1.weight"), "{slopes}");
    }
}
