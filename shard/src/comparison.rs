//! Replicas compared: every replica with data digests them at one position of the log, and all compare.
//!
//! Lives here: when the primary marks a position, the digest made bit by bit while commands go on, what others told,
//! and what follows from a difference. Not here: the digest of an entry (`engine::keyspace`), carrying digests to others
//! (the node).
//!
//! A difference means that a replica applied something wrongly, or that its memory is damaged, and nobody can say yet
//! who is right. So from then on nothing is thrown away that could tell: no log is cut and no older snapshot removed.
//! Where two others agree the one that differs is known: it serves nothing any more, and begins anew with their data. Where
//! nobody knows who is right, also at a second mark, those who follow read their own snapshot and log again, and all are
//! asked anew; if they still differ the primary hands over and does the same. Each does so once.
//!
//! Invariant: a digest counts only when its position is committed in the term that executed it, as for snapshots.

use crate::payload::Payload;
use crate::{Executed, FenceCause, Output, Shard, State};
use ramkeep_engine::slot::{SLOT_COUNT, slot_of};
use ramkeep_engine::time::Now;
use ramkeep_log::{LogOffset, NodeId, Position, Term};
use std::collections::BTreeMap;

/// Parts of the keyspace, by slot, that are digested apart: a difference is told by its parts.
pub const RANGES: usize = 16;
const _: () = assert!((SLOT_COUNT as usize).is_multiple_of(RANGES));
/// Entries of one slice, about.
const ENTRIES_PER_SLICE: usize = 128;
/// In doubt the primary marks again after so long.
const DOUBT_MARK_NS: u64 = 2_000_000_000;
/// It marks no more often for that.
const DOUBT_MARKS_MAX: u32 = 16;
/// So often must they differ before those who follow read their logs again: by then a third replica has been heard, if
/// there is one.
const DOUBT_MARKS_TO_READ: u32 = 2;
/// So often before the primary yields: by then the others have read theirs.
const DOUBT_MARKS_TO_YIELD: u32 = 3;
const _: () = assert!(DOUBT_MARKS_TO_READ < DOUBT_MARKS_TO_YIELD && DOUBT_MARKS_TO_YIELD < DOUBT_MARKS_MAX);
/// Members whose digests are kept; more than a shard has.
const OTHERS_MAX: usize = 64;

/// What a replica's data were after one position, as sums over its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateDigest {
    pub position: Position,
    /// Term of the entry there.
    pub term: Term,
    pub ranges: [u128; RANGES],
}

/// Two or more replicas hold different data after the same position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    pub position: Position,
    /// Members that differ from the most.
    pub odd: Vec<NodeId>,
    /// Whether `odd` are in the minority; otherwise nobody knows who is right.
    pub is_known: bool,
    /// Slots in which something differs, as the numbers of their ranges.
    pub ranges: Vec<usize>,
    /// Replicas that were compared.
    pub compared: usize,
}

#[derive(Default)]
pub(crate) struct Comparison {
    /// Being made, or made and not certain yet.
    running: Option<Running>,
    /// The newest of this replica.
    own: Option<StateDigest>,
    others: BTreeMap<NodeId, StateDigest>,
    /// Where the log ended at the last mark.
    log_end: LogOffset,
    divergence: Option<Divergence>,
    doubt: Doubt,
}

/// What was done since replicas differ and nobody knows who is right.
#[derive(Default)]
struct Doubt {
    /// Positions at which they did.
    marks: u32,
    /// Those of them that were found by a primary: who has just become one does not yield for what was before.
    marks_led: u32,
    has_read_again: bool,
    has_yielded: bool,
    /// When the primary marked last, or began to doubt.
    marked_ns: Option<u64>,
}

struct Running {
    digest: StateDigest,
    has_more: bool,
}

