//! The analyzer's proof: photographs, as the generation that serves sees them.
//!
//! Owns the tolerances. Another build of the same algorithm may round differently; another embedding must not pass, for
//! embeddings of two spaces cannot be compared. Where the deployer says that the space changes, what must not change is whom
//! the photographs show.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::Checks;
use crate::pipeline::{Failed, Pipeline, Policy};
use crate::runtime::bindings::types::{Analysis, Face};
use crate::runtime::{Cancel, Slot};
use crate::task::{ErrorCode, Payload};

/// So many photographs are used at most, and each may be so large.
const MOST: usize = 16;
const LARGEST: u64 = 32 << 20;

/// How far a box's edge or a landmark may move, pixels.
const PIXELS: f32 = 0.5;

/// How far a probability may move.
const PROBABILITY: f32 = 0.001;

/// How far an embedding may move: the Euclidean distance of unit vectors.
const DISTANCE: f32 = 0.01;

/// How far an embedding's length may be from 1.
const LENGTH: f32 = 0.01;

/// Photographs of which every pair is decided on when the space of embeddings changes.
const PAIRED: usize = 4;

/// How long one photograph may take, beyond what the slot itself allows.
const PATIENCE: Duration = Duration::from_secs(60);

/// The photographs, and what was seen in them.
pub(crate) struct Photographs {
    folder: PathBuf,
    recorded: Mutex<Option<Record>>,
}

/// What the first generation that was asked saw under one policy. Kept while that policy holds, so that many small changes
/// do not add up.
struct Record {
    policy: Weak<Policy>,
    seen: Arc<[Seen]>,
}

struct Seen {
    name: String,
    photograph: Arc<Vec<u8>>,
    analysis: Result<Analysis, ErrorCode>,
}

