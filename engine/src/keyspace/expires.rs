//! Deadlines in order.
//!
//! Lives here: which key is due next, how many keys have a deadline, their average.
//! Not here: the deadlines themselves (each entry carries its own) and deciding what time it is.
//!
//! Invariant: holds (deadline, slot, hash) of exactly the entries that have a deadline; keys without one cost
//! nothing.

use super::table::below;
use crate::hash::KeyHash;
use crate::slot::Slot;
use rand_core::RngCore;
use std::collections::BTreeSet;

/// Deadlines passed over at random behind the moment drawn.
const PASSED_MAX: usize = 32;

/// Bytes counted for a deadline: 16 of its own in tree nodes that are on average two thirds full.
pub const DEADLINE_BYTES: u64 = 24;

#[derive(Default, Debug)]
pub struct Expires {
    due: BTreeSet<Due>,
    length: usize,
    deadlines_sum: i128,
}

/// Ordered by deadline, then place, so that every node expires in the same order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Due {
    pub deadline_ms: i64,
    /// Slot above the upper 48 bits of the hash.
    place: u64,
}

impl Due {
    pub fn new(deadline_ms: i64, at: KeyHash) -> Due {
        Due { deadline_ms, place: u64::from(at.slot.0) << 48 | at.hash >> 16 }
    }

    /// Slot and hash; the lower 16 bits of the hash are zero.
    pub fn at(self) -> KeyHash {
        KeyHash { hash: self.place << 16, slot: Slot((self.place >> 48) as u16) }
    }
}

impl Expires {
    pub fn len(&self) -> usize {
        self.length
    }

    pub fn insert(&mut self, due: Due) {
        self.due.insert(due);
        self.length += 1;
        self.deadlines_sum += i128::from(due.deadline_ms);
    }

    /// Takes one deadline out. `is_shared`: another entry has the same deadline and place.
    pub fn remove(&mut self, due: Due, is_shared: bool) {
        if !is_shared {
            assert!(self.due.remove(&due), "every deadline is in the index");
        }
        self.length -= 1;
        self.deadlines_sum -= i128::from(due.deadline_ms);
    }

    /// The earliest deadline, if it is not after `now_ms`.
    pub fn next_due(&self, now_ms: i64) -> Option<Due> {
        self.due.first().copied().filter(|due| due.deadline_ms <= now_ms)
    }

    /// A deadline near a moment drawn between the first and the last, in bounded work: not uniform where deadlines
    /// crowd together.
    pub fn random(&self, rng: &mut impl RngCore) -> Option<Due> {
        let (first, last) = (self.due.first()?.deadline_ms, self.due.last()?.deadline_ms);
        let span = usize::try_from(last.abs_diff(first)).unwrap_or(usize::MAX).saturating_add(1);
        let deadline_ms = first.saturating_add_unsigned(below(rng, span) as u64);
        let passed = below(rng, PASSED_MAX.min(self.due.len()));
        let behind = self.due.range(Due { deadline_ms, place: 0 }..);
        behind.chain(self.due.iter()).nth(passed).copied()
    }

    /// Mean time left; 0 when no key has a deadline or all are past.
    pub fn average_ttl_ms(&self, now_ms: i64) -> i64 {
        if self.length == 0 {
            return 0;
        }
        let average = self.deadlines_sum / self.length as i128 - i128::from(now_ms);
        i64::try_from(average.max(0)).unwrap_or(i64::MAX)
    }

    pub fn memory_bytes(&self) -> u64 {
        self.length as u64 * DEADLINE_BYTES
    }
}
