//! FaceNet's InceptionResnetV1 from a frozen TensorFlow graph, translated node by node.
//!
//! Source: David Sandberg's implementation of Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and
//! Clustering", 2015, on Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual Connections on
//! Learning", 2016. The graph is for one image in the order height, width, channels; the translation is for any number
//! of images in the order channels, height, width, as ONNX's operators and the analyzer want it. Knows no file format.
//!
//! Constant arithmetic happens here and not for every face: biases, the scale of a residual branch and the batch
//! normalisation of the last layer become part of the layer's weights.

mod layer;

use std::collections::BTreeMap;

use self::layer::{Convolution, Dense, Size, Window};
use super::ConvertError;
use super::onnx::{Attribute, Model, Side};
use super::tensor::Tensor;
use super::tensorflow::{Constant, Graph, Node};

/// Translates `graph` to `input` `[batch, 3, size, size]` -> `embedding` `[batch, dimension]`, L2-normalised.
pub(super) fn embedding(graph: &Graph) -> Result<Model, ConvertError> {
    let result = graph.result()?;
    let mut translation = Translation { model: Model::new("facenet"), values: BTreeMap::new(), result: &result.name };
    for node in graph.nodes() {
        let value = translation.translate(node)?;
        translation.values.insert(node.name.clone(), value);
    }
    match translation.values.remove(&result.name) {
        Some(Value::Rows { columns, .. }) => {
            translation.model.output(EMBEDDING, &[BATCH, Side::Fixed(columns)]);
            Ok(translation.model)
        }
        _ => Err(result.unsupported("the graph's result is no embedding")),
    }
}

const INPUT: &str = "input";
const EMBEDDING: &str = "embedding";
const BATCH: Side = Side::Dynamic("batch");

struct Translation<'a> {
    model: Model,
    /// What each TensorFlow node became.
    values: BTreeMap<String, Value>,
    /// Name of the node whose output is the embedding.
    result: &'a str,
}

/// What a TensorFlow node became. Layers wait until something takes their result, and absorb constants till then.
enum Value {
    Constant(Constant),
    /// A tensor `[batch, channels, height, width]` of the ONNX graph.
    Image {
        name: String,
        size: Size,
    },
    /// A tensor `[batch, columns]` of the ONNX graph.
    Rows {
        name: String,
        columns: usize,
    },
    Convolution(Convolution),
    Dense(Dense),
}

