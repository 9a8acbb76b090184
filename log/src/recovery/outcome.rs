//! What comes of a recovery: what a replica starts with, what the operator is told, or why the log cannot be used.
//!
//! Not here: finding it out (`super`).

use crate::frame::FrameError;
use crate::hard_state::HardState;
use crate::membership::{Membership, MembershipError};
use crate::replica::Places;
use crate::segment::SegmentError;
use crate::types::{Entry, LogOffset, NodeId, Position, Term};

/// Why a log cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// Something that was durable is not readable any more: repair from another zone, never cut.
    #[error("segment {segment}: damaged at byte {offset}: {reason}")]
    Damaged {
        /// Which segment.
        segment: u64,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        reason: FrameError,
    },
    /// The head of a segment that the log needs is damaged.
    #[error("segment {segment}: its head is damaged")]
    DamagedHead {
        /// Which segment.
        segment: u64,
    },
    /// A segment in the middle of the log has no file.
    #[error("segment {segment} is missing")]
    Missing {
        /// Which segment.
        segment: u64,
    },
    /// A file that is not part of this log.
    #[error("segment {segment}: {error}")]
    Foreign {
        /// Which segment.
        segment: u64,
        /// What is wrong with its head.
        error: SegmentError,
    },
    /// The log ends before a position that the vote file knows to be durable.
    #[error("position {committed} was durable, but the log ends at {last}", committed = .committed.0, last = .last.0)]
    LostCommitted {
        /// What was durable.
        committed: Position,
        /// Where the log ends.
        last: Position,
    },
    /// The log begins, or goes on, behind positions that no snapshot here covers.
    #[error(
        "the log goes on at position {first}, and nothing here holds what stands between {last} and it",
        first = .first.0, last = .last.0
    )]
    Gap {
        /// Up to here everything is known.
        last: Position,
        /// Where the log goes on.
        first: Position,
    },
    /// A committed change of members cannot be read.
    #[error("the change of members at position {position}: {error}", position = .position.0)]
    Members {
        /// Where it stands.
        position: Position,
        /// What is wrong with it.
        error: MembershipError,
    },
    /// Sizes that cannot be.
    #[error("impossible sector or segment size")]
    Layout,
}

/// Where and how the log goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Where the log that counts ends; everything below was synced.
    pub cut: LogOffset,
    /// Checksum of the last frame below the cut.
    pub before: u32,
    /// Position and term of the last entry below the cut.
    pub last: (Position, Term),
    /// Entries found beyond the cut, to be written again first.
    pub rewrite: Vec<Entry>,
    /// Term of the position before the first of them.
    pub rewrite_follows: Term,
    /// Segments that count, with the first position that may follow in each, oldest first.
    pub live: Vec<(u64, Position)>,
    /// Number of the next segment to be made; a file of that number or a higher one is a spare to be replaced.
    pub next_segment: u64,
    /// Files that hold nothing of the log, once `rewrite` is written.
    pub dead: Vec<u64>,
    /// Segment whose bytes from this length on are void, once `rewrite` is written.
    pub void_from: Option<(u64, u64)>,
    /// Segment whose bytes from this length on hold nothing even now.
    pub blank_from: Option<(u64, u64)>,
}

/// What recovery did, for the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Segments that count.
    pub segments: u64,
    /// Frames read.
    pub frames: u64,
    /// Where reading ended.
    pub end: LogOffset,
    /// Everything below was known to be synced.
    pub watermark: LogOffset,
    /// Why the tail was cut at `end`; `None` if nothing followed.
    pub torn: Option<FrameError>,
    /// Bytes written after `end`, which fell.
    pub cut_bytes: u64,
    /// Whole frames among them.
    pub cut_frames: u64,
    /// Frames beyond the watermark, which are written again.
    pub rewritten_frames: u64,
    /// Files that are not part of the log any more.
    pub dead_segments: Vec<u64>,
}

/// What a replica starts with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The vote file's content.
    pub hard_state: HardState,
    /// Term to go on with: at least that of the last entry.
    pub term: Term,
    /// Vote in that term.
    pub vote: NodeId,
    /// The position before the first that the log's files hold; not above what a snapshot covers.
    pub base: Position,
    /// What a snapshot covers.
    pub covered: Position,
    /// Known to be committed.
    pub committed: Position,
    /// Given out by recovery already.
    pub applied: Position,
    /// Last position of the log.
    pub last: Position,
    /// First position of each stretch of one term.
    pub terms: Vec<(Position, Term)>,
    /// The members as of `applied`, if any entry given out changed them.
    pub members: Option<Membership>,
    /// All entries after `applied`.
    pub unapplied: Vec<Entry>,
    pub(crate) places: Places,
    /// Where the log goes on.
    pub tail: Tail,
}
