//! Many pairs at once: each photograph is analysed once, and pairs end in their order.
//!
//! Owns what runs at the same time and what is kept in memory. Must never judge how good the verdicts are.
//!
//! Of a photograph that further pairs need, its analysis is kept, some kilobytes; of its bytes no more than are analysed or
//! about to be.
//!
//! # Layout
//!
//! - `pairs`: the table that is read. `results`: the table that is written. `summary`: what the verdicts say of a threshold.

pub(crate) mod pairs;
pub(crate) mod results;
pub(crate) mod summary;

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinHandle;

use self::pairs::{Pair, Pairs};
use self::results::Results;
use self::summary::Tally;
use super::{deadline, reason};
use crate::pipeline::Pipeline;
use crate::runtime::Cancel;
use crate::runtime::bindings::types::Analysis;
use crate::task::{ErrorCode, TaskError, Wishes};

/// The largest file that is taken for a photograph, bytes.
const LARGEST: u64 = 256 << 20;

/// Pairs that are under way at once, beyond some for each core: enough that a slow photograph leaves no core idle.
const AHEAD: usize = 32;

/// Two faces that were compared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compared {
    /// The scorer's verdict.
    pub(crate) verified: bool,
    pub(crate) score: f32,
    /// The Euclidean distance, 0 to 2.
    pub(crate) distance: f32,
    /// The cosine similarity, -1 to 1.
    pub(crate) similarity: f32,
    /// The threshold that it was decided by.
    pub(crate) threshold: f32,
}

/// Why a pair was not compared.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// An error code of the HTTP interface, or [`UNREADABLE`].
    pub(crate) code: &'static str,
    /// The photograph that it concerns, 1 or 2.
    pub(crate) image: Option<u8>,
    /// For people.
    pub(crate) message: String,
}

/// The code of a file that is not there or cannot be read.
pub(crate) const UNREADABLE: &str = "unreadable_file";

impl Refusal {
    /// Whether not the photographs are at fault, but the host or a component.
    pub(crate) fn is_ours(&self) -> bool {
        [ErrorCode::Timeout, ErrorCode::ProcessingFailed].map(ErrorCode::as_str).contains(&self.code)
    }

    fn unreadable(message: String) -> Self {
        Self { code: UNREADABLE, image: None, message }
    }
}

impl From<TaskError> for Refusal {
    fn from(error: TaskError) -> Self {
        Self { code: error.code.as_str(), image: error.image, message: error.message }
    }
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Every pair has its row.
    Done,
    /// A signal came before that: its number.
    Stopped(u8),
}

/// Compares all pairs of the photographs in a folder, and hands each one's end on in the order of the pairs.
async fn run(
    pipeline: &Arc<Pipeline>,
    folder: &Path,
    pairs: &Pairs,
    bar: &ProgressBar,
    mut each: impl FnMut(&Pair, Result<Compared, Refusal>) -> anyhow::Result<()>,
) -> anyhow::Result<End> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let cores = pipeline.cores.available_permits().max(1);
    let (room, cancel) = (Semaphore::new(cores + 2), Cancel::default());
    let desk = Arc::new(Desk { pipeline: Arc::clone(pipeline), room, cancel: cancel.clone() });
    let mut shelf = Shelf::new(folder, pairs);
    let mut waiting = pairs.pairs.iter();
    let mut running: VecDeque<(&Pair, JoinHandle<Result<Compared, Refusal>>)> = VecDeque::new();
    loop {
        while running.len() < AHEAD + 4 * cores
            && let Some(pair) = waiting.next()
        {
            running.push_back((pair, tokio::spawn(Arc::clone(&desk).compare(shelf.take(pair)))));
        }
        let Some((_, next)) = running.front_mut() else { return Ok(End::Done) };
        let stopped = tokio::select! {
            end = next => {
                let end = end.context("a comparison broke off")?;
                // The front is what was awaited.
                if let Some((pair, _)) = running.pop_front() {
                    each(pair, end)?;
                    bar.inc(1);
                }
                continue;
            }
            _ = interrupt.recv() => libc::SIGINT,
            _ = terminate.recv() => libc::SIGTERM,
        };
        cancel.cancel();
        running.iter().for_each(|(_, task)| task.abort());
        return Ok(End::Stopped(u8::try_from(stopped).unwrap_or_default()));
    }
}