impl Photographs {
    /// Those in `folder`, which is read when they are needed.
    pub(in super::super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), recorded: Mutex::new(None) }
    }

    /// Compares what `new` sees with what was recorded; `serving` is recorded first when nothing is. When the space of
    /// embeddings changes, it is enough that there are faces where there were, with sound embeddings, and that each pair of
    /// photographs is decided on as before.
    pub(super) async fn examine(
        &self,
        serving: &Arc<Pipeline>,
        new: &Arc<Pipeline>,
        space_changes: bool,
        checks: &mut Checks,
    ) {
        let seen = match self.recorded(serving).await {
            Ok(seen) => seen,
            Err(why) => {
                let expected = "photographs to compare with";
                return checks.compare(Slot::Analyzer, &self.folder.display().to_string(), expected, why, false);
            }
        };
        for Seen { name, photograph, analysis } in seen.iter() {
            let found = Arc::clone(new).analyze(Arc::clone(photograph), Instant::now() + PATIENCE).await;
            // One that does not answer is not asked again: each answer may take its whole time.
            let unanswered = matches!(&found, Err(Failed::Again(_) | Failed::Cancelled))
                || matches!(&found, Err(Failed::Final(error)) if error.code == ErrorCode::Timeout);
            let expected = describe(analysis);
            let (same, found) = match (analysis, found) {
                (Ok(expected), Ok(found)) if space_changes => match unsound(expected, &found) {
                    None => (true, String::new()),
                    Some(why) => (false, why),
                },
                (Ok(expected), Ok(found)) => match difference(expected, &found) {
                    None => (true, String::new()),
                    Some(why) => (false, why),
                },
                (_, Ok(found)) => (false, describe(&Ok(found))),
                (expected, Err(Failed::Final(error) | Failed::Again(error))) => {
                    let same = !unanswered && expected.as_ref().is_err_and(|code| *code == error.code);
                    (same, format!("{}: {}", error.code.as_str(), error.message))
                }
                (_, Err(Failed::Cancelled)) => (false, "nothing: it was stopped".to_owned()),
            };
            if unanswered {
                return checks.silent(Slot::Analyzer, name, expected, found);
            }
            checks.compare(Slot::Analyzer, name, expected, found, same);
        }
        if space_changes {
            decide(serving, new, &seen, checks).await;
        }
    }

    async fn recorded(&self, serving: &Arc<Pipeline>) -> Result<Arc<[Seen]>, String> {
        let known = |record: &Record| record.policy.upgrade().is_some_and(|it| Arc::ptr_eq(&it, &serving.policy));
        if let Some(record) = self.lock().as_ref().filter(|record| known(record)) {
            return Ok(Arc::clone(&record.seen));
        }
        let mut seen = Vec::new();
        for (name, photograph) in self.read()? {
            let photograph = Arc::new(photograph);
            let analysis = match Arc::clone(serving).analyze(Arc::clone(&photograph), Instant::now() + PATIENCE).await {
                Ok(analysis) => Ok(analysis),
                Err(Failed::Final(error)) if error.code != ErrorCode::Timeout => Err(error.code),
                // Whoever cannot answer is no measure for others, and must be replaceable.
                Err(error) => {
                    tracing::warn!(photograph = name, ?error, "the analyzer that serves cannot be recorded");
                    continue;
                }
            };
            seen.push(Seen { name, photograph, analysis });
        }
        if !seen.iter().any(|seen| seen.analysis.as_ref().is_ok_and(|analysis| !analysis.faces.is_empty())) {
            return Err(
                "none that shows a face and that the analyzer that serves can read; put some into the folder, \
                        or set components.probes to one that has some"
                    .to_owned(),
            );
        }
        let seen: Arc<[Seen]> = seen.into();
        *self.lock() = Some(Record { policy: Arc::downgrade(&serving.policy), seen: Arc::clone(&seen) });
        Ok(seen)
    }

    fn read(&self) -> Result<Vec<(String, Vec<u8>)>, String> {
        let words = |error: std::io::Error| format!("{error}; set components.probes to a folder of photographs");
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(words)? {
            let entry = entry.map_err(words)?;
            let data = entry.metadata().map_err(words)?;
            if data.is_file() && data.len() <= LARGEST {
                paths.push(entry.path());
            }
        }
        paths.sort();
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        paths.iter().take(MOST).map(|path| Ok((name(path), std::fs::read(path).map_err(words)?))).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Record>> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compares the decisions on pairs of photographs.
async fn decide(serving: &Arc<Pipeline>, new: &Arc<Pipeline>, seen: &[Seen], checks: &mut Checks) {
    let shows_a_face = |seen: &&Seen| seen.analysis.as_ref().is_ok_and(|analysis| !analysis.faces.is_empty());
    let paired: Vec<_> = seen.iter().filter(shows_a_face).take(PAIRED).collect();
    for (at, first) in paired.iter().enumerate() {
        for second in &paired[at + 1..] {
            let photographs = [first, second].map(|seen| seen.photograph.to_vec());
            let payload = Payload { photographs, wishes: Default::default() };
            let expected = decision(serving, payload.clone()).await;
            let found = decision(new, payload).await;
            let case = format!("{} and {}", first.name, second.name);
            checks.compare(Slot::Analyzer, &case, &expected, &found, expected == found);
        }
    }
}

/// Whom two photographs show, in words.
async fn decision(pipeline: &Arc<Pipeline>, payload: Payload) -> String {
    match Arc::clone(pipeline)
        .verify(payload, None, Instant::now() + PATIENCE, Cancel::default(), &Default::default())
        .await
    {
        Ok(result) if result["verified"] == true => "one person".to_owned(),
        Ok(_) => "two people".to_owned(),
        Err(failed) => failed.code().map_or("nothing", |code| code.as_str()).to_owned(),
    }
}

/// What cannot be right whatever the space of the embeddings, in words.
fn unsound(expected: &Analysis, found: &Analysis) -> Option<String> {
    if (expected.width, expected.height, expected.faces.is_empty())
        != (found.width, found.height, found.faces.is_empty())
    {
        return Some(describe(&Ok(found.clone())));
    }
    let length = |face: &Face| face.embedding.iter().map(|value| value * value).sum::<f32>().sqrt();
    let dimension = found.faces.first().map(|face| face.embedding.len());
    let sound = |face: &Face| gap(length(face), 1.0) <= LENGTH && Some(face.embedding.len()) == dimension;
    (!found.faces.iter().all(sound))
        .then(|| "embeddings that are not vectors of length 1 and of one dimension".to_owned())
}

fn describe(analysis: &Result<Analysis, ErrorCode>) -> String {
    match analysis {
        Ok(analysis) => format!("{} faces in {} x {} pixels", analysis.faces.len(), analysis.width, analysis.height),
        Err(code) => code.as_str().to_owned(),
    }
}

/// What differs beyond the tolerances, in words.
fn difference(expected: &Analysis, found: &Analysis) -> Option<String> {
    let outline = |analysis: &Analysis| (analysis.width, analysis.height, analysis.faces.len());
    if outline(expected) != outline(found) {
        return Some(describe(&Ok(found.clone())));
    }
    expected.faces.iter().zip(&found.faces).enumerate().find_map(|(index, (expected, found))| {
        let moved = positions(expected).iter().zip(positions(found)).map(|(a, b)| gap(*a, b)).fold(0.0, f32::max);
        let probability = gap(expected.confidence, found.confidence);
        let apart = distance(&expected.embedding, &found.embedding);
        let number = index + 1;
        if moved > PIXELS {
            Some(format!("face {number} {moved:.2} px away from where it was"))
        } else if probability > PROBABILITY {
            Some(format!("face {number} with confidence {:.4} instead of {:.4}", found.confidence, expected.confidence))
        } else if apart > DISTANCE {
            Some(format!("face {number} with an embedding at a distance of {apart:.3} from what it was"))
        } else {
            None
        }
    })
}

fn positions(face: &Face) -> [f32; 14] {
    let (b, l) = (face.box_, &face.landmarks);
    let [a, c, d, e, f] = [l.left_eye, l.right_eye, l.nose, l.left_mouth, l.right_mouth];
    [b.x1, b.y1, b.x2, b.y2, a.x, a.y, c.x, c.y, d.x, d.y, e.x, e.y, f.x, f.y]
}

/// Infinite when one is no number, so that it matches nothing.
fn gap(a: f32, b: f32) -> f32 {
    let gap = (a - b).abs();
    if gap.is_nan() { f32::INFINITY } else { gap }
}

/// Infinite when the embeddings cannot be compared.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    if a.len() != b.len() {
        return f32::INFINITY;
    }
    a.iter().zip(b).map(|(a, b)| gap(*a, *b).powi(2)).sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::bindings::types::{BoundingBox, Landmarks, Point, Pose};

    fn face(x: f32, embedding: &[f32]) -> Face {
        let point = Point { x, y: 1.0 };
        Face {
            box_: BoundingBox { x1: x, y1: 0.0, x2: x + 9.0, y2: 9.0 },
            confidence: 0.99,
            landmarks: Landmarks {
                left_eye: point,
                right_eye: point,
                nose: point,
                left_mouth: point,
                right_mouth: point,
            },
            pose: Pose { yaw: 0.0, pitch: 0.0, roll: 0.0 },
            embedding: embedding.to_vec(),
        }
    }

    fn analysis(faces: Vec<Face>) -> Analysis {
        Analysis { width: 90, height: 60, faces, timings: Vec::new() }
    }

    #[test]
    fn rounding_passes_and_everything_else_is_told() {
        let one = || analysis(vec![face(10.0, &[0.6, 0.8])]);
        assert_eq!(difference(&one(), &analysis(vec![face(10.4, &[0.601, 0.799])])), None);
        for (found, word) in [
            (analysis(vec![]), "0 faces"),
            (analysis(vec![face(10.6, &[0.6, 0.8])]), "px away"),
            (analysis(vec![face(10.0, &[0.8, 0.6])]), "embedding"),
            (analysis(vec![face(10.0, &[])]), "embedding"),
            (analysis(vec![face(10.0, &[f32::NAN, 0.8])]), "embedding"),
            (analysis(vec![face(f32::NAN, &[0.6, 0.8])]), "px away"),
            (analysis(vec![Face { confidence: 0.9, ..face(10.0, &[0.6, 0.8]) }]), "confidence"),
            (Analysis { width: 60, height: 90, ..one() }, "60 x 90"),
        ] {
            let told = difference(&one(), &found).expect(word);
            assert!(told.contains(word), "{told}");
        }
    }
}
