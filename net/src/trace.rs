//! The trace of a run: a rolling hash over all its events, and the last of them for printing.
//!
//! Lives here: recording. Not here: what is worth recording; that say the link model, the disk, the server
//! and the campaigns, each through the same [`Trace`].
//!
//! Invariant: the hash depends on every event's time, kind, node and numbers, and on their order, on nothing else.

use crate::random::mix;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

/// Numbers kept per event for printing; the hash covers all.
const NUMBERS_KEPT: usize = 6;

/// A cheap handle on one run's trace.
#[derive(Clone)]
pub struct Trace {
    inner: Rc<RefCell<Inner>>,
}

struct Inner {
    hash: u64,
    count: u64,
    last: VecDeque<Event>,
    last_max: usize,
}

/// One recorded event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Place in the run, from 0.
    pub index: u64,
    /// Simulated time since the start of the run.
    pub time_ns: u64,
    /// What happened.
    pub kind: &'static str,
    /// To which node.
    pub node: u32,
    /// Rolling hash after this event.
    pub hash: u64,
    numbers: [u64; NUMBERS_KEPT],
    numbers_count: u8,
}

impl Event {
    /// The event's first few numbers.
    pub fn numbers(&self) -> &[u64] {
        &self.numbers[..usize::from(self.numbers_count)]
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanoseconds) = (self.time_ns / 1_000_000_000, self.time_ns % 1_000_000_000);
        write!(f, "{:>8} {seconds:>5}.{nanoseconds:09} node {} {}", self.index, self.node, self.kind)?;
        self.numbers().iter().try_for_each(|number| write!(f, " {number}"))
    }
}

impl Trace {
    /// An empty trace that keeps the last `last_max` events.
    pub fn new(last_max: usize) -> Self {
        Self { inner: Rc::new(RefCell::new(Inner { hash: 0, count: 0, last: VecDeque::new(), last_max })) }
    }

    /// Adds one event.
    pub fn record(&self, time_ns: u64, kind: &'static str, node: u32, numbers: &[u64]) {
        let mut inner = self.inner.borrow_mut();
        let mut hash = mix(inner.hash ^ time_ns);
        for chunk in kind.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = mix(hash ^ u64::from_le_bytes(word));
        }
        hash = mix(hash ^ u64::from(node) ^ ((numbers.len() as u64) << 32));
        for number in numbers {
            hash = mix(hash.rotate_left(17) ^ number);
        }
        inner.hash = hash;
        let index = inner.count;
        inner.count += 1;
        if inner.last_max == 0 {
            return;
        }
        if inner.last.len() == inner.last_max {
            inner.last.pop_front();
        }
        let mut kept = [0; NUMBERS_KEPT];
        let numbers_count = numbers.len().min(NUMBERS_KEPT);
        kept[..numbers_count].copy_from_slice(&numbers[..numbers_count]);
        let numbers_count = numbers_count as u8;
        inner.last.push_back(Event { index, time_ns, kind, node, hash, numbers: kept, numbers_count });
    }

    /// Hash over all events so far.
    pub fn hash(&self) -> u64 {
        self.inner.borrow().hash
    }

    /// Number of events so far.
    pub fn count(&self) -> u64 {
        self.inner.borrow().count
    }

    /// The last events, oldest first.
    pub fn last_events(&self) -> Vec<Event> {
        self.inner.borrow().last.iter().copied().collect()
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner.borrow();
        f.debug_struct("Trace").field("hash", &inner.hash).field("count", &inner.count).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_sees_time_kind_node_numbers_and_order() {
        let run = |events: &[(u64, &'static str, u32, &[u64])]| {
            let trace = Trace::new(4);
            events.iter().for_each(|(time, kind, node, numbers)| trace.record(*time, kind, *node, numbers));
            trace.hash()
        };
        let base = run(&[(1, "a", 1, &[1, 2]), (2, "b", 1, &[])]);
        assert_eq!(base, run(&[(1, "a", 1, &[1, 2]), (2, "b", 1, &[])]));
        assert_ne!(base, run(&[(2, "b", 1, &[]), (1, "a", 1, &[1, 2])]));
        assert_ne!(base, run(&[(1, "a", 1, &[2, 1]), (2, "b", 1, &[])]));
        assert_ne!(base, run(&[(1, "a", 2, &[1, 2]), (2, "b", 1, &[])]));
        assert_ne!(base, run(&[(1, "ab", 1, &[1, 2]), (2, "", 1, &[])]));
    }

    #[test]
    fn only_the_last_events_are_kept() {
        let trace = Trace::new(2);
        (0..5).for_each(|time| trace.record(time, "tick", 3, &[time]));
        let kept = trace.last_events();
        assert_eq!(kept.iter().map(|event| event.index).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(kept[1].to_string(), "       4     0.000000004 node 3 tick 4");
        assert_eq!(trace.count(), 5);
    }
}
