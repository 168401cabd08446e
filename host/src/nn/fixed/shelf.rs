//! Which input shapes are worth a model of their own.
//!
//! Owns counting the shapes that were seen, and which of them has something kept for it. Must never know what is kept.

/// The lengths of all inputs of a run, in the order of the graph's inputs.
pub(in crate::nn) type Shapes = Vec<Vec<u32>>;

/// So often a shape is seen before anything is made for it: that costs as much as it then saves in some hundred runs, and most
/// shapes never come back.
pub(in crate::nn) const SIGHTINGS: u32 = 64;
/// So many shapes are remembered: as many as thirty photographs of different proportions have levels.
const REMEMBERED: usize = 256;
/// So many of them have something made for them.
const MADE: usize = 48;
/// The most elements that the inputs of all of those hold together, for what is made grows with them: some four times what the levels
/// of a portrait and of a landscape have.
const ELEMENTS: usize = 2 << 20;

/// Things of one kind, by the shapes that they are made for.
pub(super) struct Shelf<T> {
    entries: Vec<Entry<T>>,
    /// Counts the runs.
    now: u64,
}

struct Entry<T> {
    shapes: Shapes,
    sightings: u32,
    first: u64,
    last: u64,
    state: State<T>,
}

enum State<T> {
    Seen,
    /// Being made, or it turned out that it cannot be.
    Spoken,
    Made(T),
}

/// What is known of the shapes of a run.
#[derive(Debug, PartialEq)]
pub(super) enum Known<'a, T> {
    /// There is something for them.
    Made(&'a mut T),
    /// From now on it is worth it: the caller makes it, and nobody else is told so.
    Due,
    /// Nothing yet.
    Seen,
}

impl<T> Shelf<T> {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new(), now: 0 }
    }

    /// Counts a run with these shapes.
    pub(super) fn meet(&mut self, shapes: &Shapes) -> Known<'_, T> {
        self.now += 1;
        let now = self.now;
        let Some(at) = self.entries.iter().position(|entry| entry.shapes == *shapes) else {
            self.remember(shapes);
            return Known::Seen;
        };
        let entry = &mut self.entries[at];
        entry.last = now;
        entry.sightings = entry.sightings.saturating_add(1);
        if matches!(entry.state, State::Seen) && entry.sightings >= SIGHTINGS && self.make_room(at) {
            self.entries[at].state = State::Spoken;
            return Known::Due;
        }
        match &mut self.entries[at].state {
            State::Made(thing) => Known::Made(thing),
            State::Seen | State::Spoken => Known::Seen,
        }
    }

    /// Puts up what was made for shapes that were due. They may have been forgotten meanwhile.
    pub(super) fn put(&mut self, shapes: &Shapes, thing: T) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.shapes == *shapes) {
            entry.state = State::Made(thing);
        }
    }

    /// Takes in new shapes, for the ones that were not met for the longest time.
    fn remember(&mut self, shapes: &Shapes) {
        if self.entries.len() == REMEMBERED {
            let oldest = self.entries.iter().enumerate().filter(|(_, entry)| matches!(entry.state, State::Seen));
            let Some((at, _)) = oldest.min_by_key(|(_, entry)| entry.last) else { return };
            self.entries.swap_remove(at);
        }
        let (shapes, now) = (shapes.clone(), self.now);
        self.entries.push(Entry { shapes, sightings: 1, first: now, last: now, state: State::Seen });
    }

    /// Makes room for one more thing, whether there is any: only what was not met since the newcomer was first seen goes, so that
    /// shapes that take turns do not push each other out.
    fn make_room(&mut self, newcomer: usize) -> bool {
        let wanted = elements(&self.entries[newcomer].shapes);
        let since = self.entries[newcomer].first;
        let taken = |entry: &Entry<T>| !matches!(entry.state, State::Seen);
        loop {
            let held = self.entries.iter().filter(|entry| taken(entry));
            let (count, sum) = held.fold((0, 0), |(count, sum), entry| (count + 1, sum + elements(&entry.shapes)));
            if count < MADE && wanted.saturating_add(sum) <= ELEMENTS {
                return true;
            }
            let made = self.entries.iter_mut().filter(|entry| matches!(entry.state, State::Made(_)));
            match made.min_by_key(|entry| entry.last).filter(|entry| entry.last < since) {
                Some(idle) => (idle.state, idle.sightings) = (State::Seen, 0),
                None => return false,
            }
        }
    }
}

/// How many elements inputs of these shapes hold; they were checked, so that they lie in memory.
fn elements(shapes: &Shapes) -> usize {
    shapes.iter().map(|shape| shape.iter().map(|length| *length as usize).product::<usize>()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(side: u32) -> Shapes {
        vec![vec![1, side]]
    }

    impl<T> Shelf<T> {
        /// What was made for these shapes, without a run.
        fn made(&mut self, shapes: &Shapes) -> Option<&mut T> {
            self.entries.iter_mut().find(|entry| entry.shapes == *shapes).and_then(|entry| match &mut entry.state {
                State::Made(thing) => Some(thing),
                _ => None,
            })
        }
    }

    /// Meets a shape until it is due; whether it ever was.
    fn make(shelf: &mut Shelf<u32>, side: u32) -> bool {
        let due = (0..2 * SIGHTINGS).any(|_| shelf.meet(&shape(side)) == Known::Due);
        if due {
            shelf.put(&shape(side), side);
        }
        due
    }

    #[test]
    fn a_shape_is_due_once_when_it_was_seen_often() {
        let mut shelf = Shelf::new();
        assert!((1..SIGHTINGS).all(|_| shelf.meet(&shape(7)) == Known::Seen));
        assert_eq!(shelf.meet(&shape(7)), Known::Due);
        assert_eq!(shelf.meet(&shape(7)), Known::Seen);
        assert_eq!(shelf.made(&shape(7)), None);
        shelf.put(&shape(7), 7);
        assert_eq!(shelf.meet(&shape(7)), Known::Made(&mut 7));
        assert_eq!(shelf.meet(&shape(8)), Known::Seen);
    }

    #[test]
    fn what_is_idle_makes_room_and_what_is_used_stays() {
        let mut shelf = Shelf::new();
        assert!((1..=MADE as u32).all(|side| make(&mut shelf, side)));
        // Whatever was not met since the newcomer came may go, the one that was not met for longest first.
        assert!(make(&mut shelf, 1000));
        assert_eq!(shelf.made(&shape(1)), None);
        assert_eq!(shelf.made(&shape(2)), Some(&mut 2));
        let mut shelf = Shelf::new();
        assert!((1..=MADE as u32).all(|side| make(&mut shelf, side)));
        // All are met between two sightings of the newcomer.
        for _ in 0..2 * SIGHTINGS {
            assert_eq!(shelf.meet(&shape(1000)), Known::Seen);
            assert!((1..=MADE as u32).all(|side| shelf.meet(&shape(side)) == Known::Made(&mut side.clone())));
        }
    }

    #[test]
    fn neither_large_shapes_nor_many_fill_the_memory() {
        let mut shelf = Shelf::new();
        assert!(!make(&mut shelf, ELEMENTS as u32 + 1));
        assert!(make(&mut shelf, ELEMENTS as u32 - 1));
        assert!(make(&mut shelf, 1));
        assert!(shelf.made(&shape(ELEMENTS as u32 - 1)).is_some());
        for side in 10..10_000 {
            assert_eq!(shelf.meet(&shape(side)), Known::Seen);
        }
        assert_eq!(shelf.entries.len(), REMEMBERED);
        assert!(shelf.made(&shape(1)).is_some(), "what was made is not forgotten for what was only seen");
    }
}
