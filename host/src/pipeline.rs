//! From two photographs to a result: analyse both at the same time, then score.
//!
//! Owns the order of the steps and the room they get on the processor. Must never know the queue; the command line runs the
//! same steps without one.
//!
//! # Layout
//!
//! - `cache`: analyses of photographs that were analysed before.
//! - `report`: the result as clients read it.
//! - `sound`: whether what components answer can be worked with.

pub(crate) mod cache;
pub(crate) mod report;
mod sound;

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::{Semaphore, oneshot};

use self::cache::Cache;
use self::report::Timings;
use crate::nn::Nn;
use crate::runtime::analyzer::Analyzer;
use crate::runtime::bindings::analyze::{Embed, Failure, Settings};
use crate::runtime::bindings::score::{self, Rejection, Verdict, Which};
use crate::runtime::bindings::types::{Analysis, Face, Timing};
use crate::runtime::scorer::Scorer;
use crate::runtime::{CallError, Cancel, brief};
use crate::task::{ErrorCode, NonFrontal, Payload, TaskError, Wishes};
use crate::telemetry::{Span, TraceContext, metrics};

/// A model that takes part in every result.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Model {
    /// The graph's name.
    pub(crate) name: String,
    /// SHA-256 of its file, lower-case hexadecimal.
    pub(crate) digest: String,
}

/// What holds when the client wishes nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    /// Euclidean distance up to which two faces are one person.
    pub(crate) threshold: f32,
    /// Steepness of the score, per unit of distance.
    pub(crate) slope: f32,
    /// What to do with a face that does not look into the camera.
    pub(crate) non_frontal: NonFrontal,
}

/// What components are told and given: models and the operator's wishes. They fit each other, so they change together.
pub(crate) struct Policy {
    /// Runs the networks.
    pub(crate) nn: Nn,
    /// What the analyzer is told: models and sizes.
    pub(crate) settings: Settings,
    /// What the scorer is told.
    pub(crate) defaults: Defaults,
    /// The models, for the result.
    pub(crate) models: Vec<Model>,
}

/// Everything that one verification needs. It never changes; a swap makes another.
pub(crate) struct Pipeline {
    /// Analyses one photograph.
    pub(crate) analyzer: Arc<Analyzer>,
    /// Decides.
    pub(crate) scorer: Arc<Scorer>,
    /// What both are told.
    pub(crate) policy: Arc<Policy>,
    /// Photographs analysed at once: one a core, since each keeps a core busy.
    pub(crate) cores: Arc<Semaphore>,
}

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The photographs, the policy or the time are at fault: the next try would end alike.
    Final(TaskError),
    /// The host or a component is at fault: another try may end well.
    Again(TaskError),
    /// Nobody wants the result any more.
    Cancelled,
}

/// A verdict, and how it reads.
pub(crate) struct Verified {
    /// The decision.
    pub(crate) verdict: Verdict,
    /// The threshold that it was made by.
    pub(crate) threshold: f32,
    /// The result as clients read it.
    pub(crate) result: Value,
}

impl Pipeline {
    /// Verifies two photographs; the result is the JSON object that clients read. Analyses come from the cache, if there is one
    /// and it has them.
    pub(crate) async fn verify(
        self: Arc<Self>,
        payload: Payload,
        cache: Option<&Arc<Cache>>,
        deadline: Instant,
        cancel: Cancel,
        trace: &TraceContext,
    ) -> Result<Value, Failed> {
        let start = Instant::now();
        let Payload { photographs, wishes } = payload;
        let photographs = photographs.map(Arc::new);
        let analyses = Arc::clone(&self).analyze_both(photographs, cache, deadline, cancel.clone(), trace).await?;
        self.decide(analyses, wishes, start, deadline, cancel, trace).await.map(|verified| verified.result)
    }