/// Compares all pairs, counts how they end, and writes their rows where some are wished.
pub(crate) async fn tally(
    pipeline: &Arc<Pipeline>,
    folder: &Path,
    pairs: &Pairs,
    mut results: Option<Results>,
) -> anyhow::Result<(Tally, End)> {
    let bar = progress(pairs, results.as_ref().is_some_and(Results::are_on_stdout));
    let mut tally = Tally::default();
    let end = run(pipeline, folder, pairs, &bar, |pair, end| {
        tally.add(pair, &end);
        results.as_mut().map_or(Ok(()), |results| results.add(pairs, pair, &end))
    });
    let end = end.await;
    bar.finish_and_clear();
    Ok((tally, end?))
}

/// Says that a batch was stopped, and yields the exit status that a shell has for it.
pub(crate) fn stopped_by(signal: u8, tally: &Tally, pairs: &Pairs) -> ExitCode {
    eprintln!("visavis: stopped after {} of {} pairs", tally.pairs(), pairs.pairs.len());
    ExitCode::from(128 + signal)
}

/// A bar on stderr for who watches, nothing otherwise, and nothing where rows would run through it.
fn progress(pairs: &Pairs, rows_on_stdout: bool) -> ProgressBar {
    let target = if rows_on_stdout && io::stdout().is_terminal() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len} pairs, {elapsed} elapsed, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(pairs.pairs.len() as u64), target).with_style(style)
}

/// The folder of the photographs: it must be there, and hold at least one of those that the pairs name.
pub(crate) fn check(folder: &Path, pairs: &Pairs) -> anyhow::Result<()> {
    if !folder.is_dir() {
        bail!("--dir is {}, which is no folder; name that of the photographs", folder.display());
    }
    if !pairs.names.iter().any(|name| folder.join(name).is_file()) {
        bail!(
            "--dir is {}, which holds none of the photographs that the pairs name, as {}; name the folder that does",
            folder.display(),
            pairs.names[0]
        );
    }
    Ok(())
}

/// The photographs that further pairs need.
struct Shelf {
    photographs: Vec<Option<Arc<Photograph>>>,
    /// How many further pairs need each.
    uses: Vec<usize>,
}

struct Photograph {
    path: PathBuf,
    analysis: OnceCell<Result<Analysis, Refusal>>,
}

impl Shelf {
    fn new(folder: &Path, pairs: &Pairs) -> Self {
        let photograph =
            |name: &String| Some(Arc::new(Photograph { path: folder.join(name), analysis: OnceCell::new() }));
        let photographs = pairs.names.iter().map(photograph).collect();
        let mut uses = vec![0; pairs.names.len()];
        pairs.pairs.iter().flat_map(|pair| pair.photographs).for_each(|index| uses[index] += 1);
        Self { photographs, uses }
    }

    /// The photographs of a pair. A photograph leaves the shelf with the last pair that needs it.
    fn take(&mut self, pair: &Pair) -> [Arc<Photograph>; 2] {
        pair.photographs.map(|index| {
            let photograph = &mut self.photographs[index];
            self.uses[index] -= 1;
            let taken = if self.uses[index] == 0 { photograph.take() } else { photograph.clone() };
            taken.expect("it stays until its last use")
        })
    }
}

/// What all comparisons work with.
struct Desk {
    pipeline: Arc<Pipeline>,
    /// For photographs whose bytes are in memory.
    room: Semaphore,
    cancel: Cancel,
}

