//! Numbers of the log, kept apart by type.
//!
//! Lives here: positions, terms, ids, and an entry as the log sees it. Not here: how any of them is stored.
//!
//! Invariant: a [`Position`] is the Raft index: it starts at 1 and has no gaps; zero means "nothing yet".

use std::fmt;

use bytes::Bytes;

/// Place of an entry in the shard's history: the Raft index, from 1 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// Before the first entry.
    pub const ZERO: Self = Self(0);

    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Number of a leadership; each has at most one leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

/// Number of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u32);

/// Id of a Raft member: a node together with its incarnation. A node that comes back with an empty disk
/// takes a new incarnation, so it can never vote under the old id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl NodeId {
    /// Member id of `node` (1 or more) in its `incarnation`: `node << 32 | incarnation`.
    #[must_use]
    pub fn of(node: u32, incarnation: u32) -> Self {
        Self(u64::from(node) << 32 | u64::from(incarnation))
    }

    /// The node, without its incarnation.
    #[must_use]
    pub fn node(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// How many times the node has been given a fresh directory.
    #[must_use]
    pub fn incarnation(self) -> u32 {
        self.0 as u32
    }
}

/// Place in the log's bytes: segment number × segment size + offset in the segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogOffset(pub u64);

/// Random id of a directory or a cluster; drawn by the caller.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                formatter.write_str("-")?;
            }
            write!(formatter, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// What an entry is to Raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A payload of the shard, or nothing at all: the first entry of each leadership is empty.
    Normal,
    /// A change of the members.
    ConfChange,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Place in the history.
    pub position: Position,
    /// Term of the leader that appended it.
    pub term: Term,
    /// Term in which it was proposed; zero in entries that nobody proposed. Where it differs from `term`
    /// the entry was computed by a leader that had already been deposed, and appliers ignore it.
    pub origin_term: Term,
    /// What it is.
    pub kind: EntryKind,
    /// What the shard wrote.
    pub payload: Bytes,
}

impl Entry {
    /// The entry as appliers see it: without its payload where the origin's term does not match, or where it is a change
    /// of members, which is none of theirs.
    pub fn into_committed(self) -> CommittedEntry {
        let genuine = self.origin_term == self.term && self.kind == EntryKind::Normal;
        let payload = if genuine { self.payload } else { Bytes::new() };
        CommittedEntry { position: self.position, term: self.term, payload }
    }
}

/// An entry that a majority holds durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedEntry {
    /// Place in the history.
    pub position: Position,
    /// Term of the leader that appended it.
    pub term: Term,
    /// What the shard wrote; empty for the first entry of a leadership and for an ignored one.
    pub payload: Bytes,
}