    /// Analyses two photographs at the same time, the most prominent face of each in full.
    pub(crate) async fn analyze_both(
        self: Arc<Self>,
        photographs: [Arc<Vec<u8>>; 2],
        cache: Option<&Arc<Cache>>,
        deadline: Instant,
        cancel: Cancel,
        trace: &TraceContext,
    ) -> Result<Arc<[Analysis; 2]>, Failed> {
        let [first, second] = photographs;
        let span = |number: i64| {
            let mut span = trace.span("analyze");
            span.set("visavis.photograph", number);
            span
        };
        let (first, second) = tokio::join!(
            self.analysis_or_known(first, cache, deadline, cancel.clone(), span(1)),
            self.analysis_or_known(second, cache, deadline, cancel, span(2)),
        );
        // Both have ended: the first photograph's fault is told first, however the threads ran.
        let first = first.map_err(|error| error.of_photograph(1, deadline))?;
        let second = second.map_err(|error| error.of_photograph(2, deadline))?;
        Ok(Arc::new([first, second]))
    }

    /// Decides on two analyses; `start` is when work on them began.
    pub(crate) async fn decide(
        self: Arc<Self>,
        analyses: Arc<[Analysis; 2]>,
        wishes: Wishes,
        start: Instant,
        deadline: Instant,
        cancel: Cancel,
        trace: &TraceContext,
    ) -> Result<Verified, Failed> {
        let policy = self.policy(wishes);
        let (scoring, mut span) = (Instant::now(), trace.span("score"));
        let (pipeline, pair) = (Arc::clone(&self), Arc::clone(&analyses));
        let scored = tokio::task::spawn_blocking(move || pipeline.scorer.score(&pair[0], &pair[1], policy, cancel))
            .await
            .map_err(|error| Failed::Again(failure(format!("the scorer's thread broke off: {error}"))))?;
        metrics().step_seconds.of(["score"]).observe(scoring.elapsed().as_secs_f64());
        if scored.is_err() {
            span.fail("scorer_failed");
        }
        drop(span);
        let verdict = scored.map_err(|error| Failed::of_call(&error, deadline))?.map_err(|no| rejected(&no))?;
        let unsound = |what: &str| {
            let generation = self.scorer.generation().generation;
            Failed::Again(failure(format!("the scorer (generation {generation}) answered {what}")))
        };
        sound::verdict(&verdict).map_err(|what| unsound(&what))?;
        let faces = compared(&analyses, &verdict).ok_or_else(|| unsound("faces that the analyzer did not find"))?;
        let timings = Timings { score: scoring.elapsed(), total: start.elapsed() };
        let components = [("analyzer", self.analyzer.generation()), ("scorer", self.scorer.generation())];
        let result =
            report::result(&analyses, faces, &verdict, policy.threshold, &components, &self.policy.models, timings);
        Ok(Verified { verdict, threshold: policy.threshold, result })
    }

    /// Analyses one photograph, every face of it.
    pub(crate) async fn analyze(
        self: Arc<Self>,
        photograph: Arc<Vec<u8>>,
        deadline: Instant,
    ) -> Result<Analysis, Failed> {
        let analysis = self.analysis(photograph, Embed::Every, deadline, Cancel::default(), Span::default()).await;
        analysis.map_err(|error| error.of_photograph(1, deadline))
    }

    /// Analyses one photograph, the most prominent face of it in full, as for a verification.
    pub(crate) async fn analyze_prominent(
        self: Arc<Self>,
        photograph: Arc<Vec<u8>>,
        deadline: Instant,
        cancel: Cancel,
    ) -> Result<Analysis, Failed> {
        let analysis = self.analysis(photograph, Embed::MostProminent, deadline, cancel, Span::default()).await;
        analysis.map_err(|error| error.of_photograph(1, deadline))
    }

    /// Whether each face looks into the camera.
    pub(crate) async fn frontal(self: Arc<Self>, faces: Vec<Face>) -> Result<Vec<bool>, CallError> {
        let (slot, generation) = (crate::runtime::Slot::Scorer, self.scorer.generation().generation);
        tokio::task::spawn_blocking(move || self.scorer.frontal(&faces, Cancel::default()))
            .await
            .unwrap_or(Err(CallError::Cancelled { slot, generation }))
    }

