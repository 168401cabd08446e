//! MTCNN: a cascade of three networks that finds faces and their landmarks.
//!
//! Owns the image pyramid, the thresholds and everything between the networks. Must never know who runs them: they come
//! in through [`Networks`]. What a network answers is not trusted: shapes are checked, and candidates with numbers that
//! are not finite are dropped.
//!
//! The algorithm is that of Zhang, Zhang, Li and Qiao, "Joint Face Detection and Alignment Using Multitask Cascaded
//! Convolutional Networks" (2016), with the details of the implementation that trained the weights, off-by-one pixels
//! included: changing one moves every box.
//!
//! # Layout
//!
//! - `candidate`: a box on its way through the cascade, and how it is moved, squared and cut.
//! - `suppression`: of overlapping candidates, the best, or the mean.
//! - `views`: from which image a candidate is cut out.

mod candidate;
mod suppression;
mod views;

use std::fmt::Debug;

use face_rules::geometry::{BoundingBox, Landmarks, Point};

use crate::photograph::Photograph;
use crate::resize::{IntegralImage, Normalization};
use candidate::Candidate;
use suppression::{Overlap, suppress, vote};
use views::{Crop, Views};

/// Side of the square that the proposal network judges, pixels.
const CELL: f64 = 12.0;
/// Pixels between two neighbouring judgements of the proposal network.
const STRIDE: f32 = 2.0;
/// Sides of the refinement and output networks' inputs, pixels.
const REFINEMENT_SIDE: usize = 24;
const OUTPUT_SIDE: usize = 48;

/// Bounds on work, whatever a photograph holds: the most probable candidates are kept, of one pyramid level before
/// suppression, ...
const MAX_LEVEL_CANDIDATES: usize = 4096;
/// ... and of all levels before the refinement and output networks. A crowd of hundreds stays below.
const MAX_REFINED: usize = 1024;
const MAX_OUTPUT: usize = 256;
/// How many crops a network is given at a time.
const BATCH: usize = 128;

/// How the cascade is run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How samples become the networks' input.
    pub normalization: Normalization,
    /// The probability that a candidate must exceed after each of the three stages.
    pub thresholds: [f32; 3],
    /// The ratio of one pyramid level to the one before it.
    pub pyramid_factor: f32,
    /// The smallest face to look for, pixels; at least 12, what the proposal network sees at once.
    pub min_face: u32,
}

/// A face that passed all three stages. Pixels of the photograph that was searched.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Where it is; partly outside when it is cut off.
    pub bounding_box: BoundingBox,
    /// The output network's probability that it is a face.
    pub probability: f32,
    /// Its five points.
    pub landmarks: Landmarks,
}

/// What the proposal network answers for one pyramid level.
pub struct Proposal {
    /// Rows of judgements.
    pub height: usize,
    /// Columns of judgements.
    pub width: usize,
    /// f32 [2, height, width]: no face, face.
    pub probability: Vec<f32>,
    /// f32 [4, height, width]: corrections of left, top, right and bottom, in parts of the box's sides.
    pub regression: Vec<f32>,
}

/// What the refinement network answers for a batch of N crops.
pub struct Refinement {
    /// f32 [N, 2]: no face, face.
    pub probability: Vec<f32>,
    /// f32 [N, 4]: corrections of left, top, right and bottom.
    pub regression: Vec<f32>,
}

/// What the output network answers for a batch of N crops.
pub struct Output {
    /// f32 [N, 2]: no face, face.
    pub probability: Vec<f32>,
    /// f32 [N, 4]: corrections of left, top, right and bottom.
    pub regression: Vec<f32>,
    /// f32 [N, 10]: five x, then five y, in parts of the box's sides.
    pub landmarks: Vec<f32>,
}

/// The three networks. Inputs are normalized, planar RGB.
pub trait Networks {
    /// Why a network did not answer.
    type Error;

    /// Judges one pyramid level: f32 [1, 3, height, width].
    fn proposal(&mut self, planes: &[f32], height: usize, width: usize) -> Result<Proposal, Self::Error>;

