//! The verified snapshots of the node's directory, and who is using them.
//!
//! Lives here: which snapshots were read to their end and found right by this process, leases that keep one from being
//! removed, claims that keep two from making the same. Not here: files (`snapshot`), carrying them (`transfer`).
//!
//! Invariant: a snapshot that somebody holds a lease of is not removed, and what is not verified is not given to anybody.

use ramkeep_engine::rdb::{Foot, Head};
use ramkeep_log::{Position, Term};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A snapshot file that has its name, durably, and was read back from the medium and found right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedSnapshot {
    pub head: Head,
    pub foot: Foot,
    /// Length of the file.
    pub bytes: u64,
}

impl VerifiedSnapshot {
    /// It is the state after this position.
    pub fn position(&self) -> Position {
        Position(self.head.position)
    }

    /// Term of the entry at its position.
    pub fn term(&self) -> Term {
        Term(self.head.term)
    }
}

#[derive(Default)]
struct Inner {
    verified: RefCell<BTreeMap<Position, VerifiedSnapshot>>,
    /// How many leases there are of each.
    leased: RefCell<BTreeMap<Position, usize>>,
    claimed: RefCell<BTreeSet<Position>>,
    bytes_served: Cell<u64>,
    /// Set by a simulation alone.
    piece_bytes: Cell<Option<u32>>,
}

/// Bytes of a file asked for at once: sealing and checking them keeps others waiting for some 0.1 ms.
const PIECE_BYTES: u32 = 64 << 10;

/// See the head of this file.
#[derive(Clone, Default)]
pub struct Holdings(Rc<Inner>);

/// Keeps a snapshot from being removed until it is dropped.
pub struct Lease {
    inner: Rc<Inner>,
    pub snapshot: VerifiedSnapshot,
}

/// The sole right to make the file of one position, until it is dropped.
pub struct Claim {
    inner: Rc<Inner>,
    position: Position,
}

impl Holdings {
    /// It is here from now on.
    pub fn add(&self, snapshot: VerifiedSnapshot) {
        self.0.verified.borrow_mut().insert(snapshot.position(), snapshot);
    }

    /// It is not to be used any more: it will be removed, or turned out to be unreadable.
    pub fn forget(&self, position: Position) {
        self.0.verified.borrow_mut().remove(&position);
    }

    /// None of them is here any more.
    pub fn clear(&self) {
        self.0.verified.borrow_mut().clear();
    }

    /// Whether any is being made or fetched.
    pub fn are_claimed(&self) -> bool {
        !self.0.claimed.borrow().is_empty()
    }

    pub fn newest(&self) -> Option<VerifiedSnapshot> {
        self.0.verified.borrow().values().next_back().cloned()
    }

    pub fn is_verified(&self, position: Position) -> bool {
        self.0.verified.borrow().contains_key(&position)
    }

    pub fn is_leased(&self, position: Position) -> bool {
        self.0.leased.borrow().contains_key(&position)
    }

    /// The snapshot of this position and term, kept here until the lease is dropped.
    pub fn lease(&self, position: Position, term: Term) -> Option<Lease> {
        let snapshot = self.0.verified.borrow().get(&position).filter(|it| it.term() == term).cloned()?;
        *self.0.leased.borrow_mut().entry(position).or_default() += 1;
        Some(Lease { inner: Rc::clone(&self.0), snapshot })
    }

    /// The right to make the file of this position; none while somebody else has it.
    pub fn claim(&self, position: Position) -> Option<Claim> {
        let is_free = self.0.claimed.borrow_mut().insert(position);
        is_free.then(|| Claim { inner: Rc::clone(&self.0), position })
    }

    /// Bytes of a file that this node asks for at once.
    pub fn piece_bytes(&self) -> u32 {
        self.0.piece_bytes.get().unwrap_or(PIECE_BYTES)
    }

