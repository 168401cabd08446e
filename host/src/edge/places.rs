//! Who is let in to the gateway, and who gives way when all seats are taken.
//!
//! Owns the seats and the room for bodies, and the rule that whoever only waits cannot keep others out: clients that send a byte
//! a second, or wait for tasks, or do not read what they asked for. Must never know what is asked.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{AcquireError, Semaphore, TryAcquireError};

use crate::runtime::{MOMENT, Seat, Stage};

/// Who has a seat for less than this is not asked for it, unless for the wait for a task: an ordinary body comes within, as a
/// rule.
const YOUNG: Duration = Duration::from_secs(1);

/// How long to wait for a seat that somebody was asked for.
const ROOM: Duration = Duration::from_secs(2);

/// Between two looks for room.
const GLANCE: Duration = Duration::from_millis(20);

/// Requests that are served, and the bodies that they may send.
pub(super) struct Places {
    seats: Arc<Semaphore>,
    /// One permit a KiB.
    bodies: Arc<Semaphore>,
    taken: Mutex<Vec<Weak<Seat>>>,
}

/// What there is none of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// Seats.
    Seats,
    /// Room for a body of this size.
    Bodies,
}

impl Places {
    /// So many seats, and bodies of so many bytes together.
    pub(super) fn new(seats: usize, body_memory: u64) -> Self {
        let kibibytes = usize::try_from(body_memory >> 10).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self {
            seats: Arc::new(Semaphore::new(seats)),
            bodies: Arc::new(Semaphore::new(kibibytes)),
            taken: Mutex::new(Vec::new()),
        }
    }

    /// Takes a seat and room for a body of so many KiB. When there is none, whoever only waits, and for the longest, is asked to
    /// give way.
    pub(super) async fn take(&self, kibibytes: u32) -> Result<Arc<Seat>, Lack> {
        let full = match self.try_take(kibibytes) {
            Ok(seat) => return Ok(seat),
            Err(full) => full,
        };
        if !self.ask_for(full) {
            return Err(full);
        }
        match tokio::time::timeout(ROOM, self.wait(kibibytes)).await {
            Ok(Ok(seat)) => Ok(seat),
            Ok(Err(_)) | Err(_) => Err(full),
        }
    }

    fn try_take(&self, kibibytes: u32) -> Result<Arc<Seat>, Lack> {
        let full = |what| move |_: TryAcquireError| what;
        let seat = Arc::clone(&self.seats).try_acquire_owned().map_err(full(Lack::Seats))?;
        let body = Arc::clone(&self.bodies).try_acquire_many_owned(kibibytes).map_err(full(Lack::Bodies))?;
        Ok(self.note(Seat::new(seat, body, kibibytes)))
    }

    async fn wait(&self, kibibytes: u32) -> Result<Arc<Seat>, AcquireError> {
        let seat = Arc::clone(&self.seats).acquire_owned().await?;
        // Not in line: who needs little room need not wait for who needs much.
        loop {
            if let Ok(body) = Arc::clone(&self.bodies).try_acquire_many_owned(kibibytes) {
                return Ok(self.note(Seat::new(seat, body, kibibytes)));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    fn note(&self, seat: Seat) -> Arc<Seat> {
        let seat = Arc::new(seat);
        // Nothing that holds the lock can panic half-way through a change.
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|seat| seat.strong_count() > 0);
        taken.push(Arc::downgrade(&seat));
        seat
    }

    /// Asks somebody to give way; whether there was anybody to ask.
    fn ask_for(&self, full: Lack) -> bool {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let seats = taken.iter().filter_map(Weak::upgrade);
        let old = |seat: &Arc<Seat>| match seat.stage() {
            // A wait for a task can end at any time.
            Stage::Waiting => true,
            Stage::Answering => seat.answered_for() >= MOMENT,
            Stage::Receiving | Stage::Computing => seat.age() >= YOUNG,
        };
        let waiting = seats.filter(|seat| !seat.is_hurried() && old(seat));
        let waiting = waiting.filter(|seat| full == Lack::Seats || seat.has_a_body());
        let least = waiting.filter_map(|seat| Some((reluctance(full, seat.stage())?, seat))).min_by(|one, other| {
            one.0.cmp(&other.0).then_with(|| match one.1.stage() {
                Stage::Receiving => one.1.rate().total_cmp(&other.1.rate()),
                _ => other.1.age().cmp(&one.1.age()),
            })
        });
        least.map(|(_, seat)| seat.hurry()).is_some()
    }
}

/// Who is asked last: the higher, the later; `None` is never. A wait that ends early costs its client another question, an
/// answer that breaks off another request, a body all that was sent of it.
fn reluctance(full: Lack, stage: Stage) -> Option<u8> {
    match (full, stage) {
        (_, Stage::Computing) => None,
        (Lack::Seats, Stage::Waiting) | (Lack::Bodies, Stage::Receiving) => Some(0),
        (Lack::Seats, Stage::Answering) | (Lack::Bodies, Stage::Waiting) => Some(1),
        (Lack::Seats, Stage::Receiving) | (Lack::Bodies, Stage::Answering) => Some(2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place with one seat, which was taken long ago.
    async fn taken_long_ago(stage: Stage) -> (Places, Arc<Seat>) {
        let places = Places::new(1, 10 << 10);
        let seat = places.take(5).await.unwrap();
        seat.enter(stage);
        tokio::time::sleep(YOUNG + Duration::from_millis(20)).await;
        (places, seat)
    }

    #[tokio::test]
    async fn who_computes_or_has_just_come_keeps_the_seat() {
        let (places, seat) = taken_long_ago(Stage::Computing).await;
        assert_eq!(places.take(0).await.err(), Some(Lack::Seats));
        assert!(!seat.is_hurried());
        let places = Places::new(1, 10 << 10);
        let seat = places.take(0).await.unwrap();
        seat.enter(Stage::Receiving);
        assert_eq!(places.take(0).await.err(), Some(Lack::Seats));
    }

    #[tokio::test]
    async fn who_waits_gives_way_and_the_next_gets_the_seat() {
        for stage in [Stage::Receiving, Stage::Waiting, Stage::Answering] {
            let (places, seat) = taken_long_ago(stage).await;
            let leaving = tokio::spawn(async move {
                seat.hurried().cancelled().await;
                drop(seat);
            });
            assert!(places.take(10).await.is_ok(), "{stage:?}");
            leaving.await.unwrap();
        }
    }

    #[tokio::test]
    async fn room_for_a_body_is_asked_of_the_slowest_who_sends_one() {
        let places = Places::new(8, 10 << 10);
        let [fast, slow, other] =
            [places.take(4).await, places.take(4).await, places.take(0).await].map(Result::unwrap);
        fast.receive(1000);
        slow.receive(10);
        for seat in [&fast, &slow, &other] {
            seat.enter(Stage::Receiving);
        }
        tokio::time::sleep(YOUNG + Duration::from_millis(20)).await;
        assert!(places.ask_for(Lack::Bodies));
        assert!(slow.is_hurried() && !fast.is_hurried() && !other.is_hurried());
        drop(slow);
        assert!(places.take(5).await.is_ok());
        assert!(places.ask_for(Lack::Seats), "one who sends nothing");
        assert!(other.is_hurried() && !fast.is_hurried());
    }
}