    /// Judges crops: f32 [count, 3, 24, 24].
    fn refinement(&mut self, planes: &[f32], count: usize) -> Result<Refinement, Self::Error>;

    /// Judges crops and finds landmarks: f32 [count, 3, 48, 48].
    fn output(&mut self, planes: &[f32], count: usize) -> Result<Output, Self::Error>;
}

/// Why faces could not be looked for.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum DetectError<E: Debug> {
    /// A network did not answer.
    #[error("{0:?}")]
    Network(E),
    /// A network answered with another number of values than its input calls for.
    #[error("the {network} network answered {found} values of {tensor}, not {expected}")]
    Shape {
        /// Which network.
        network: &'static str,
        /// Which of its tensors.
        tensor: &'static str,
        /// How many values came.
        found: usize,
        /// How many should have.
        expected: usize,
    },
    /// A setting is out of bounds.
    #[error("the detector's {0}")]
    Settings(&'static str),
}

/// Finds all faces, in no particular order.
///
/// Without a copy this is the paper's cascade to the letter, and of the candidates that overlap the most probable says where a face
/// is. With a copy, which shows the whole of the photograph with no more pixels, faces are proposed there, and what is large enough
/// there is judged there, too; which candidate is the most probable is then a matter of chance, and a face is where all of them say
/// on average. What is searched has no face if its shorter side is under `min_face`.
pub fn detect<N: Networks>(
    photograph: &Photograph,
    copy: Option<&IntegralImage>,
    settings: &Settings,
    networks: &mut N,
) -> Result<Vec<Detection>, DetectError<N::Error>>
where
    N::Error: Debug,
{
    check(settings)?;
    let mut planes = Vec::new();
    let views = Views { photograph, copy };
    let mut candidates = propose(views, settings, networks, &mut planes)?;
    candidates.iter_mut().for_each(|candidate| *candidate = views.enlarge(*candidate));
    let candidates = refine(views, settings, networks, &candidates, &mut planes)?;
    finish(views, settings, networks, &candidates, &mut planes)
}

fn check<E: Debug>(settings: &Settings) -> Result<(), DetectError<E>> {
    let Settings { normalization, thresholds, pyramid_factor, min_face } = settings;
    // Written so that what is not a number fails.
    if !(normalization.mean.is_finite() && normalization.scale.is_normal()) {
        Err(DetectError::Settings("mean and scale must be finite, and the scale not 0"))
    } else if !thresholds.iter().all(|threshold| (0.0..=1.0).contains(threshold)) {
        Err(DetectError::Settings("thresholds must lie in 0 to 1"))
    } else if !(0.1..=0.95).contains(pyramid_factor) {
        Err(DetectError::Settings("pyramid factor must lie in 0.1 to 0.95"))
    } else if f64::from(*min_face) < CELL {
        Err(DetectError::Settings("smallest face must be at least 12 pixels"))
    } else {
        Ok(())
    }
}

/// The first stage: every level of the pyramid is judged in one go, square by square.
fn propose<N: Networks>(
    views: Views<'_>,
    settings: &Settings,
    networks: &mut N,
    planes: &mut Vec<f32>,
) -> Result<Vec<Candidate>, DetectError<N::Error>>
where
    N::Error: Debug,
{
    let mut candidates = Vec::new();
    let searched = views.searched();
    for scale in pyramid(searched, settings) {
        let side = |pixels: usize| (pixels as f64 * scale + 1.0) as usize;
        let (width, height) = (side(searched.0), side(searched.1));
        planes.resize(3 * width * height, 0.0);
        views.whole().write(width, height, settings.normalization, planes);
        let proposal = networks.proposal(planes, height, width).map_err(DetectError::Network)?;
        let cells = proposal.width.saturating_mul(proposal.height);
        count("proposal", "probability", &proposal.probability, cells.saturating_mul(2))?;
        count("proposal", "regression", &proposal.regression, cells.saturating_mul(4))?;

        let mut level = level_candidates(&proposal, scale as f32, settings.thresholds[0]);
        best(&mut level, MAX_LEVEL_CANDIDATES);
        candidates.append(&mut suppress(level, 0.5, Overlap::Union));
    }
    let mut candidates = suppress(candidates, 0.7, Overlap::Union);
    for candidate in &mut candidates {
        candidate.regress(0.0);
        candidate.square();
    }
    best(&mut candidates, MAX_REFINED);
    Ok(candidates)
}