impl Shard {
    /// The primary marks a position when the log has grown long enough since the last mark.
    pub(crate) fn mark_by_length(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let limit = self.engine.config.settings().digest_log_bytes;
        let Some(replica) = &self.replica else { return };
        if limit == 0 || self.state != State::Leading || replica.is_alone() || !self.has_genesis {
            return;
        }
        let (_, end) = replica.log_span();
        let grown = end.0.saturating_sub(self.comparison.log_end.0);
        if grown < limit.max(self.engine.data.used_memory()) || !self.is_cursor_free() || self.has_open_turn()
        {
            return;
        }
        if self.room_bytes() < self.room_wanted() || self.handover.is_some() {
            return;
        }
        self.comparison.log_end = end;
        self.mark(now, outputs);
    }

    /// Replicas differ and nobody knows who is right: memory may be wrong where the log is right. Those who follow read
    /// theirs again; a primary that still differs from them later hands over, follows, and does so too.
    pub(crate) fn settle_doubt(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let is_in_doubt = self.comparison.divergence.as_ref().is_some_and(|found| !found.is_known);
        if !is_in_doubt || self.options.is_log_only {
            return;
        }
        let is_ahead = self.is_ahead_of_applied();
        let doubt = &mut self.comparison.doubt;
        let marked_ns = *doubt.marked_ns.get_or_insert(now.monotonic_ns);
        match self.state {
            State::Following if doubt.marks >= DOUBT_MARKS_TO_READ && !doubt.has_read_again && !is_ahead => {
                doubt.has_read_again = true;
                self.read_log_again(outputs);
            }
            State::Leading if doubt.marks_led >= DOUBT_MARKS_TO_YIELD && !doubt.has_yielded => {
                // Without an heir it goes on, and tries again at the next mark.
                doubt.marks_led -= 1;
                self.comparison.doubt.has_yielded = self.transfer(None, now, outputs).is_ok();
            }
            State::Leading
                if doubt.marks < DOUBT_MARKS_MAX && now.monotonic_ns >= marked_ns + DOUBT_MARK_NS =>
            {
                doubt.marked_ns = Some(now.monotonic_ns);
                self.mark(now, outputs);
            }
            _ => {}
        }
    }

    /// Marks the position after everything executed so far; only a primary with a free cursor can.
    pub fn mark(&mut self, now: Now, outputs: &mut Vec<Output>) {
        self.end_turn(now, outputs);
        if self.state != State::Leading || !self.is_cursor_free() {
            return;
        }
        let shard_ms = self.clock.now_ms(now);
        let Some(replica) = &mut self.replica else { return };
        let term = replica.term();
        let mark = Payload { is_last: true, is_mark: true, shard_ms, effects: &[] };
        match replica.propose(mark.encode()) {
            Ok(position) => {
                let before = self.executed.filter(|executed| executed.term == term);
                let first = before.map_or(position, |executed| executed.first);
                self.executed = Some(Executed { term, first, last: position });
                self.begin_digest(position, term, outputs);
                self.pump(now, outputs);
            }
            // It has changed nothing in memory; the next one may do.
            Err(_) => self.comparison.log_end = LogOffset(0),
        }
    }

    /// A snapshot whose cursor is at its end lets go of it only when it has its name.
    fn is_cursor_free(&self) -> bool {
        !self.is_making_snapshot() && !self.engine.data.databases().snapshot_is_running()
    }

    /// A marked position has been reached: memory is the state that is to be digested. Where a snapshot is being made
    /// the mark is passed over.
    pub(crate) fn begin_digest(&mut self, position: Position, term: Term, outputs: &mut Vec<Output>) {
        if !self.is_cursor_free() {
            return;
        }
        self.engine.data.databases_mut_for_snapshot().begin_snapshot();
        let digest = StateDigest { position, term, ranges: [0; RANGES] };
        self.comparison.running = Some(Running { digest, has_more: true });
        outputs.push(Output::Digest);
    }

    /// Whether a digest holds the cursor.
    pub(crate) fn is_digesting(&self) -> bool {
        self.comparison.running.as_ref().is_some_and(|running| running.has_more)
    }