    /// The analysis of one photograph, from the cache if there is one and it has it. Only analyses are kept: a photograph that
    /// could not be analysed is looked at anew.
    async fn analysis_or_known(
        self: &Arc<Self>,
        photograph: Arc<Vec<u8>>,
        cache: Option<&Arc<Cache>>,
        deadline: Instant,
        cancel: Cancel,
        mut span: Span,
    ) -> Result<Analysis, Trouble> {
        let Some(cache) = cache else {
            return self.analysis(photograph, Embed::MostProminent, deadline, cancel, span).await;
        };
        let start = Instant::now();
        let look = {
            let (pipeline, cache, photograph) = (Arc::clone(self), Arc::clone(cache), Arc::clone(&photograph));
            tokio::task::spawn_blocking(move || {
                let fingerprint = cache.fingerprint(&photograph);
                (fingerprint, cache.find(fingerprint, (&pipeline.analyzer, &pipeline.policy), start))
            })
        };
        let fingerprint = match look.await {
            Ok((_, Some(analysis))) => {
                metrics().lookups.of(["hit"]).inc();
                span.set("visavis.cached", true);
                note_steps(&analysis);
                return Ok(analysis);
            }
            Ok((fingerprint, None)) => {
                metrics().lookups.of(["miss"]).inc();
                fingerprint
            }
            Err(error) => return Err(Trouble::Thread(error.to_string())),
        };
        let analysis = self.analysis(photograph, Embed::MostProminent, deadline, cancel, span).await?;
        cache.keep(fingerprint, (&self.analyzer, &self.policy), &analysis);
        Ok(analysis)
    }

    /// One photograph on a thread of its own, as soon as a core is free. If one is free now, the thread is woken at once and by
    /// the caller: whoever was asked to do it would itself have to be woken first, which on a busy processor takes milliseconds.
    async fn analysis(
        self: &Arc<Self>,
        photograph: Arc<Vec<u8>>,
        embed: Embed,
        deadline: Instant,
        cancel: Cancel,
        mut span: Span,
    ) -> Result<Analysis, Trouble> {
        let start = Instant::now();
        let core = tokio::time::timeout_at(deadline.into(), Arc::clone(&self.cores).acquire_owned());
        let Ok(Ok(core)) = core.await else { return Err(Trouble::Late) };
        let pipeline = Arc::clone(self);
        let (answer, answered) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let settings = Settings { embed, ..pipeline.policy.settings.clone() };
            let (nn, trace, generation) =
                (&pipeline.policy.nn, span.context(), pipeline.analyzer.generation().generation);
            let (analysis, spent) = pipeline.analyzer.analyze(nn, &photograph, &settings, deadline, cancel, &trace);
            metrics().step_seconds.of(["analyze"]).observe(start.elapsed().as_secs_f64());
            if !matches!(analysis, Ok(Ok(_))) {
                span.fail("not_analyzed");
            }
            drop(span);
            // Whoever waits for it may be gone.
            let _ = answer.send(match analysis {
                Ok(Ok(analysis)) => match sound::analysis(&analysis) {
                    Ok(()) => {
                        note_steps(&analysis);
                        Ok(analysis)
                    }
                    Err(what) => Err(Trouble::Analyzer(generation, format!("answered {what}"))),
                },
                Ok(Err(failure)) => Err(Trouble::of_failure(failure, generation)),
                Err(error) => Err(Trouble::Call(error)),
            });
            // The core is busy until the instance's memory is cleared, but the analysis need not wait for that.
            drop(spent);
            drop(core);
        });
        answered.await.unwrap_or_else(|_| Err(Trouble::Thread("it panicked".to_owned())))
    }

    fn policy(&self, wishes: Wishes) -> score::Policy {
        let defaults = self.policy.defaults;
        score::Policy {
            threshold: wishes.threshold.unwrap_or(defaults.threshold),
            slope: defaults.slope,
            non_frontal: match wishes.non_frontal.unwrap_or(defaults.non_frontal) {
                NonFrontal::Reject => score::NonFrontal::Reject,
                NonFrontal::Report => score::NonFrontal::Report,
            },
        }
    }
}

/// Counts what an analyzer says of its steps.
fn note_steps(analysis: &Analysis) {
    for Timing { step, milliseconds } in &analysis.timings {
        metrics().step_seconds.of([step.as_str()]).observe(milliseconds / 1e3);
    }
}

/// Why one photograph was not analysed.
enum Trouble {
    Photograph(ErrorCode, String),
    /// The analyzer of this generation is at fault, and how.
    Analyzer(u32, String),
    Call(CallError),
    Late,
    Thread(String),
}

