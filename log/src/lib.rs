//! The transaction log of one shard: what an `OK` rests on.
//!
//! Lives here: frames, segments and their recovery; term, vote and identity files; the replica, which is
//! Raft behind a narrow wrapper with the rules that keep acknowledged writes.
//! Not here: files, sockets, clocks, threads, or what a payload means. Time, seeds, messages and
//! completions come in, what to do comes out as [`Output`].
//!
//! Invariant: nothing is acknowledged, voted or served that a power loss at this moment could take back.

mod bytes_at;
mod frame;
mod hard_state;
mod identity;
mod inspect;
mod membership;
mod message;
mod mutant;
mod recovery;
mod replica;
mod segment;
mod types;
mod writer;

pub use frame::{FRAME_HEAD_BYTES, Frame, FrameError, FrameKind};
pub use hard_state::{HardState, HardStateError, VOTE_FILE_SLOTS};
pub use identity::{Identity, IdentityError};
pub use inspect::{Inspected, Inspector, Verdict};
pub use membership::{ChangeRefused, FOUNDER, Member, Membership, MembershipError};
pub use message::{Message, MessageError};
#[cfg(feature = "mutants")]
pub use mutant::Mutant;
pub use mutant::Mutants;
pub use recovery::{
    Recovered, Recovery, RecoveryError, RecoveryOptions, RecoveryStep, Report, SegmentFile, Tail,
};
pub use replica::{FenceReason, Follower, Newcomer, Options, OptionsError, Output, Refused, Replica, Role};
pub use segment::{Layout, SEGMENT_FORMAT_VERSION, SegmentError, SegmentHead};
pub use types::{CommittedEntry, Entry, EntryKind, LogOffset, NodeId, Position, ShardId, Term, Uuid};
pub use writer::{Writer, Written};
