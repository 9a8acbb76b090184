//! Changes of members in the log of a candidate or of a new primary that are not known there to be committed.
//!
//! Lives here: which votes elect a candidate, and which acknowledgements commit a new primary's first entry, while there
//! are such changes. Not here: the changes themselves (`members`).
//!
//! The library counts by the members that are in force here, which may be those of long ago: after a start this replica
//! does not know yet that a change in its log is committed, and others may go by it already. So votes and
//! acknowledgements are kept from the library until they are a majority by every such change too. With the first entry of
//! a primary's own term everything before it is committed, and the doubt is over.

use std::collections::{BTreeMap, BTreeSet};

use raft::eraftpb::{Message as RaftMessage, MessageType};
use raft::{GetEntriesContext, StateRole};

use super::{Replica, storage};
use crate::membership::Membership;
use crate::types::{EntryKind, NodeId, Position, Term};

/// Who elects this replica in a term, and who holds its first entry.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    term: u64,
    /// None while they cannot be told: the log cannot be read just now.
    changes: Option<Vec<Membership>>,
    voters: BTreeSet<NodeId>,
    votes: Vec<RaftMessage>,
    /// The first position of the term, once it leads.
    first: Option<Position>,
    /// The newest of each member that holds the first entry, kept from the library.
    acks: BTreeMap<NodeId, RaftMessage>,
}

impl Replica {
    /// Whether this may be one of the votes or acknowledgements that count only together with others.
    pub(super) fn is_counted(&self, message: &RaftMessage) -> bool {
        let raft = &self.raw.raft;
        if message.reject || message.term != raft.term {
            return false;
        }
        match message.get_msg_type() {
            MessageType::MsgRequestVoteResponse => raft.state == StateRole::Candidate,
            MessageType::MsgAppendResponse => {
                raft.state == StateRole::Leader && !raft.commit_to_current_term()
            }
            _ => false,
        }
    }

    /// Counts a vote or an acknowledgement. Gives what the library is to be told now, in the order in which it came.
    pub(super) fn count(&mut self, from: NodeId, message: RaftMessage) -> Vec<RaftMessage> {
        if self.doubt.term != message.term {
            self.doubt = Doubt { term: message.term, ..Doubt::default() };
        }
        if self.doubt.changes.is_none() {
            self.doubt.changes = self.changes_in_doubt();
        }
        if message.get_msg_type() == MessageType::MsgRequestVoteResponse {
            self.doubt.voters.insert(from);
            self.doubt.votes.push(message);
            let has = |node| node == self.options.node || self.doubt.voters.contains(&node);
            return match self.is_majority_by_all(has) {
                true => std::mem::take(&mut self.doubt.votes),
                false => Vec::new(),
            };
        }
        if Position(message.index) < self.first_of_term() {
            return vec![message];
        }
        self.doubt.acks.insert(from, message);
        self.take_acks()
    }

    /// The acknowledgements that were kept, once they commit the first entry.
    pub(super) fn take_acks(&mut self) -> Vec<RaftMessage> {
        if self.doubt.acks.is_empty() {
            return Vec::new();
        }
        if self.doubt.term != self.term().0 || self.raw.raft.state != StateRole::Leader {
            self.doubt.acks.clear();
            return Vec::new();
        }
        let holds_itself = self.persisted() >= self.first_of_term();
        let has = |node| match node == self.options.node {
            true => holds_itself,
            false => self.doubt.acks.contains_key(&node),
        };
        match self.is_majority_by_all(has) {
            true => std::mem::take(&mut self.doubt.acks).into_values().collect(),
            false => Vec::new(),
        }
    }

    fn is_majority_by_all(&self, has: impl Fn(NodeId) -> bool) -> bool {
        let changes = self.doubt.changes.as_ref();
        changes.is_some_and(|changes| changes.iter().all(|members| members.is_quorum(&has)))
    }

    /// The first position of the term in which this replica leads.
    fn first_of_term(&mut self) -> Position {
        if let Some(first) = self.doubt.first {
            return first;
        }
        let (term, log) = (self.term(), &self.raw.raft.raft_log);
        let is_own = |position: &u64| log.term(*position).is_ok_and(|of| Term(of) == term);
        let own = (0..=log.last_index()).rev().take_while(is_own).last();
        let first = Position(own.unwrap_or(log.last_index() + 1));
        self.doubt.first = own.map(Position);
        first
    }

    /// Changes of members that stand in the log and are not known to be committed; none if they cannot be told.
    fn changes_in_doubt(&self) -> Option<Vec<Membership>> {
        let log = &self.raw.raft.raft_log;
        let entries =
            log.slice(log.committed + 1, log.last_index() + 1, None, GetEntriesContext::empty(false));
        let changes = entries.ok()?.into_iter().map(storage::from_raft);
        // As when they come into force: one of another origin is void.
        let changes =
            changes.filter(|entry| entry.kind == EntryKind::ConfChange && entry.origin_term == entry.term);
        changes.map(|entry| Membership::decode(&entry.payload).ok()).collect()
    }
}
