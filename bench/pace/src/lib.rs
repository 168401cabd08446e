//! What a measurement inside a host is told and answers: inferences through `wasi:nn`, and fresh instances.
//!
//! Owns all that must be the same in the hosts that are compared. Must never know how one of them calls a component.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, Result, anyhow};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The environment variable that holds an [`Order`] or [`Instances`], in JSON.
pub const VARIABLE: &str = "VISAVIS_PACE";

/// What to measure.
#[derive(Debug, Deserialize, Serialize)]
pub struct Order {
    /// The component that infers.
    pub component: PathBuf,
    /// The inference library's file.
    pub library: PathBuf,
    /// The graph's name and its model.
    pub graph: (String, PathBuf),
    /// What the component is told.
    pub words: String,
    /// How many call at a time.
    pub callers: usize,
    /// How long they go on.
    pub seconds: f64,
    /// The file that the answer is written to.
    pub answer: PathBuf,
}

/// What was measured.
#[derive(Debug, Deserialize, Serialize)]
pub struct Pace {
    /// From the first call to the end of the last.
    pub seconds: f64,
    /// One value a call.
    pub milliseconds: Vec<f64>,
    /// What the graph answered.
    pub output: Vec<f32>,
}

/// What to instantiate, again and again.
#[derive(Debug, Deserialize, Serialize)]
pub struct Instances {
    /// The analyzer and the scorer.
    pub components: [PathBuf; 2],
    /// The inference library's file.
    pub library: PathBuf,
    /// How many of each.
    pub times: usize,
    /// The file for the answer: of each, the microseconds of every instance from nothing to thrown away.
    pub answer: PathBuf,
}

fn given<T: DeserializeOwned>() -> Result<Option<T>> {
    let order = env::var(VARIABLE).ok();
    order.map(|order| serde_json::from_str(&order).context("an order of the benchmark")).transpose()
}

impl Instances {
    /// The order that this process was started with, if it was.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn given() -> Result<Option<Self>> {
        given()
    }

    /// Makes as many instances of each as are ordered, after one that does not count, and writes the answer.
    ///
    /// # Errors
    ///
    /// One could not be made, or the answer cannot be written.
    pub fn carry_out(&self, each: [&dyn Fn() -> Result<()>; 2]) -> Result<()> {
        let mut microseconds = [Vec::new(), Vec::new()];
        for (instantiate, microseconds) in each.iter().zip(&mut microseconds) {
            instantiate()?;
            for _ in 0..self.times {
                let begin = Instant::now();
                instantiate()?;
                microseconds.push(begin.elapsed().as_secs_f64() * 1e6);
            }
        }
        fs::write(&self.answer, serde_json::to_vec(&microseconds)?).context("the answer cannot be written")
    }
}

impl Order {
    /// The order that this process was started with, if it was.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn given() -> Result<Option<Self>> {
        given()
    }

    /// Lets as many callers as are ordered call again and again, after one call that does not count, and writes the answer.
    /// `call` yields what the graph answered.
    ///
    /// # Errors
    ///
    /// A call failed, or the answer cannot be written.
    pub fn carry_out(&self, call: impl Fn() -> Result<Vec<f32>> + Sync) -> Result<()> {
        let output = call()?;
        let start = Instant::now();
        let end = start + Duration::from_secs_f64(self.seconds);
        let caller = || -> Result<Vec<f64>> {
            let mut milliseconds = Vec::new();
            while Instant::now() < end {
                let begin = Instant::now();
                call()?;
                milliseconds.push(begin.elapsed().as_secs_f64() * 1e3);
            }
            Ok(milliseconds)
        };
        let milliseconds = thread::scope(|scope| {
            let callers: Vec<_> = (0..self.callers).map(|_| scope.spawn(caller)).collect();
            let all = callers.into_iter().map(|caller| caller.join().map_err(|_| anyhow!("a caller panicked"))?);
            all.collect::<Result<Vec<_>>>()
        })?;
        let pace = Pace { seconds: start.elapsed().as_secs_f64(), milliseconds: milliseconds.concat(), output };
        fs::write(&self.answer, serde_json::to_vec(&pace)?).context("the answer cannot be written")
    }
}