impl Translation<'_> {
    fn translate(&mut self, node: &Node) -> Result<Value, ConvertError> {
        match node.operation.as_str() {
            "Const" => node.constant().map(Value::Constant),
            "Placeholder" => self.placeholder(node),
            "Conv2D" => self.convolution(node),
            "BiasAdd" => self.bias(node),
            "MaxPool" => self.pool(node, "MaxPool"),
            "AvgPool" => self.pool(node, "AveragePool"),
            "Relu" => {
                let [image] = node.expect_inputs()?;
                let (input, size) = self.image(node, image)?;
                self.model.node("Relu", &[&input], &node.name, []);
                Ok(Value::Image { name: node.name.clone(), size })
            }
            "ConcatV2" => self.concatenate(node),
            "Add" => self.add(node),
            "Mul" => self.multiply(node),
            "Reshape" => self.reshape(node),
            "MatMul" => self.dense(node),
            "FusedBatchNorm" => self.normalise(node),
            "Square" => {
                let [rows] = node.expect_inputs()?;
                let (input, columns) = self.rows(node, rows)?;
                Ok(self.write_rows("Mul", &[&input, &input], node, columns))
            }
            "Sum" => self.sum(node),
            "Maximum" => self.maximum(node),
            "Rsqrt" => {
                let [rows] = node.expect_inputs()?;
                let (input, columns) = self.rows(node, rows)?;
                let root = format!("{}/root", node.name);
                self.model.node("Sqrt", &[&input], &root, []);
                Ok(self.write_rows("Reciprocal", &[&root], node, columns))
            }
            _ => Err(node.unsupported("the translation has no such operation")),
        }
    }

    fn placeholder(&mut self, node: &Node) -> Result<Value, ConvertError> {
        let shape = node.shape()?;
        let size = match shape[..] {
            [_, height, width, 3] if height > 0 && width > 0 => {
                Size { channels: 3, height: height as usize, width: width as usize }
            }
            _ => return Err(node.unsupported(format!("{shape:?} is no image of three channels and known size"))),
        };
        self.model.input(INPUT, &[BATCH, Side::Fixed(3), Side::Fixed(size.height), Side::Fixed(size.width)]);
        Ok(Value::Image { name: INPUT.to_owned(), size })
    }

    fn convolution(&mut self, node: &Node) -> Result<Value, ConvertError> {
        let [image, weights] = node.expect_inputs()?;
        let (input, size) = self.image(node, image)?;
        // TensorFlow: height, width, inputs, outputs.
        let weights = self.floats(node, weights)?.permuted(weights, [3, 2, 0, 1])?;
        let &[channels, inputs, height, width] = weights.shape() else {
            return Err(node.unsupported("a convolution's weights have four axes"));
        };
        if inputs != size.channels {
            return Err(node.unsupported(format!("takes {inputs} channels, but its input has {}", size.channels)));
        }
        if node.spatial("dilations")? != [1, 1] {
            return Err(node.unsupported("dilated convolutions are not translated"));
        }
        let (window, [height, width]) = Window::of(node, size, [height, width])?;
        let size = Size { channels, height, width };
        Ok(Value::Convolution(Convolution::new(input, weights, window, size)))
    }

    fn bias(&mut self, node: &Node) -> Result<Value, ConvertError> {
        let [layer, bias] = node.expect_inputs()?;
        let bias = self.floats(node, bias)?;
        match self.waiting_convolution(layer) {
            Some(mut layer) if bias.shape() == [layer.size.channels] => {
                layer.add(&bias);
                Ok(Value::Convolution(layer))
            }
            _ => Err(node.unsupported("a bias is only translated when it follows its convolution alone")),
        }
    }

    fn pool(&mut self, node: &Node, operator: &str) -> Result<Value, ConvertError> {
        let [image] = node.expect_inputs()?;
        let (input, size) = self.image(node, image)?;
        let (window, [height, width]) = Window::of(node, size, node.spatial("ksize")?)?;
        self.model.node(operator, &[&input], &node.name, window.attributes());
        Ok(Value::Image { name: node.name.clone(), size: Size { channels: size.channels, height, width } })
    }

    fn concatenate(&mut self, node: &Node) -> Result<Value, ConvertError> {
        let Some((axis, images)) = node.inputs.split_last() else {
            return Err(node.unsupported("has no inputs"));
        };
        if self.integers(node, axis)? != [3] {
            return Err(node.unsupported("only channels can be concatenated"));
        }
        let images = images.iter().map(|image| self.image(node, image)).collect::<Result<Vec<_>, _>>()?;
        let Some(&(_, Size { height, width, .. })) = images.first() else {
            return Err(node.unsupported("has no inputs"));
        };
        if images.iter().any(|(_, size)| (size.height, size.width) != (height, width)) {
            return Err(node.unsupported("its inputs differ in size"));
        }
        let channels = images.iter().map(|(_, size)| size.channels).sum();
        let names: Vec<_> = images.iter().map(|(name, _)| name.as_str()).collect();
        self.model.node("Concat", &names, &node.name, [Attribute::integer("axis", 1)]);
        Ok(Value::Image { name: node.name.clone(), size: Size { channels, height, width } })
    }

    fn add(&mut self, node: &Node) -> Result<Value, ConvertError> {
        let [left, right] = node.expect_inputs()?;
        let ((left, size), (right, other)) = (self.image(node, left)?, self.image(node, right)?);
        if size != other {
            return Err(node.unsupported("its inputs differ in size"));
        }
        self.model.node("Add", &[&left, &right], &node.name, []);
        Ok(Value::Image { name: node.name.clone(), size })
    }

    /// Either the scale of a residual branch, which becomes part of the convolution before it, or a product of rows.
    fn multiply(&mut self, node: &Node) -> Result<Value, ConvertError> {
        let [left, right] = node.expect_inputs()?;
        if let Some(Value::Constant(Constant::Floats(scale))) = self.values.get(left) {
            let &[scale] = scale.values() else {
                return Err(node.unsupported("only a single number can scale a branch"));
            };
            let Some(mut layer) = self.waiting_convolution(right) else {
                return Err(node.unsupported("a scale is only translated when it follows a convolution alone"));
            };
            layer.scale(scale);
            return Ok(Value::Convolution(layer));
        }
        let ((left, columns), (right, _)) = (self.rows(node, left)?, self.rows(node, right)?);
        Ok(self.write_rows("Mul", &[&left, &right], node, columns))
    }

    /// Between an image of one pixel and rows nothing moves, so only such reshaping is translated.
    fn reshape(&mut self, node: &Node) -> Result<Value, ConvertError> {
        let [value, shape] = node.expect_inputs()?;
        let shape = self.integers(node, shape)?;
        if let Some(layer) = self.waiting_dense(value) {
            let columns = layer.outputs();
            let [ahead @ .., last] = &shape[..] else {
                return Err(node.unsupported("an empty shape"));
            };
            if usize::try_from(*last) != Ok(columns) || ahead.iter().any(|side| !matches!(side, -1 | 1)) {
                return Err(node.unsupported(format!("rows of {columns} can not become {shape:?}")));
            }
            return Ok(Value::Dense(layer));
        }
        let (input, size) = self.image(node, value)?;
        if shape != [1, -1] || (size.height, size.width) != (1, 1) {
            return Err(node.unsupported(format!("an image can not become {shape:?}")));
        }
        self.model.node("Flatten", &[&input], &node.name, [Attribute::integer("axis", 1)]);
        Ok(Value::Rows { name: node.name.clone(), columns: size.channels })
    }

    fn dense(&mut self, node: &Node) -> Result<Value, ConvertError> {
        let [rows, weights] = node.expect_inputs()?;
        let (input, columns) = self.rows(node, rows)?;
        let weights = self.floats(node, weights)?;
        if node.flag("transpose_a")? || node.flag("transpose_b")? {
            return Err(node.unsupported("only a plain product is translated"));
        }
        match *weights.shape() {
            [inputs, outputs] if inputs == columns => Ok(Value::Dense(Dense::new(input, weights, outputs))),
            _ => Err(node.unsupported(format!("{:?} are no weights for {columns} columns", weights.shape()))),
        }
    }

    /// Absorbed by the dense layer before it.
    fn normalise(&mut self, node: &Node) -> Result<Value, ConvertError> {
        let [layer, gamma, beta, mean, variance] = node.expect_inputs()?;
        if node.flag("is_training")? {
            return Err(node.unsupported("the graph is meant for training"));
        }
        let epsilon = node.float("epsilon")?;
        let (gamma, beta) = (self.floats(node, gamma)?, self.floats(node, beta)?);
        let (mean, variance) = (self.floats(node, mean)?, self.floats(node, variance)?);
        let Some(mut layer) = self.waiting_dense(layer) else {
            return Err(node.unsupported("a normalisation is only translated when it follows a dense layer alone"));
        };
        if [&gamma, &beta, &mean, &variance].iter().any(|parameter| parameter.shape() != [layer.outputs()]) {
            return Err(node.unsupported(format!("its parameters are not {} values each", layer.outputs())));
        }
        layer.normalise([&gamma, &beta, &mean, &variance], epsilon);
        Ok(Value::Dense(layer))
    }

    fn sum(&mut self, node: &Node) -> Result<Value, ConvertError> {
        let [rows, axis] = node.expect_inputs()?;
        if self.integers(node, axis)? != [1] || !node.flag("keep_dims")? {
            return Err(node.unsupported("only rows are summed"));
        }
        let (input, _) = self.rows(node, rows)?;
        let axes = format!("{}/axes", node.name);
        self.model.integers(&axes, &[1]);
        Ok(self.write_rows("ReduceSum", &[&input, &axes], node, 1))
    }

    fn maximum(&mut self, node: &Node) -> Result<Value, ConvertError> {
        let [rows, floor] = node.expect_inputs()?;
        let constant = self.floats(node, floor)?;
        if constant.values().len() != 1 {
            return Err(node.unsupported("only a single number can be the floor"));
        }
        let (input, columns) = self.rows(node, rows)?;
        self.model.constant(floor, &constant);
        Ok(self.write_rows("Max", &[&input, floor], node, columns))
    }
}