/// The scales of the pyramid: the smallest face becomes one cell, and so on until all that is searched does.
fn pyramid((width, height): (usize, usize), settings: &Settings) -> Vec<f64> {
    let first = CELL / f64::from(settings.min_face);
    let shorter = width.min(height) as f64;
    // The factor as written in decimal: 0.709 in 32 bits is another number in 64.
    let factor = (f64::from(settings.pyramid_factor) * 1e6).round() / 1e6;
    std::iter::successors(Some((first, shorter * first)), |(scale, side)| Some((scale * factor, side * factor)))
        .take_while(|(_, side)| *side >= CELL)
        .map(|(scale, _)| scale)
        .collect()
}

/// The squares of one level that are probable enough, in pixels of the photograph.
fn level_candidates(proposal: &Proposal, scale: f32, threshold: f32) -> Vec<Candidate> {
    let cells = proposal.width * proposal.height;
    let faces = &proposal.probability[cells..];
    let mut candidates = Vec::new();
    let candidate = |cell: usize, probability: f32| {
        let (x, y) = ((cell % proposal.width) as f32, (cell / proposal.width) as f32);
        let near = |index: f32| ((STRIDE * index + 1.0) / scale).floor();
        let far = |index: f32| ((STRIDE * index + CELL as f32) / scale).floor();
        Candidate {
            bounding_box: BoundingBox::new(near(x), near(y), far(x), far(y)),
            probability,
            regression: std::array::from_fn(|edge| proposal.regression[edge * cells + cell]),
            landmarks: Landmarks::default(),
        }
    };
    // Hardly any square is a face: many are passed over in one look.
    const LOOK: usize = 32;
    for (start, look) in (0..).step_by(LOOK).zip(faces.chunks(LOOK)) {
        let passed = |probability: &f32| *probability >= threshold;
        if look.iter().fold(false, |any, probability| any | passed(probability)) {
            let passing = (start..).zip(look).filter(|(_, probability)| passed(probability));
            candidates.extend(passing.map(|(cell, &probability)| candidate(cell, probability)));
        }
    }
    candidates
}

/// The second stage: crops of 24 x 24 pixels.
fn refine<N: Networks>(
    views: Views<'_>,
    settings: &Settings,
    networks: &mut N,
    candidates: &[Candidate],
    planes: &mut Vec<f32>,
) -> Result<Vec<Candidate>, DetectError<N::Error>>
where
    N::Error: Debug,
{
    let mut passed = Vec::new();
    for (batch, crops) in batches(candidates, |candidate| views.crop(candidate, REFINEMENT_SIDE)) {
        cut(&crops, REFINEMENT_SIDE, settings.normalization, planes);
        let answer = networks.refinement(planes, crops.len()).map_err(DetectError::Network)?;
        count("refinement", "probability", &answer.probability, 2 * crops.len())?;
        count("refinement", "regression", &answer.regression, 4 * crops.len())?;
        let (probabilities, regressions) =
            (answer.probability.as_chunks::<2>().0, answer.regression.as_chunks::<4>().0);
        for ((candidate, &[_, probability]), &regression) in batch.into_iter().zip(probabilities).zip(regressions) {
            if probability > settings.thresholds[1] {
                passed.push(Candidate { probability, regression, ..candidate });
            }
        }
    }
    let mut candidates = suppress(passed, 0.7, Overlap::Union);
    for candidate in &mut candidates {
        candidate.regress(1.0);
        candidate.square();
    }
    best(&mut candidates, MAX_OUTPUT);
    Ok(candidates)
}