    /// Small files are fetched as large ones are, if this is small too.
    pub fn set_piece_bytes(&self, bytes: u32) {
        self.0.piece_bytes.set(Some(bytes));
    }

    /// Bytes of snapshots that went to other nodes since the start.
    pub fn bytes_served(&self) -> u64 {
        self.0.bytes_served.get()
    }

    pub(crate) fn count_served(&self, bytes: u64) {
        self.0.bytes_served.set(self.bytes_served() + bytes);
    }

    /// Of the snapshots at `present`, those that are too many when `kept_max` stay: verified ones stay before others,
    /// newer ones before older, and one with a lease in any case.
    pub fn surplus(&self, present: &[Position], kept_max: usize) -> Vec<Position> {
        let mut ranked = present.to_vec();
        ranked.sort_unstable_by_key(|position| (!self.is_verified(*position), std::cmp::Reverse(*position)));
        ranked.split_off(kept_max.min(present.len())).into_iter().filter(|it| !self.is_leased(*it)).collect()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let position = self.snapshot.position();
        let mut leased = self.inner.leased.borrow_mut();
        let count = leased.get_mut(&position).expect("a lease is counted until it is dropped");
        *count -= 1;
        if *count == 0 {
            leased.remove(&position);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.inner.claimed.borrow_mut().remove(&self.position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ramkeep_engine::hash::HashKey;

    fn snapshot(position: u64, term: u64) -> VerifiedSnapshot {
        let hash_key = HashKey([1, 2]);
        let head =
            Head { shard: 0, cluster: [1; 16], position, term, shard_ms: 0, hash_key, members: Vec::new() };
        VerifiedSnapshot { head, foot: Foot { keys: 1, digest: 2 }, bytes: 100 }
    }

    fn positions(numbers: &[u64]) -> Vec<Position> {
        numbers.iter().copied().map(Position).collect()
    }

    #[test]
    fn a_leased_snapshot_is_never_too_much() {
        let holdings = Holdings::default();
        (1..=4).for_each(|number| holdings.add(snapshot(number, 1)));
        let lease = holdings.lease(Position(1), Term(1)).expect("it is there");
        let again = holdings.lease(Position(1), Term(1)).expect("twice");
        assert_eq!(holdings.surplus(&positions(&[4, 3, 2, 1]), 2), positions(&[2]));
        drop(lease);
        assert_eq!(holdings.surplus(&positions(&[4, 3, 2, 1]), 2), positions(&[2]));
        drop(again);
        assert_eq!(holdings.surplus(&positions(&[4, 3, 2, 1]), 2), positions(&[2, 1]));
    }

    #[test]
    fn a_verified_one_stays_before_a_newer_one_that_is_not() {
        let holdings = Holdings::default();
        holdings.add(snapshot(5, 2));
        assert_eq!(holdings.surplus(&positions(&[9, 7, 5]), 1), positions(&[9, 7]));
        assert_eq!(holdings.surplus(&positions(&[9, 7, 5]), 2), positions(&[7]));
        assert_eq!(holdings.surplus(&positions(&[9, 7, 5]), 7), []);
    }

    #[test]
    fn only_the_snapshot_of_the_right_term_is_given() {
        let holdings = Holdings::default();
        holdings.add(snapshot(5, 2));
        assert!(holdings.lease(Position(5), Term(3)).is_none());
        assert!(holdings.lease(Position(4), Term(2)).is_none());
        assert_eq!(holdings.newest(), Some(snapshot(5, 2)));
        holdings.forget(Position(5));
        assert!(holdings.lease(Position(5), Term(2)).is_none());
    }

    #[test]
    fn a_position_is_made_by_one_at_a_time() {
        let holdings = Holdings::default();
        let claim = holdings.claim(Position(3)).expect("free");
        assert!(holdings.claim(Position(3)).is_none());
        assert!(holdings.claim(Position(4)).is_some());
        drop(claim);
        assert!(holdings.claim(Position(3)).is_some());
    }
}
