//! What a client sees of many tasks while everything under them breaks.
//!
//! Owns the list of accepted tasks and the one judgement: once a task has ended, no node may ever say anything else of it.
//! Must never know what breaks.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::form::Form;
use crate::http::Client;

/// Ended tasks that every look asks for again, beside all that have not ended.
const AGAIN: usize = 50;

/// Tasks that were accepted, and what was seen of them since.
#[derive(Debug)]
pub struct Watch {
    is_own: fn(&Value, u32) -> bool,
    tasks: Mutex<Vec<Task>>,
    /// Which ended task is asked for again next.
    turn: Mutex<usize>,
}

#[derive(Clone, Debug)]
struct Task {
    id: String,
    number: u32,
    /// The body that said how it ended.
    ended: Option<Value>,
    /// A node said something else afterwards.
    changed: Option<Value>,
    /// A node did not know it.
    unknown: bool,
}

/// What came of the tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answered with 202.
    pub accepted: usize,
    /// Ended with a result.
    pub success: usize,
    /// Ended with an error, or revoked.
    pub failure: usize,
    /// Said to have ended in two ways.
    pub changed: usize,
    /// Not known to a node that was asked, or never ended.
    pub lost: usize,
    /// With the result of another task.
    pub mixed_up: usize,
}

impl Tally {
    /// All of so many tasks ended well, each once and as its own.
    pub fn perfect(tasks: usize) -> Self {
        Self { accepted: tasks, success: tasks, ..Self::default() }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, success, failure, changed, lost, mixed_up } = self;
        write!(
            f,
            "accepted {accepted}, SUCCESS {success}, FAILURE {failure}, changed after their end {changed}, lost {lost}, \
             mixed up {mixed_up}"
        )
    }
}

impl Watch {
    /// No tasks yet. `is_own` tells whether a result is that of the task of this number.
    pub fn new(is_own: fn(&Value, u32) -> bool) -> Self {
        Self { is_own, tasks: Mutex::default(), turn: Mutex::default() }
    }

    /// Notes a task that was answered with 202.
    pub fn accept(&self, id: String, number: u32) {
        self.tasks().push(Task { id, number, ended: None, changed: None, unknown: false });
    }

    /// Hands in a task; false when it was refused or there was no answer.
    pub fn submit(&self, client: &Client, number: u32, form: &Form) -> bool {
        let content_type = form.content_type();
        let headers = [("content-type", content_type.as_str())];
        let Ok(answer) = client.try_send("POST", "/verify", &headers, &form.body()) else { return false };
        if answer.status == 202 {
            self.accept(answer.json()["task_id"].as_str().expect("an id").to_owned(), number);
        }
        answer.status == 202
    }

    /// Asks a node for every task that has not ended, and for some that have. Answers how many have not.
    pub fn look(&self, client: &Client) -> usize {
        let open: Vec<_> = self.places(|task| task.ended.is_none());
        let ended = self.places(|task| task.ended.is_some());
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let again: Vec<_> =
            ended.iter().cycle().skip(*turn % ended.len().max(1)).take(AGAIN.min(ended.len())).collect();
        *turn += again.len();
        drop(turn);
        open.iter().chain(again).for_each(|place| self.ask(client, *place));
        self.places(|task| task.ended.is_none()).len()
    }

    /// Looks from one node after another until every task has ended, and then once more at all tasks from every node.
    pub fn to_the_end(&self, clients: &[Client], patience: Duration) -> Tally {
        let deadline = Instant::now() + patience;
        let mut clients_in_turn = clients.iter().cycle();
        while clients_in_turn.next().is_some_and(|client| self.look(client) > 0) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        for client in clients {
            self.places(|_| true).into_iter().for_each(|place| self.ask(client, place));
        }
        self.tally()
    }

    /// What is known by now.
    pub fn tally(&self) -> Tally {
        let tasks = self.tasks();
        let count = |test: &dyn Fn(&Task) -> bool| tasks.iter().filter(|task| test(task)).count();
        let ids: HashMap<_, _> = tasks.iter().map(|task| (&task.id, ())).collect();
        assert_eq!(ids.len(), tasks.len(), "every accepted task has an id of its own");
        let status = |task: &Task| task.ended.as_ref().and_then(|body| body["status"].as_str().map(str::to_owned));
        let succeeded = |task: &Task| status(task).as_deref() == Some("SUCCESS");
        Tally {
            accepted: tasks.len(),
            success: count(&succeeded),
            failure: count(&|task| task.ended.is_some() && !succeeded(task)),
            changed: count(&|task| task.changed.is_some()),
            lost: count(&|task| task.unknown || task.ended.is_none()),
            mixed_up: count(&|task| {
                succeeded(task) && !task.ended.as_ref().is_some_and(|body| (self.is_own)(&body["result"], task.number))
            }),
        }
    }

    /// The ids of all tasks, 32 digits each.
    pub fn digits(&self) -> Vec<String> {
        self.tasks().iter().map(|task| task.id.replace("face_verification_", "")).collect()
    }

    /// Descriptions of tasks that did not go well, a few.
    pub fn trouble(&self) -> String {
        let tasks = self.tasks();
        let bad = tasks.iter().filter(|task| {
            task.unknown || task.changed.is_some() || task.ended.as_ref().is_none_or(|body| body["status"] != "SUCCESS")
        });
        bad.take(3).map(|task| format!("{task:?}\n")).collect()
    }

    fn ask(&self, client: &Client, place: usize) {
        let id = self.tasks()[place].id.clone();
        // A node that is out of reach, or says that the queue is, says nothing of the task.
        let Some(answer) = client.try_get(&format!("/status/{id}")).filter(|answer| answer.status < 500) else {
            return;
        };
        let task = &mut self.tasks()[place];
        if answer.status != 200 {
            task.unknown = true;
            return;
        }
        let body = answer.json();
        let ended = ["SUCCESS", "FAILURE", "REVOKED"].contains(&body["status"].as_str().unwrap_or_default());
        match &task.ended {
            Some(first) if *first != body => task.changed = Some(body),
            None if ended => task.ended = Some(body),
            _ => {}
        }
    }

    fn places(&self, test: impl Fn(&Task) -> bool) -> Vec<usize> {
        self.tasks().iter().enumerate().filter(|(_, task)| test(task)).map(|(place, _)| place).collect()
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<Task>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