impl Desk {
    async fn compare(self: Arc<Self>, photographs: [Arc<Photograph>; 2]) -> Result<Compared, Refusal> {
        let start = Instant::now();
        let analyses = tokio::join!(self.look(&photographs[0]), self.look(&photographs[1]));
        let of = |image| move |refusal: &Refusal| Refusal { image: Some(image), ..refusal.clone() };
        let pair = [analyses.0.as_ref().map_err(of(1))?.clone(), analyses.1.as_ref().map_err(of(2))?.clone()];
        let (pipeline, cancel) = (Arc::clone(&self.pipeline), self.cancel.clone());
        match pipeline.decide(Arc::new(pair), Wishes::default(), start, deadline(), cancel, &Default::default()).await {
            Ok(verified) => Ok(Compared {
                verified: verified.verdict.verified,
                score: verified.verdict.score,
                distance: verified.verdict.euclidean_distance,
                similarity: verified.verdict.cosine_similarity,
                threshold: verified.threshold,
            }),
            Err(failed) => Err(reason(failed).map_or_else(stopped, Refusal::from)),
        }
    }

    /// The photograph's analysis, made by the first comparison that asks.
    async fn look<'a>(&self, photograph: &'a Photograph) -> &'a Result<Analysis, Refusal> {
        photograph.analysis.get_or_init(|| self.analyze(&photograph.path)).await
    }

    async fn analyze(&self, path: &Path) -> Result<Analysis, Refusal> {
        let _room = self.room.acquire().await;
        let bytes = read(path).await?;
        let (pipeline, cancel) = (Arc::clone(&self.pipeline), self.cancel.clone());
        let analysis = pipeline.analyze_prominent(Arc::new(bytes), deadline(), cancel).await;
        analysis.map_err(|failed| reason(failed).map_or_else(stopped, Refusal::from))
    }
}

/// Nobody reads it: a batch that is stopped writes no further rows.
fn stopped() -> Refusal {
    Refusal { code: ErrorCode::Revoked.as_str(), image: None, message: "the batch was stopped".to_owned() }
}

async fn read(path: &Path) -> Result<Vec<u8>, Refusal> {
    let refused = |error: io::Error| Refusal::unreadable(format!("cannot read {}: {error}", path.display()));
    // Before it is opened: to open a pipe is to wait for somebody who writes to it.
    if !tokio::fs::metadata(path).await.map_err(refused)?.is_file() {
        return Err(Refusal::unreadable(format!("{} is no file", path.display())));
    }
    let file = tokio::fs::File::open(path).await.map_err(refused)?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).await.map_err(refused)?;
    if bytes.len() as u64 > LARGEST {
        let message = format!("{} has more than {LARGEST} bytes", path.display());
        return Err(Refusal { code: ErrorCode::ImageTooLarge.as_str(), image: None, message });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photograph_is_one_for_all_its_pairs_and_leaves_with_the_last() {
        let names = ["a", "b", "c"].map(str::to_owned).into();
        let pairs = [[0, 1], [1, 2], [1, 1]].map(|photographs| Pair { photographs, same: None }).into();
        let pairs = Pairs { names, pairs };
        let mut shelf = Shelf::new(Path::new("folder"), &pairs);
        let left = |shelf: &Shelf| shelf.photographs.iter().map(Option::is_some).collect::<Vec<_>>();
        let [a, b] = shelf.take(&pairs.pairs[0]);
        assert_eq!((a.path.as_path(), b.path.as_path()), (Path::new("folder/a"), Path::new("folder/b")));
        assert_eq!(left(&shelf), [false, true, true]);
        let [again, c] = shelf.take(&pairs.pairs[1]);
        assert!(Arc::ptr_eq(&b, &again) && !Arc::ptr_eq(&b, &c));
        assert_eq!(left(&shelf), [false, true, false]);
        let twice = shelf.take(&pairs.pairs[2]);
        assert!(twice.iter().all(|photograph| Arc::ptr_eq(photograph, &b)));
        assert_eq!(left(&shelf), [false; 3]);
    }
}
