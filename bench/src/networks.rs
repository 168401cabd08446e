//! The four networks run by ONNX Runtime alone, in this process, as the host runs its own.
//!
//! Owns their sessions, and what each was given when it was last listened to. Must never know wasm or the host.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Instant;

use anyhow::{Context, Result};
use face::mtcnn::{self, Output, Proposal, Refinement};
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::TensorRef;
use serde_json::Value;
use sha2::{Digest, Sha256};
use visavis_tests::photos;

use crate::sample::milliseconds;

/// A process may have one.
static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();

/// The networks, in the order in which a photograph meets them.
pub(crate) const NETWORKS: [&str; 4] = ["P-Net", "R-Net", "O-Net", "FaceNet"];

/// What a network was given: its number, the tensor's shape, its values.
pub(crate) type Given = (usize, [usize; 4], Vec<f32>);

/// One session of each network, each on one thread.
pub(crate) struct Networks {
    sessions: [Session; 4],
    /// Time in each network since the last [`Networks::take_times`], milliseconds.
    times: [f64; 4],
    /// What they were given, while that is kept.
    given: Option<Vec<Given>>,
}

impl Networks {
    /// Loads the library, and the models that a result names: those, and no others, ran in the host.
    pub(crate) fn load(models: &Value) -> Result<Self> {
        let files = files(models)?;
        let environment = match ENVIRONMENT.get() {
            Some(environment) => environment,
            None => {
                let library = ort::init_from(photos::assets().join("lib/libonnxruntime.so"))?;
                let environment = library.with_telemetry(false).build()?;
                ENVIRONMENT.get_or_init(|| environment)
            }
        };
        let session = |file: &PathBuf| builder(environment)?.commit_from_file(file);
        let [proposal, refinement, output, embedding] = files.each_ref().map(session);
        Ok(Self { sessions: [proposal?, refinement?, output?, embedding?], times: [0.0; 4], given: None })
    }

    /// Keeps from now on what the networks are given.
    pub(crate) fn listen(&mut self) {
        self.given = Some(Vec::new());
    }

    /// What they were given since.
    pub(crate) fn heard(&mut self) -> Vec<Given> {
        self.given.take().unwrap_or_default()
    }

    /// Runs all of it again, and nothing else.
    pub(crate) fn repeat(&mut self, given: &[Given]) -> Result<()> {
        for (network, shape, values) in given {
            self.run(*network, *shape, values)?;
        }
        Ok(())
    }

    /// The times in each network since this was last asked, milliseconds.
    pub(crate) fn take_times(&mut self) -> [f64; 4] {
        std::mem::take(&mut self.times)
    }

    /// Embeds one crop, f32 [1, 3, 160, 160].
    pub(crate) fn embed(&mut self, planes: &[f32]) -> Result<Vec<f32>> {
        let mut vector = self.run(3, [1, 3, 160, 160], planes)?.pop().context("FaceNet has an output")?.1;
        face::embedding::normalize(&mut vector)?;
        Ok(vector)
    }

    /// Runs one network; yields its outputs, shape and values, in the model's order.
    fn run(&mut self, network: usize, shape: [usize; 4], planes: &[f32]) -> Result<Vec<(Vec<usize>, Vec<f32>)>> {
        let begin = Instant::now();
        let input = TensorRef::from_array_view((shape, planes))?;
        let outputs = self.sessions[network].run(ort::inputs![input])?;
        let mut tensors = Vec::with_capacity(outputs.len());
        for (_, output) in &outputs {
            let (shape, values) = output.try_extract_tensor::<f32>()?;
            tensors.push((shape.iter().map(|&side| side as usize).collect(), values.to_vec()));
        }
        drop(outputs);
        self.times[network] += milliseconds(begin.elapsed());
        if let Some(given) = &mut self.given {
            given.push((network, shape, planes.to_vec()));
        }
        Ok(tensors)
    }
}

/// How sessions run: as in the host.
fn builder(environment: &Environment) -> ort::Result<SessionBuilder> {
    Ok(Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_parallel_execution(false)?
        .with_inter_threads(1)?
        .with_intra_threads(1)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_memory_pattern(false)?)
}

/// The files of the models that a result names, by their digests.
fn files(models: &Value) -> Result<[PathBuf; 4]> {
    let named = models.as_array().context("a result names its models")?;
    let mut found = Vec::new();
    let folder = photos::assets().join("models");
    for entry in fs::read_dir(&folder).with_context(|| format!("can not read {}", folder.display()))? {
        let path = entry?.path();
        found.push((hex::encode(Sha256::digest(fs::read(&path)?)), path));
    }
    let files = named.iter().map(|model| {
        let path = found.iter().find(|(digest, _)| model["digest"] == **digest).map(|(_, path)| path.clone());
        path.with_context(|| format!("{} has not the model {model}", folder.display()))
    });
    exactly(files.collect::<Result<Vec<_>>>()?)
}

impl mtcnn::Networks for Networks {
    type Error = anyhow::Error;

    fn proposal(&mut self, planes: &[f32], height: usize, width: usize) -> Result<Proposal> {
        let [(shape, probability), (_, regression)] = exactly(self.run(0, [1, 3, height, width], planes)?)?;
        Ok(Proposal { height: shape[2], width: shape[3], probability, regression })
    }

    fn refinement(&mut self, planes: &[f32], count: usize) -> Result<Refinement> {
        let [(_, probability), (_, regression)] = exactly(self.run(1, [count, 3, 24, 24], planes)?)?;
        Ok(Refinement { probability, regression })
    }

    fn output(&mut self, planes: &[f32], count: usize) -> Result<Output> {
        let [(_, probability), (_, regression), (_, landmarks)] = exactly(self.run(2, [count, 3, 48, 48], planes)?)?;
        Ok(Output { probability, regression, landmarks })
    }
}

fn exactly<T, const N: usize>(tensors: Vec<T>) -> Result<[T; N]> {
    tensors.try_into().ok().with_context(|| format!("there are not {N}"))
}
