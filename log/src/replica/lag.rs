//! Members that lack what the log does not hold any more, and how far it may be cut.
//!
//! Lives here: pointing such a member to a snapshot, wanting the one that was pointed to, the cut.
//! Not here: the snapshots' files and how they travel (`ramkeep-server`).
//!
//! A pointer is no snapshot in Raft's sense: to the receiver's Raft it is an append of nothing behind an entry that
//! is committed, so a wrong or late one changes nothing. The file is fetched and verified first; then the replica
//! starts anew from disk, where recovery puts the snapshot in the place of a log that does not reach it.
//!
//! Invariant: every voter can rebuild the shard from its own disk: it cuts only below a snapshot that it holds itself.

use raft::eraftpb::{Message as RaftMessage, MessageType};
use raft::{ProgressState, SnapshotStatus, StateRole};

use super::{Output, Replica, Role};
use crate::types::{NodeId, Position, Term};

/// A pointer may get lost: the member that was pointed to a snapshot is asked again where it is after so long.
const POINT_AGAIN_TICKS: u64 = 20;
/// The log is kept for a member that was heard within this time.
const WAITED_FOR_NS: u64 = 60_000_000_000;

/// A snapshot that another member holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    from: NodeId,
    position: Position,
    term: Term,
}

impl Replica {
    /// A leader points to a snapshot.
    pub(super) fn receive_pointer(&mut self, pointer: RaftMessage) {
        let found = Pointer {
            from: NodeId(pointer.from),
            position: Position(pointer.index),
            term: Term(pointer.log_term),
        };
        let leaders_base = Position(pointer.commit);
        let mut append = RaftMessage { commit: 0, ..pointer };
        append.set_msg_type(MessageType::MsgAppend);
        self.step(append);
        let follows = self.role() == Role::Follower && self.leader() == Some(found.from);
        let reaches = self.term_of(found.position) == Some(found.term);
        if follows && !reaches && self.committed() < leaders_base {
            self.wanted = Some(found);
        }
    }

    /// An answer of a member that was pointed to a snapshot and has come near enough to be fed from the log: at once,
    /// though the snapshot was a later one.
    pub(super) fn note_answer(&mut self, message: &RaftMessage) {
        let raft = &mut self.raw.raft;
        let is_refusal = message.get_msg_type() == MessageType::MsgAppendResponse && message.reject;
        if !is_refusal || raft.state != StateRole::Leader || message.term != raft.term {
            return;
        }
        let (reaches, _) = raft.raft_log.find_conflict_by_term(message.reject_hint, message.log_term);
        let base = raft.raft_log.store.base().0;
        let progress = raft.mut_prs().get_mut(message.from);
        if let Some(progress) = progress.filter(|it| it.state == ProgressState::Snapshot && reaches >= base) {
            progress.become_probe();
            progress.next_idx = message.index + 1;
        }
    }

    /// Asks members again that were pointed to a snapshot.
    pub(super) fn tick_lag(&mut self) {
        if self.raw.raft.state != StateRole::Leader {
            return;
        }
        self.ticks_led += 1;
        if self.ticks_led.is_multiple_of(POINT_AGAIN_TICKS) {
            let pointed: Vec<u64> =
                self.raw.raft.prs().iter().filter(is_pointed).map(|(id, _)| *id).collect();
            for id in pointed {
                // It says where it is in its answer; if it still lacks the snapshot it is pointed to it again.
                self.raw.report_snapshot(id, SnapshotStatus::Failure);
            }
        }
    }

    /// Remembers to which snapshots members are pointed.
    pub(super) fn note_pointed(&mut self, messages: &[RaftMessage]) {
        let base = self.base();
        for message in messages.iter().filter(|it| it.get_msg_type() == MessageType::MsgSnapshot) {
            let position = Position(message.get_snapshot().get_metadata().index);
            // The first one counts until it has come: the log after it is what will be needed.
            let pointed = self.pointed.entry(NodeId(message.to)).or_insert(position);
            if *pointed < base {
                *pointed = position;
            }
        }
    }

    /// Says which snapshot it should have.
    pub(super) fn drain_wanted(&mut self, outputs: &mut Vec<Output>) {
        if let Some(Pointer { from, position, term }) = self.wanted.take() {
            outputs.push(Output::WantSnapshot { from, position, term });
        }
    }

    /// A snapshot of the state after `position`, which was committed and is durable here, is held in this very
    /// directory, verified and durable with its name. The log below it is let go, whole segments at a time.
    pub fn snapshot_held(&mut self, position: Position) {
        assert!(
            position <= self.committed() && position <= self.persisted(),
            "a snapshot is of what is committed and durable here"
        );
        let Some(term) = self.term_of(position).filter(|_| position > self.covered) else { return };
        self.covered = position;
        self.raw.mut_store().snapshot_held(position, term);
    }

    /// Lets go of segments that the snapshot covers, once everything in them was handed out.
    pub(super) fn cut(&mut self, outputs: &mut Vec<Output>) {
        let applied = Position(self.raw.raft.raft_log.applied);
        if self.covered > applied || !self.writer.may_cut(self.covered) {
            return;
        }
        let until = self.covered.min(self.kept_for_others());
        let segments = self.writer.cut(until);
        if segments.is_empty() {
            return;
        }
        let first = self.writer.first().expect("the current segment stays");
        self.raw.mut_store().cut_to(Position(first.0 - 1));
        outputs.push(Output::Cut { segments });
    }

    /// A primary keeps the log that others are about to need, within a bound: to feed them from it costs less than a
    /// snapshot. Gives the position up to which nobody needs it.
    fn kept_for_others(&self) -> Position {
        let (start, end) = self.log_span();
        let is_long = end.0.saturating_sub(start.0) > self.options.kept_bytes_max;
        if self.raw.raft.state != StateRole::Leader || is_long {
            return Position(u64::MAX);
        }
        let base = self.base();
        let needs = self.raw.raft.prs().iter().filter_map(|(id, progress)| {
            let heard_ns = self.heard_ns.get(&NodeId(*id))?;
            let is_heard = self.now_ns < heard_ns + WAITED_FOR_NS;
            // It will have the snapshot that it was pointed to.
            let pointed = self.pointed.get(&NodeId(*id)).copied().unwrap_or_default();
            let has = Position(progress.matched).max(pointed);
            (is_heard && has >= base).then_some(has)
        });
        needs.min().unwrap_or(Position(u64::MAX))
    }
}

fn is_pointed((_, progress): &(&u64, &raft::Progress)) -> bool {
    progress.state == ProgressState::Snapshot
}

/// A pointer as it travels: position and term stand where an append has those of the entry before it, and where the
/// leader's log begins, for whom its answer will show to be near enough, as the committed position.
pub(super) fn pointer_of(mut message: RaftMessage, base: Position) -> RaftMessage {
    if message.get_msg_type() == MessageType::MsgSnapshot && message.has_snapshot() {
        let snapshot = message.take_snapshot();
        message.index = snapshot.get_metadata().index;
        message.log_term = snapshot.get_metadata().term;
        message.commit = base.0;
    }
    message
}
