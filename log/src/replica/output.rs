//! What a replica asks for and tells.
//!
//! Lives here: the values between a replica and the outside. Not here: what brings them about (`replica`).
//!
//! Invariant: an output is a value; nothing happens by making one.

use crate::message::Message;
use crate::types::{CommittedEntry, NodeId, Position, Term};

/// What a replica is to its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Follows a primary, or waits for one.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads: the only one that takes commands.
    Primary,
}

/// What the replica wants done. In the order given; files of different kinds need no order between them.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send to a peer; may be lost.
    Send {
        /// The peer.
        to: NodeId,
        /// What to tell it.
        message: Message,
    },
    /// Write durably, then call [`crate::Replica::written`] with the same buffer; on any error
    /// [`crate::Replica::write_failed`]. At most one is asked for at a time.
    Write {
        /// Segment to write to; it was prepared before.
        segment: u64,
        /// Where in it; a multiple of the sector size.
        offset: u64,
        /// Whole sectors.
        bytes: Vec<u8>,
    },
    /// Make the segment: `bytes` zeros, synced with its directory; then [`crate::Replica::prepared`] or
    /// [`crate::Replica::prepare_failed`].
    Prepare {
        /// Number of the segment.
        segment: u64,
        /// Its size.
        bytes: u64,
    },
    /// Remove the dead segments and cut the file of the last live one down: what recovery read of them has been
    /// written again. May fail without harm.
    Discard {
        /// Segments that hold nothing of the log.
        segments: Vec<u64>,
        /// Segment whose bytes from this length on are void.
        cut: Option<(u64, u64)>,
    },
    /// Remove these segments: a snapshot held here covers all that is in them. May fail without harm.
    Cut {
        /// Segments that the log does not begin with any more.
        segments: Vec<u64>,
    },
    /// Write durably to slot × sector size of the vote file, then call [`crate::Replica::saved`]; on any error
    /// [`crate::Replica::save_failed`].
    SaveHardState {
        /// Names this save.
        generation: u64,
        /// Slot 0 or 1.
        slot: usize,
        /// One sector.
        bytes: Vec<u8>,
    },
    /// Entries that a majority holds and that are durable here: in order, each exactly once. The primary has
    /// executed its own already; it releases replies by [`crate::Replica::committed`], which may be further on.
    Committed {
        /// The entries.
        entries: Vec<CommittedEntry>,
    },
    /// The members changed: [`crate::Replica::members`].
    MembersChanged {
        /// Position of the entry that says so.
        position: Position,
    },
    /// Role or term changed.
    RoleChanged {
        /// The role from now on.
        role: Role,
        /// The term from now on.
        term: Term,
    },
    /// A round begun by [`crate::Replica::read_index`] is over: a majority still follows this primary.
    ReadReady {
        /// As given.
        context: u64,
        /// What must be applied before the read is answered.
        position: Position,
    },
    /// Read old frames for a lagging peer, then call [`crate::Replica::fetched`].
    Fetch {
        /// First position wanted.
        from: Position,
        /// End of the positions wanted.
        to: Position,
        /// Segment to read.
        segment: u64,
        /// Where to begin.
        offset: u64,
        /// How much to read, at most; the segment may end before.
        bytes: u64,
    },
    /// This member lacks what the leader's log does not hold any more: it should get this snapshot. Said again as long
    /// as that is so; may be ignored meanwhile. Once the file is verified and durable here, a replica that still has not
    /// reached the position starts anew from disk.
    WantSnapshot {
        /// Who has it.
        from: NodeId,
        /// What it covers.
        position: Position,
        /// Term of the entry there.
        term: Term,
    },
    /// The replica has stopped for good: its process must end or recover anew from disk.
    Fenced {
        /// Why.
        reason: FenceReason,
    },
}

/// Why a replica stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FenceReason {
    /// A write to the log failed: what is on disk is unknown.
    #[error("a write to the log failed")]
    WriteFailed,
    /// Term and vote could not be saved.
    #[error("a write to the vote file failed")]
    SaveFailed,
    /// The leader counted on entries that this replica does not have any more.
    #[error("entries that were durable here are gone")]
    LostDurable,
    /// Old entries could not be read back: the disk fails.
    #[error("old entries cannot be read back")]
    FetchFailed,
    /// What was read back is not what was written.
    #[error("old entries are damaged")]
    FetchDamaged,
    /// A committed entry is of a kind that this version does not understand; it must not be skipped.
    #[error("a committed entry of unknown kind")]
    UnknownEntry,
}

/// Why a proposal was not taken. None of these leaves anything in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not the primary.
    #[error("not the primary")]
    NotPrimary,
    /// Leadership is being handed over.
    #[error("leadership is being handed over")]
    Transferring,
    /// Stopped for good.
    #[error("the replica has stopped")]
    Fenced,
    /// Larger than an entry may be.
    #[error("the entry is too large")]
    TooLarge,
    /// No room in the zeroed segments, or too much is uncommitted.
    #[error("the log has no room")]
    NoRoom,
}
