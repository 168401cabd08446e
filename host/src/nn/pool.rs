//! Things lent to one borrower at a time.
//!
//! Owns who holds what and who waits. Must never know what is lent.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A fixed set of interchangeable things. The lock is held only to push or pop one.
pub(crate) struct Pool<T> {
    idle: Mutex<Vec<T>>,
    returned: Condvar,
}

impl<T> Pool<T> {
    pub(crate) fn new(things: Vec<T>) -> Self {
        Self { idle: Mutex::new(things), returned: Condvar::new() }
    }

    /// Borrows the thing that came back last, whose memory is the warmest, waiting for one until `deadline`.
    pub(crate) fn take(&self, deadline: Instant) -> Option<Lease<'_, T>> {
        let mut idle = self.idle();
        loop {
            if let Some(thing) = idle.pop() {
                return Some(Lease { pool: self, thing: Some(thing) });
            }
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            (idle, _) = self.returned.wait_timeout(idle, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    // Nothing can panic between taking the lock and giving it back that would leave the list half changed.
    fn idle(&self) -> MutexGuard<'_, Vec<T>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A borrowed thing; it goes back when this is dropped, also when the borrower panics.
pub(crate) struct Lease<'p, T> {
    pool: &'p Pool<T>,
    thing: Option<T>,
}

impl<T> Deref for Lease<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.thing.as_ref().expect("a lease holds its thing until it is dropped")
    }
}

impl<T> DerefMut for Lease<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.thing.as_mut().expect("a lease holds its thing until it is dropped")
    }
}

impl<T> Drop for Lease<'_, T> {
    fn drop(&mut self) {
        self.pool.idle().extend(self.thing.take());
        self.pool.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_more_are_lent_than_there_are() {
        let pool = Pool::new(vec![(), ()]);
        let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let deadline = Instant::now() + Duration::from_secs(30);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let lease = pool.take(deadline).expect("every borrower gets its turn");
                        most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        thread::sleep(Duration::from_micros(50));
                        held.fetch_sub(1, Ordering::SeqCst);
                        drop(lease);
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 2);
    }

    #[test]
    fn waiting_ends_at_the_deadline() {
        let pool = Pool::new(vec![7]);
        let lease = pool.take(Instant::now()).expect("an idle thing needs no waiting, whatever the deadline");
        let start = Instant::now();
        assert!(pool.take(start + Duration::from_millis(30)).is_none());
        assert!(start.elapsed() >= Duration::from_millis(30));
        assert_eq!(*lease, 7);
    }

    #[test]
    fn a_panicking_borrower_gives_back() {
        let pool = Pool::new(vec![7]);
        let borrower = thread::scope(|scope| {
            scope
                .spawn(|| {
                    let _lease = pool.take(Instant::now());
                    panic!("on purpose");
                })
                .join()
        });
        assert!(borrower.is_err());
        assert!(pool.take(Instant::now()).is_some());
    }
}
