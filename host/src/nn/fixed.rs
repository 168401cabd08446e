//! Models made for the very shapes that recur.
//!
//! Owns what one graph keeps for shapes that it was given often, and the thread that has it made. Must never know a library, or what a run is given.
//!
//! A model that takes any shape infers the shapes of all nodes in each run, and cannot lay out its memory beforehand. Of a small
//! network that is a good part of a run. So a shape that was seen often gets a model of its own, made beside the requests: who
//! comes meanwhile runs on the model for any shape, and waits for nothing.
//!
//! # Layout
//!
//! - `shelf`: which shapes those are.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

#[cfg(test)]
pub(super) use self::shelf::SIGHTINGS;
pub(super) use self::shelf::Shapes;
use self::shelf::{Known, Shelf};
use super::pool::Pool;

mod shelf;

/// Models up to so many bytes, for each that is made has weights of its own. Larger ones compute so long that shapes cost them
/// little.
pub(super) const LARGEST: usize = 4 << 20;

/// How a library makes a model for one choice of shapes.
pub(super) trait Maker: Send + Sync + 'static {
    /// What runs such a model once at a time.
    type Made: Send + 'static;

    /// One for each run at the same time.
    ///
    /// # Errors
    ///
    /// Why there is none, in words; the model for any shape serves on.
    fn make(&self, shapes: &Shapes) -> Result<Vec<Self::Made>, String>;
}

/// The models of one graph.
pub(super) struct Fixed<M: Maker> {
    shared: Arc<Shared<M>>,
}

struct Shared<M: Maker> {
    maker: M,
    state: Mutex<State<M::Made>>,
}

struct State<T> {
    shelf: Shelf<Arc<Pool<T>>>,
    /// What waits to be made.
    due: VecDeque<Shapes>,
    worker: Option<JoinHandle<()>>,
    /// Whether the thread is still at work.
    busy: bool,
    closed: bool,
}

impl<M: Maker> Fixed<M> {
    pub(super) fn new(maker: M) -> Self {
        let state = State { shelf: Shelf::new(), due: VecDeque::new(), worker: None, busy: false, closed: false };
        Self { shared: Arc::new(Shared { maker, state: Mutex::new(state) }) }
    }

    /// What runs models for these shapes, if there is any by now; the run that asks is counted.
    pub(super) fn meet(&self, shapes: &Shapes) -> Option<Arc<Pool<M::Made>>> {
        let mut state = self.shared.state();
        match state.shelf.meet(shapes) {
            Known::Made(pool) => Some(Arc::clone(pool)),
            Known::Due => {
                state.due.push_back(shapes.clone());
                if !state.busy {
                    self.start(&mut state);
                }
                None
            }
            Known::Seen => None,
        }
    }

    /// Without a thread, all goes on as before.
    fn start(&self, state: &mut State<M::Made>) {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name("nn-shapes".to_owned());
        match thread.spawn(move || shared.make_all()) {
            Ok(thread) => (state.worker, state.busy) = (Some(thread), true),
            Err(error) => tracing::warn!(%error, "no thread to make a model for a shape that recurs"),
        }
    }

    /// Waits until nothing is being made.
    #[cfg(test)]
    pub(super) fn settle(&self) {
        while self.shared.state().busy {
            thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// The library must not make models while the process ends and takes its parts down.
impl<M: Maker> Drop for Fixed<M> {
    fn drop(&mut self) {
        let worker = {
            let mut state = self.shared.state();
            state.closed = true;
            state.worker.take()
        };
        if let Some(worker) = worker {
            _ = worker.join();
        }
    }
}

impl<M: Maker> Shared<M> {
    fn state(&self) -> MutexGuard<'_, State<M::Made>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_all(&self) {
        loop {
            let shapes = {
                let mut state = self.state();
                let next = state.due.pop_front().filter(|_| !state.closed);
                let Some(shapes) = next else {
                    state.busy = false;
                    return;
                };
                shapes
            };
            match self.maker.make(&shapes) {
                Ok(made) => {
                    tracing::debug!(?shapes, "a model was made for a shape that recurs");
                    self.state().shelf.put(&shapes, Arc::new(Pool::new(made)));
                }
                // The model for any shape serves on.
                Err(reason) => tracing::warn!(?shapes, reason, "no model could be made for a shape that recurs"),
            }
        }
    }
}