impl Trouble {
    /// What the analyzer of this generation said of a photograph.
    fn of_failure(failure: Failure, generation: u32) -> Self {
        match failure {
            Failure::InvalidImage(text) => Self::Photograph(ErrorCode::InvalidImage, brief(&text)),
            Failure::UnsupportedFormat(text) => Self::Photograph(ErrorCode::UnsupportedFormat, brief(&text)),
            Failure::ImageTooLarge(text) => Self::Photograph(ErrorCode::ImageTooLarge, brief(&text)),
            Failure::Inference(text) => {
                Self::Analyzer(generation, format!("says that inference failed: {}", brief(&text)))
            }
        }
    }

    fn of_photograph(self, image: u8, deadline: Instant) -> Failed {
        match self {
            Self::Photograph(code, message) => {
                Failed::Final(TaskError { code, message, image: Some(image), details: None })
            }
            // Inference ends with the task's time, and then is no fault of the analyzer's.
            Self::Analyzer(..) | Self::Late if Instant::now() >= deadline => late(),
            Self::Analyzer(generation, what) => {
                Failed::Again(failure(format!("the analyzer (generation {generation}) {what}")))
            }
            Self::Call(error) => Failed::of_call(&error, deadline),
            Self::Late => late(),
            Self::Thread(text) => Failed::Again(failure(format!("the analyzer's thread broke off: {text}"))),
        }
    }
}

impl Failed {
    /// What it comes down to; `None` when nobody wants to know any more.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Final(error) | Self::Again(error) => Some(error.code),
            Self::Cancelled => None,
        }
    }

    /// The generation that it ran on was replaced long ago.
    pub(crate) fn replaced() -> Self {
        Self::Again(failure("the component that it ran on was replaced".to_owned()))
    }

    fn of_call(error: &CallError, deadline: Instant) -> Self {
        match error {
            CallError::Cancelled { .. } => Self::Cancelled,
            // Its own bound, which may lie before the task's.
            CallError::Deadline { slot, generation } if Instant::now() < deadline => timeout(format!(
                "the {slot} (generation {generation}) took longer than components.{slot}.deadline; send smaller photographs, or \
                 raise that"
            )),
            CallError::Deadline { .. } => late(),
            CallError::Trap { .. } if Instant::now() >= deadline => late(),
            CallError::Trap { .. } => Self::Again(failure(error.to_string())),
        }
    }
}

fn late() -> Failed {
    timeout("the task took longer than it may; send smaller photographs, or raise worker.task_timeout".to_owned())
}

fn timeout(message: String) -> Failed {
    Failed::Final(TaskError { code: ErrorCode::Timeout, message, image: None, details: None })
}

fn failure(message: String) -> TaskError {
    TaskError { code: ErrorCode::ProcessingFailed, message, image: None, details: None }
}

fn rejected(rejection: &Rejection) -> Failed {
    let number = |which: &Which| if *which == Which::First { 1_u8 } else { 2 };
    let of = |which, code, message, details: Value| {
        let details = match details {
            Value::Object(details) => Some(details),
            _ => None,
        };
        TaskError { code, message, image: Some(number(which)), details }
    };
    Failed::Final(match rejection {
        Rejection::NoFace(which) => of(
            which,
            ErrorCode::NoFace,
            format!(
                "photograph {} shows no face; send one in which a face is large enough and seen well",
                number(which)
            ),
            Value::Null,
        ),
        Rejection::MultipleFaces(many) => of(
            &many.photograph,
            ErrorCode::MultipleFaces,
            format!("photograph {} shows {} faces; send one of a single person", number(&many.photograph), many.count),
            json!({ "faces": many.count }),
        ),
        Rejection::NonFrontalFace(turned) => of(
            &turned.photograph,
            ErrorCode::NonFrontalFace,
            format!(
                "the face in photograph {} does not look into the camera; send another, or set non_frontal to report",
                number(&turned.photograph)
            ),
            json!({ "pose": report::pose(&turned.pose) }),
        ),
        Rejection::Incomparable(text) => failure(format!("the faces cannot be compared: {}", brief(text))),
    })
}

fn compared<'a>(analyses: &'a [Analysis; 2], verdict: &Verdict) -> Option<[&'a Face; 2]> {
    let face = |analysis: &'a Analysis, index: u32| analysis.faces.get(usize::try_from(index).ok()?);
    Some([face(&analyses[0], verdict.faces.0)?, face(&analyses[1], verdict.faces.1)?])
}