/// The third stage: crops of 48 x 48 pixels, and the landmarks.
fn finish<N: Networks>(
    views: Views<'_>,
    settings: &Settings,
    networks: &mut N,
    candidates: &[Candidate],
    planes: &mut Vec<f32>,
) -> Result<Vec<Detection>, DetectError<N::Error>>
where
    N::Error: Debug,
{
    let mut passed = Vec::new();
    for (batch, crops) in batches(candidates, |candidate| views.crop(candidate, OUTPUT_SIDE)) {
        cut(&crops, OUTPUT_SIDE, settings.normalization, planes);
        let answer = networks.output(planes, crops.len()).map_err(DetectError::Network)?;
        count("output", "probability", &answer.probability, 2 * crops.len())?;
        count("output", "regression", &answer.regression, 4 * crops.len())?;
        count("output", "landmarks", &answer.landmarks, 10 * crops.len())?;
        let (probabilities, regressions) =
            (answer.probability.as_chunks::<2>().0, answer.regression.as_chunks::<4>().0);
        let answers = probabilities.iter().zip(regressions).zip(answer.landmarks.as_chunks::<10>().0);
        for (candidate, ((&[_, probability], &regression), points)) in batch.into_iter().zip(answers) {
            if probability > settings.thresholds[2] {
                // The landmarks are told in parts of the box before its last correction.
                let landmarks = place_landmarks(&candidate.bounding_box, points);
                let mut candidate = Candidate { probability, regression, landmarks, ..candidate };
                candidate.regress(1.0);
                passed.push(candidate);
            }
        }
    }
    passed.retain(|candidate| candidate.landmarks.is_finite());
    let detection =
        |Candidate { bounding_box, probability, landmarks, .. }| Detection { bounding_box, probability, landmarks };
    let mut faces = suppress(passed.clone(), 0.7, Overlap::Smaller);
    if views.copy.is_some() {
        vote(&mut faces, &passed);
    }
    Ok(faces.into_iter().map(detection).collect())
}

fn place_landmarks(square: &BoundingBox, points: &[f32; 10]) -> Landmarks {
    let (width, height) = (square.width() + 1.0, square.height() + 1.0);
    Landmarks::from_array(std::array::from_fn(|index| {
        Point::new(square.x1 - 1.0 + width * points[index], square.y1 - 1.0 + height * points[5 + index])
    }))
}

/// The candidates for which something can be cut out, with what that is, in batches.
fn batches<'a>(
    candidates: &[Candidate],
    crop: impl Fn(&Candidate) -> Option<Crop<'a>>,
) -> Vec<(Vec<Candidate>, Vec<Crop<'a>>)> {
    let seen = candidates.iter().filter_map(|candidate| Some((*candidate, crop(candidate)?)));
    let seen: Vec<(Candidate, Crop<'_>)> = seen.collect();
    seen.chunks(BATCH).map(|batch| batch.iter().copied().unzip()).collect()
}

/// Writes the crops of a batch, one after another, to `planes`.
fn cut(crops: &[Crop<'_>], side: usize, normalization: Normalization, planes: &mut Vec<f32>) {
    let size = 3 * side * side;
    planes.resize(crops.len() * size, 0.0);
    for (crop, planes) in crops.iter().zip(planes.chunks_exact_mut(size)) {
        crop.write(side, side, normalization, planes);
    }
}

/// Keeps the most probable `most`.
fn best(candidates: &mut Vec<Candidate>, most: usize) {
    if candidates.len() > most {
        candidates.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        candidates.truncate(most);
    }
}

fn count<E: Debug>(
    network: &'static str,
    tensor: &'static str,
    values: &[f32],
    expected: usize,
) -> Result<(), DetectError<E>> {
    if values.len() == expected {
        Ok(())
    } else {
        Err(DetectError::Shape { network, tensor, found: values.len(), expected })
    }
}

#[cfg(test)]
mod tests;