    /// Digests the next entries; false when there are no more.
    pub fn digest_slice(&mut self) -> bool {
        let Some(running) = self.comparison.running.as_mut().filter(|running| running.has_more) else {
            return false;
        };
        if !self.engine.data.databases().snapshot_is_running() {
            // The data were replaced, and the cursor with them: what was summed up is of no use.
            self.comparison.running = None;
            return false;
        }
        let ranges = &mut running.digest.ranges;
        running.has_more = self.engine.data.databases_mut_for_snapshot().step_snapshot(
            ENTRIES_PER_SLICE,
            &mut |database, entry| {
                let range = usize::from(slot_of(entry.key()).0) / (usize::from(SLOT_COUNT) / RANGES);
                let turned = entry.digest().rotate_left(database as u32 * 7);
                ranges[range] = ranges[range].wrapping_add(turned.wrapping_mul(database as u128 * 2 + 1));
            },
        );
        running.has_more
    }

    /// The cursor was let go: what was begun with it ends here.
    pub(crate) fn forget_digest(&mut self) {
        self.comparison.running.take_if(|running| running.has_more);
    }

    /// A finished digest counts once its position is committed and durable here.
    pub(crate) fn settle_digest(&mut self, outputs: &mut Vec<Output>) {
        let Some(running) = &self.comparison.running else { return };
        let digest = running.digest;
        if running.has_more || !self.is_certain_at(digest.position, digest.term) {
            return;
        }
        self.comparison.running = None;
        self.comparison.own = Some(digest);
        self.engine.log.digest_position = digest.position.0;
        outputs.push(Output::Digested(digest));
        self.compare(outputs);
    }

    /// This replica's data are others now.
    pub(crate) fn forget_comparison(&mut self) {
        self.comparison = Comparison::default();
        let log = &mut self.engine.log;
        (log.digest_position, log.digest_agreed, log.digest_differs) = (0, 0, 0);
    }

    /// The newest digest of this replica's data.
    pub fn digested(&self) -> Option<StateDigest> {
        self.comparison.own
    }

    /// Replicas were found to differ, since the start.
    pub fn divergence(&self) -> Option<&Divergence> {
        self.comparison.divergence.as_ref()
    }

    /// Another member told of its newest digest.
    pub fn digest_told(&mut self, from: NodeId, digest: StateDigest, now: Now, outputs: &mut Vec<Output>) {
        self.end_turn(now, outputs);
        if self.replica.as_ref().is_none_or(|replica| replica.members().get(from).is_none()) {
            return;
        }
        let others = &mut self.comparison.others;
        // A member that came again under a new id is one, not two, also while both are members.
        others.retain(|other, _| *other == from || other.node() != from.node());
        if others.len() >= OTHERS_MAX && !others.contains_key(&from) {
            return;
        }
        if others.insert(from, digest) != Some(digest) {
            self.compare(outputs);
        }
    }

