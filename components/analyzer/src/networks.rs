//! The detector's three graphs and the embedder's, as the crate `face` wants them.
//!
//! Owns the names and layouts of their tensors, which `wit/analyze.wit` promises. Must never know how a graph is run.

use face::embedding;
use face::mtcnn::{Networks, Output, Proposal, Refinement};

use crate::bindings::exports::visavis::face::analyze;
use crate::graph::{Graph, GraphError};

/// The most faces whose embeddings are computed at a time.
pub(crate) const MAX_EMBED_BATCH: usize = 32;

/// The detector's graphs.
pub(crate) struct Cascade {
    proposal: Graph,
    refinement: Graph,
    output: Graph,
}

impl Cascade {
    pub(crate) fn load(detector: &analyze::Detector) -> Result<Self, GraphError> {
        Ok(Self {
            proposal: Graph::load(&detector.proposal)?,
            refinement: Graph::load(&detector.refinement)?,
            output: Graph::load(&detector.output)?,
        })
    }
}

impl Networks for Cascade {
    type Error = GraphError;

    fn proposal(&mut self, planes: &[f32], height: usize, width: usize) -> Result<Proposal, GraphError> {
        let outputs: [(&str, &[usize]); 2] = [("probability", &[1, 2, 0, 0]), ("regression", &[1, 4, 0, 0])];
        let [probability, regression] = self.proposal.compute("input", [1, 3, height, width], planes, outputs)?;
        // `face` checks that the regression covers the same squares.
        let (height, width) = (probability.dimensions[2], probability.dimensions[3]);
        Ok(Proposal { height, width, probability: probability.values, regression: regression.values })
    }

    fn refinement(&mut self, planes: &[f32], count: usize) -> Result<Refinement, GraphError> {
        let outputs: [(&str, &[usize]); 2] = [("probability", &[count, 2]), ("regression", &[count, 4])];
        let [probability, regression] = self.refinement.compute("input", [count, 3, 24, 24], planes, outputs)?;
        Ok(Refinement { probability: probability.values, regression: regression.values })
    }

    fn output(&mut self, planes: &[f32], count: usize) -> Result<Output, GraphError> {
        let outputs: [(&str, &[usize]); 3] =
            [("probability", &[count, 2]), ("regression", &[count, 4]), ("landmarks", &[count, 10])];
        let [probability, regression, landmarks] = self.output.compute("input", [count, 3, 48, 48], planes, outputs)?;
        Ok(Output { probability: probability.values, regression: regression.values, landmarks: landmarks.values })
    }
}

/// The embedder's graph.
pub(crate) struct Embedder<'a> {
    graph: Graph,
    settings: &'a analyze::Embedder,
}

/// Why there is no embedding.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EmbedError {
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(transparent)]
    Vector(#[from] embedding::EmbeddingError),
    #[error("the embedder's dimension is 0")]
    Dimension,
}

impl<'a> Embedder<'a> {
    pub(crate) fn load(settings: &'a analyze::Embedder) -> Result<Self, EmbedError> {
        if settings.dimension == 0 {
            return Err(EmbedError::Dimension);
        }
        Ok(Self { graph: Graph::load(&settings.graph)?, settings })
    }

    /// Embeds `count` crops, f32 [count, 3, size, size]; each vector is of length 1.
    pub(crate) fn embed(&self, planes: &[f32], count: usize) -> Result<Vec<Vec<f32>>, EmbedError> {
        let (size, dimension) = (self.settings.size as usize, self.settings.dimension as usize);
        let outputs: [(&str, &[usize]); 1] = [(&self.settings.output, &[count, dimension])];
        let [answer] = self.graph.compute(&self.settings.input, [count, 3, size, size], planes, outputs)?;
        let mut vectors: Vec<Vec<f32>> = answer.values.chunks_exact(dimension).map(<[f32]>::to_vec).collect();
        for vector in &mut vectors {
            embedding::normalize(vector)?;
        }
        Ok(vectors)
    }
}