/// What the translations above share.
impl Translation<'_> {
    /// Name and size of the image that `name` became; a waiting convolution is written now.
    fn image(&mut self, node: &Node, name: &str) -> Result<(String, Size), ConvertError> {
        if let Some(layer) = self.waiting_convolution(name) {
            let size = layer.write(&mut self.model, name)?;
            self.values.insert(name.to_owned(), Value::Image { name: name.to_owned(), size });
        }
        match self.values.get(name) {
            Some(Value::Image { name, size }) => Ok((name.clone(), *size)),
            _ => Err(node.unsupported(format!("its input {name} is no image"))),
        }
    }

    /// Name and columns of the rows that `name` became; a waiting dense layer is written now.
    fn rows(&mut self, node: &Node, name: &str) -> Result<(String, usize), ConvertError> {
        if let Some(layer) = self.waiting_dense(name) {
            let columns = layer.write(&mut self.model, name)?;
            self.values.insert(name.to_owned(), Value::Rows { name: name.to_owned(), columns });
        }
        match self.values.get(name) {
            Some(Value::Rows { name, columns }) => Ok((name.clone(), *columns)),
            _ => Err(node.unsupported(format!("its input {name} is no matrix"))),
        }
    }

    /// Takes the convolution out of the values if it is not written yet; nothing else can use it then.
    fn waiting_convolution(&mut self, name: &str) -> Option<Convolution> {
        match self.values.remove(name)? {
            Value::Convolution(layer) => Some(layer),
            other => {
                self.values.insert(name.to_owned(), other);
                None
            }
        }
    }

    /// Takes the dense layer out of the values if it is not written yet; nothing else can use it then.
    fn waiting_dense(&mut self, name: &str) -> Option<Dense> {
        match self.values.remove(name)? {
            Value::Dense(layer) => Some(layer),
            other => {
                self.values.insert(name.to_owned(), other);
                None
            }
        }
    }

    /// A constant of floats, for its only user.
    fn floats(&mut self, node: &Node, name: &str) -> Result<Tensor, ConvertError> {
        match self.values.remove(name) {
            Some(Value::Constant(Constant::Floats(tensor))) => Ok(tensor),
            _ => Err(node.unsupported(format!("its input {name} is no constant of its own"))),
        }
    }

    fn integers(&self, node: &Node, name: &str) -> Result<Vec<i64>, ConvertError> {
        match self.values.get(name) {
            Some(Value::Constant(Constant::Integers(values))) => Ok(values.clone()),
            _ => Err(node.unsupported(format!("its input {name} is no constant of integers"))),
        }
    }

    /// Writes a node whose output is `[batch, columns]`.
    fn write_rows(&mut self, operator: &str, inputs: &[&str], node: &Node, columns: usize) -> Value {
        let name = if node.name == self.result { EMBEDDING } else { &node.name };
        self.model.node(operator, inputs, name, []);
        Value::Rows { name: name.to_owned(), columns }
    }
}