    /// Compares the digests of the newest position that more than one member has digested.
    fn compare(&mut self, outputs: &mut Vec<Output>) {
        let Some(replica) = &self.replica else { return };
        let me = replica.node();
        // Whoever was replaced is asked no more.
        let members = replica.members();
        self.comparison.others.retain(|id, _| members.get(*id).is_some());
        let own = self.comparison.own.map(|own| (me, own));
        let all: Vec<(NodeId, StateDigest)> =
            own.into_iter().chain(self.comparison.others.iter().map(|(id, digest)| (*id, *digest))).collect();
        let agreed = |of: &StateDigest| all.iter().filter(|(_, other)| other == of).count() as u64;
        self.engine.log.digest_agreed = self.comparison.own.map_or(0, |own| agreed(&own));
        let Some(mark) = newest_mark(&all) else { return };
        let found = match divergence_at(mark, &all) {
            Ok(compared) => {
                // All of them agree again, later: the one that was wrong has been made anew.
                let is_over =
                    |before: &mut Divergence| before.position < mark.0 && before.compared <= compared;
                if self.comparison.divergence.take_if(is_over).is_some() {
                    self.engine.log.digest_differs = 0;
                    self.comparison.doubt = Doubt::default();
                }
                return;
            }
            Err(found) if self.comparison.divergence.as_ref() == Some(&found) => return,
            Err(found) => found,
        };
        self.engine.log.digest_differs = found.position.0;
        let is_later = self.comparison.divergence.as_ref().is_none_or(|it| it.position < found.position);
        if is_later && !found.is_known {
            let doubt = &mut self.comparison.doubt;
            doubt.marks += 1;
            doubt.marks_led += u32::from(self.state == State::Leading);
        }
        let is_odd = found.is_known && found.odd.contains(&me);
        outputs.push(Output::Diverged(found.clone()));
        let position = found.position.0;
        self.comparison.divergence = Some(found);
        if is_odd {
            self.fence(
                FenceCause::Differs,
                format!("its data differ from those of the other replicas after position {position}"),
                outputs,
            );
        }
    }
}

/// The newest marked position that two or more have digested.
fn newest_mark(all: &[(NodeId, StateDigest)]) -> Option<(Position, Term)> {
    let mut marks: Vec<(Position, Term)> =
        all.iter().map(|(_, digest)| (digest.position, digest.term)).collect();
    marks.sort_unstable();
    marks.windows(2).rev().find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// How many agree at a marked position, or what differs there.
fn divergence_at(mark: (Position, Term), all: &[(NodeId, StateDigest)]) -> Result<usize, Divergence> {
    let here: Vec<_> = all.iter().filter(|(_, digest)| (digest.position, digest.term) == mark).collect();
    let alike = |of: &StateDigest| here.iter().filter(|(_, other)| other == of).count();
    let most = here.iter().max_by_key(|(id, digest)| (alike(digest), std::cmp::Reverse(*id)));
    let Some((_, usual)) = most else { return Ok(0) };
    let odd: Vec<NodeId> = here.iter().filter(|(_, digest)| digest != usual).map(|(id, _)| *id).collect();
    if odd.is_empty() {
        return Ok(here.len());
    }
    let differs =
        |range: &usize| here.iter().any(|(_, digest)| digest.ranges[*range] != usual.ranges[*range]);
    Err(Divergence {
        position: mark.0,
        is_known: alike(usual) > odd.len(),
        odd,
        ranges: (0..RANGES).filter(differs).collect(),
        compared: here.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(id: u64, position: u64, sum: u128) -> (NodeId, StateDigest) {
        let mut ranges = [0; RANGES];
        ranges[3] = sum;
        (NodeId(id), StateDigest { position: Position(position), term: Term(1), ranges })
    }

    fn divergence(all: &[(NodeId, StateDigest)]) -> Option<Divergence> {
        newest_mark(all).and_then(|mark| divergence_at(mark, all).err())
    }

    #[test]
    fn digests_of_one_position_are_compared_and_others_are_not() {
        assert_eq!(divergence(&[]), None);
        assert_eq!(divergence(&[told(1, 5, 1), told(2, 6, 2)]), None);
        assert_eq!(divergence(&[told(1, 5, 1), told(2, 5, 1), told(3, 6, 9)]), None);
        let found = divergence(&[told(1, 5, 1), told(2, 5, 2), told(3, 6, 9)]).expect("a difference");
        assert_eq!((found.position, found.is_known, found.ranges), (Position(5), false, vec![3]));
    }

    #[test]
    fn of_three_the_odd_one_is_known() {
        let found = divergence(&[told(1, 5, 7), told(2, 5, 8), told(3, 5, 7)]).expect("a difference");
        assert_eq!((found.odd, found.is_known), (vec![NodeId(2)], true));
        let all_differ = divergence(&[told(1, 5, 7), told(2, 5, 8), told(3, 5, 9)]).expect("a difference");
        assert!(!all_differ.is_known);
    }
}
