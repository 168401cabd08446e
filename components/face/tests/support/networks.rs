//! The real networks, run natively by ONNX Runtime, for the tests.

use std::sync::OnceLock;

use face::mtcnn::{Networks, Output, Proposal, Refinement};
use ort::environment::Environment;
use ort::session::Session;
use ort::value::TensorRef;

use super::asset;

/// A process may have one.
static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();

pub(crate) fn environment() -> &'static Environment {
    ENVIRONMENT.get_or_init(|| {
        let library = ort::init_from(asset("lib/libonnxruntime.so")).expect("ONNX Runtime's library");
        library.build().expect("ONNX Runtime's environment")
    })
}

/// The cascade and the embedder, each on one thread.
pub(crate) struct Native {
    proposal: Session,
    refinement: Session,
    output: Session,
    embedding: Session,
}

/// The product's two embedders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Embedder {
    Float32,
    Int8,
}

impl Native {
    pub(crate) fn load() -> Self {
        Self::with(Embedder::Float32)
    }

    pub(crate) fn with(embedder: Embedder) -> Self {
        let session = |file: &str| {
            Session::builder(environment())
                .and_then(|builder| Ok(builder.with_intra_threads(1)?))
                .and_then(|mut builder| builder.commit_from_file(asset(&format!("models/{file}"))))
                .unwrap_or_else(|error| panic!("{file}: {error}"))
        };
        Self {
            proposal: session("mtcnn-proposal.onnx"),
            refinement: session("mtcnn-refinement.onnx"),
            output: session("mtcnn-output.onnx"),
            embedding: session(match embedder {
                Embedder::Float32 => "facenet-casia-webface.onnx",
                Embedder::Int8 => "facenet-casia-webface-int8.onnx",
            }),
        }
    }

    /// Embeds crops, f32 [count, 3, 160, 160]; each vector is of length 1.
    pub(crate) fn embed(&mut self, planes: &[f32], count: usize) -> Vec<Vec<f32>> {
        let [(_, values)] = run(&mut self.embedding, [count, 3, 160, 160], planes, ["embedding"]).unwrap();
        let mut vectors: Vec<Vec<f32>> = values.chunks(512).map(<[f32]>::to_vec).collect();
        for vector in &mut vectors {
            face::embedding::normalize(vector).expect("a direction");
        }
        vectors
    }
}

impl Networks for Native {
    type Error = ort::Error;

    fn proposal(&mut self, planes: &[f32], height: usize, width: usize) -> Result<Proposal, ort::Error> {
        let [(shape, probability), (_, regression)] =
            run(&mut self.proposal, [1, 3, height, width], planes, ["probability", "regression"])?;
        Ok(Proposal { height: shape[2], width: shape[3], probability, regression })
    }

    fn refinement(&mut self, planes: &[f32], count: usize) -> Result<Refinement, ort::Error> {
        let [(_, probability), (_, regression)] =
            run(&mut self.refinement, [count, 3, 24, 24], planes, ["probability", "regression"])?;
        Ok(Refinement { probability, regression })
    }

    fn output(&mut self, planes: &[f32], count: usize) -> Result<Output, ort::Error> {
        let [(_, probability), (_, regression), (_, landmarks)] =
            run(&mut self.output, [count, 3, 48, 48], planes, ["probability", "regression", "landmarks"])?;
        Ok(Output { probability, regression, landmarks })
    }
}

type Tensor = (Vec<usize>, Vec<f32>);

fn run<const N: usize>(
    session: &mut Session,
    shape: [usize; 4],
    planes: &[f32],
    names: [&str; N],
) -> Result<[Tensor; N], ort::Error> {
    let input = TensorRef::from_array_view((shape, planes))?;
    let outputs = session.run(ort::inputs!["input" => input])?;
    let mut tensors = Vec::with_capacity(N);
    for name in names {
        let (shape, values) = outputs[name].try_extract_tensor::<f32>()?;
        tensors.push((shape.iter().map(|&side| side as usize).collect(), values.to_vec()));
    }
    Ok(tensors.try_into().expect("as many tensors as names"))
}
