//! What a replica tells of itself.
//!
//! Not here: anything that changes it.

use raft::StateRole;

use super::{FenceReason, Replica, Role};
use crate::types::{LogOffset, NodeId, Position, Term};

impl Replica {
    /// Its role, true at this very moment.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.raw.raft.state {
            _ if self.fenced.is_some() => Role::Follower,
            StateRole::Leader => Role::Primary,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            StateRole::Follower => Role::Follower,
        }
    }

    /// Whether it is the primary and everything committed before its term was handed out: only then may
    /// commands be executed.
    #[must_use]
    pub fn is_ready_primary(&self) -> bool {
        self.role() == Role::Primary && self.raw.raft.apply_to_current_term()
    }

    /// Latest term seen.
    #[must_use]
    pub fn term(&self) -> Term {
        Term(self.raw.raft.term)
    }

    /// Last position of the log, durable or not.
    #[must_use]
    pub fn last(&self) -> Position {
        Position(self.raw.raft.raft_log.last_index())
    }

    /// Last position that a majority holds durably.
    #[must_use]
    pub fn committed(&self) -> Position {
        Position(self.raw.raft.raft_log.committed)
    }

    /// Last position that is durable here.
    #[must_use]
    pub fn persisted(&self) -> Position {
        Position(self.raw.raft.raft_log.persisted)
    }

    /// Term of a position in the log, if it holds it.
    #[must_use]
    pub fn term_of(&self, position: Position) -> Option<Term> {
        if position > self.last() {
            return None;
        }
        self.raw.raft.raft_log.term(position.0).ok().map(Term)
    }

    /// The primary, if known.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        Some(NodeId(self.raw.raft.leader_id)).filter(|leader| leader.0 != 0)
    }

    /// Why it has stopped, if it has.
    #[must_use]
    pub fn fenced(&self) -> Option<FenceReason> {
        self.fenced
    }

    /// Largest payload of one entry.
    #[must_use]
    pub fn entry_bytes_max(&self) -> u64 {
        self.options.entry_bytes_max
    }

    /// Payload bytes that will certainly be taken now.
    #[must_use]
    pub fn room_bytes(&self) -> u64 {
        let uncommitted_room = self.options.uncommitted_bytes_max.saturating_sub(self.uncommitted_bytes);
        self.writer.room_bytes().min(uncommitted_room)
    }

    /// Whether reads may be answered without a round.
    #[must_use]
    pub fn lease_valid(&self, now_ns: u64) -> bool {
        self.is_ready_primary() && (self.is_alone() || self.lease.is_valid(now_ns))
    }

    /// Whether leadership of this term was offered to another: there is no lease in it any more, only rounds.
    #[must_use]
    pub fn has_given_up_lease(&self) -> bool {
        self.lease.is_given_up(self.term())
    }

    /// This member.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.options.node
    }

    /// Shortest time after which a voter that hears no primary may elect another.
    #[must_use]
    pub fn election_timeout_ns(&self) -> u64 {
        self.options.election_ticks as u64 * self.options.tick_ns()
    }

    /// How long the write under way has taken so far.
    #[must_use]
    pub fn write_waits_ns(&self, now_ns: u64) -> u64 {
        self.write_begun_ns.map_or(0, |begun_ns| now_ns.saturating_sub(begun_ns))
    }

    /// The primary's lease: how much of it is left.
    #[must_use]
    pub fn lease_left_ns(&self, now_ns: u64) -> u64 {
        if self.is_ready_primary() { self.lease.left_ns(now_ns) } else { 0 }
    }

    /// When this voter last said something.
    #[must_use]
    pub fn heard_ns(&self, node: NodeId) -> Option<u64> {
        self.heard_ns.get(&node).copied()
    }

    /// Whether this voter keeps the log and no data.
    #[must_use]
    pub fn is_log_only(&self, node: NodeId) -> bool {
        self.members.get(node).is_some_and(|member| member.is_log_only)
    }

    /// The voters, this one among them.
    #[must_use]
    pub fn voters(&self) -> Vec<NodeId> {
        self.members.voters()
    }

    /// Where the log begins on disk and where its last synced write ends.
    #[must_use]
    pub fn log_span(&self) -> (LogOffset, LogOffset) {
        let end = self.writer.durable();
        (self.writer.start().unwrap_or(end), end)
    }

    /// Position before the first that the log can still give.
    #[must_use]
    pub fn base(&self) -> Position {
        self.raw.store().base()
    }
}
