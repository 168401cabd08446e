//! Layers that wait for their constants: a convolution or dense layer absorbs the biases, scales and normalisations that
//! follow it, and is written to the ONNX graph when something takes its result. Knows nothing of TensorFlow's graph but
//! the attributes of one node.

use super::super::ConvertError;
use super::super::onnx::{Attribute, Model};
use super::super::tensor::Tensor;
use super::super::tensorflow::Node;

/// Size of an image, without the batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Size {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

/// A convolution that is not written yet.
pub(super) struct Convolution {
    input: String,
    /// `[outputs, inputs, height, width]`.
    weights: Tensor,
    bias: Vec<f32>,
    window: Window,
    /// Of the result.
    pub(super) size: Size,
}

impl Convolution {
    /// `weights` are `[outputs, inputs, height, width]`, `size` is the result's.
    pub(super) fn new(input: String, weights: Tensor, window: Window, size: Size) -> Self {
        Self { input, weights, bias: vec![0.0; size.channels], window, size }
    }

    /// Adds one number to each channel of the result.
    pub(super) fn add(&mut self, bias: &Tensor) {
        self.bias.iter_mut().zip(bias.values()).for_each(|(sum, bias)| *sum += bias);
    }

    /// Multiplies the result by a number.
    pub(super) fn scale(&mut self, scale: f32) {
        self.weights.values_mut().iter_mut().chain(&mut self.bias).for_each(|cell| *cell *= scale);
    }

    /// Writes the layer as `name`. Answers the result's size.
    pub(super) fn write(self, model: &mut Model, name: &str) -> Result<Size, ConvertError> {
        let [weights, bias] = ["weights", "bias"].map(|part| format!("{name}/{part}"));
        model.constant(&weights, &self.weights);
        model.constant(&bias, &Tensor::new(&bias, vec![self.bias.len()], self.bias)?);
        model.node("Conv", &[&self.input, &weights, &bias], name, self.window.attributes());
        Ok(self.size)
    }
}

/// A dense layer that is not written yet.
pub(super) struct Dense {
    input: String,
    /// `[inputs, outputs]`.
    weights: Tensor,
    bias: Vec<f32>,
}

impl Dense {
    /// `weights` are `[inputs, outputs]`.
    pub(super) fn new(input: String, weights: Tensor, outputs: usize) -> Self {
        Self { input, weights, bias: vec![0.0; outputs] }
    }

    pub(super) fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Batch normalisation of the result: `gamma * (x - mean) / sqrt(variance + epsilon) + beta`, one parameter per
    /// output. Computed in double precision, so that only one rounding is added.
    pub(super) fn normalise(&mut self, [gamma, beta, mean, variance]: [&Tensor; 4], epsilon: f32) {
        for column in 0..self.bias.len() {
            let at = |parameter: &Tensor| f64::from(parameter.values()[column]);
            let factor = at(gamma) / (at(variance) + f64::from(epsilon)).sqrt();
            let bias = (f64::from(self.bias[column]) - at(mean)) * factor + at(beta);
            self.bias[column] = bias as f32;
            for row in self.weights.values_mut().chunks_exact_mut(self.bias.len()) {
                row[column] = (f64::from(row[column]) * factor) as f32;
            }
        }
    }

    /// Writes the layer as `name`. Answers the result's columns.
    pub(super) fn write(self, model: &mut Model, name: &str) -> Result<usize, ConvertError> {
        let outputs = self.outputs();
        let [weights, bias] = ["weights", "bias"].map(|part| format!("{name}/{part}"));
        model.constant(&weights, &self.weights);
        model.constant(&bias, &Tensor::new(&bias, vec![outputs], self.bias)?);
        model.node("Gemm", &[&self.input, &weights, &bias], name, []);
        Ok(outputs)
    }
}

/// How a convolution or pooling moves over an image; pairs are height and width.
pub(super) struct Window {
    kernel: [usize; 2],
    strides: [usize; 2],
    /// Top, left, bottom, right.
    pads: [usize; 4],
}

impl Window {
    /// Reads the strides and the padding of `node`, whose input has the size `size`. Answers the window, and height and
    /// width of the result, by the rules of TensorFlow's `VALID` and `SAME`.
    pub(super) fn of(node: &Node, size: Size, kernel: [usize; 2]) -> Result<(Self, [usize; 2]), ConvertError> {
        if node.text("data_format")? != "NHWC" {
            return Err(node.unsupported("its images are not in the order height, width, channels"));
        }
        let strides = node.spatial("strides")?;
        let (mut pads, mut result) = ([0; 4], [0; 2]);
        for (axis, length) in [size.height, size.width].into_iter().enumerate() {
            let (kernel, stride) = (kernel[axis], strides[axis]);
            result[axis] = match node.text("padding")? {
                "VALID" if kernel > 0 && kernel <= length => (length - kernel) / stride + 1,
                "SAME" if kernel > 0 => {
                    let result = length.div_ceil(stride);
                    // An odd pixel of padding goes to the bottom and the right.
                    let pad = ((result - 1) * stride + kernel).saturating_sub(length);
                    (pads[axis], pads[axis + 2]) = (pad / 2, pad.div_ceil(2));
                    result
                }
                padding => {
                    let problem = format!("a window of {kernel} over {length} with `{padding}` padding");
                    return Err(node.unsupported(problem));
                }
            };
        }
        Ok((Self { kernel, strides, pads }, result))
    }

    pub(super) fn attributes(&self) -> [Attribute; 3] {
        [
            Attribute::integers("kernel_shape", &self.kernel),
            Attribute::integers("pads", &self.pads),
            Attribute::integers("strides", &self.strides),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::new("t", shape.to_vec(), values.to_vec()).unwrap()
    }

    #[test]
    fn a_scale_reaches_weights_and_bias() {
        let size = Size { channels: 2, height: 1, width: 1 };
        let window = Window { kernel: [1, 1], strides: [1, 1], pads: [0; 4] };
        let mut layer = Convolution::new("x".into(), tensor(&[2, 1, 1, 1], &[1.0, -3.0]), window, size);
        layer.add(&tensor(&[2], &[0.5, 4.0]));
        layer.scale(0.5);
        assert_eq!((layer.weights.values(), &layer.bias[..]), (&[0.5, -1.5][..], &[0.25, 2.0][..]));
    }

    #[test]
    fn normalising_the_layer_equals_normalising_its_result() {
        let (weights, input) = ([0.5, -1.0, 2.0, 0.25], [3.0_f32, -2.0]);
        let mut layer = Dense::new("x".into(), tensor(&[2, 2], &weights), 2);
        let [gamma, beta, mean, variance] = [[1.0, 2.0], [0.5, -0.5], [0.1, -0.2], [0.25, 4.0]];
        let parameters = [gamma, beta, mean, variance].map(|values| tensor(&[2], &values));
        layer.normalise(parameters.each_ref(), 0.001);
        for column in 0..2 {
            let product = |weights: &[f32]| input[0] * weights[column] + input[1] * weights[2 + column];
            let deviation = (variance[column] + 0.001_f32).sqrt();
            let expected = gamma[column] * (product(&weights) - mean[column]) / deviation + beta[column];
            let found = product(layer.weights.values()) + layer.bias[column];
            assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
        }
    }
}
