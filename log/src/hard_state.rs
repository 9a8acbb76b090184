//! Term and vote: the promises of a member that must outlive a crash.
//!
//! Lives here: the two slots of the vote file and which of them counts.
//! Not here: when a promise is made (`replica`), and the file itself.
//!
//! Invariant: every promise is written twice, first into the older slot, then, once that is synced, into the
//! other one. So one damaged slot never takes a promise back, and a torn write damages only one slot.

use crate::bytes_at::{array_at, put, u32_at, u64_at};
use crate::segment::Layout;
use crate::types::{NodeId, Position, Term};

/// Slots of a vote file; slot `n` begins at `n` × sector size.
pub const VOTE_FILE_SLOTS: usize = 2;

const MAGIC: [u8; 8] = *b"RAMKVOTE";
const VERSION: u32 = 1;
const FLAG_TRANSFERRED: u32 = 1;

/// What a member has promised. One slot of the vote file; all integers little-endian.
///
/// | offset | bytes | field                                                            |
/// |-------:|------:|------------------------------------------------------------------|
/// |      0 |     4 | crc32 of bytes 4..sector size                                     |
/// |      4 |     8 | magic `RAMKVOTE`                                                  |
/// |     12 |     4 | format version, now 1                                             |
/// |     16 |     4 | shard                                                             |
/// |     20 |     4 | flags: bit 0 = leadership of this term was handed over            |
/// |     24 |     8 | generation: the higher of two good slots counts                   |
/// |     32 |     8 | term                                                              |
/// |     40 |     8 | member voted for in this term, 0 if none                          |
/// |     48 |     8 | position known to be committed and durable here                   |
/// |     56 |     8 | member that promises                                              |
/// |     64 |    16 | UUID of the directory                                             |
/// |     80 |    16 | UUID of the cluster                                               |
/// |     96 |     n | zero up to the sector's end                                       |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// Counts the saves; its lowest bit is the slot.
    pub generation: u64,
    /// Latest term seen.
    pub term: Term,
    /// Whom it voted for in `term`; zero if nobody.
    pub vote: NodeId,
    /// Committed and durable here, as known when it was saved.
    pub committed: Position,
    /// Who promises.
    pub member: NodeId,
    /// Leadership of `term` was handed over: no lease any more in it.
    pub transferred: bool,
}

/// Why a vote file does not allow to vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HardStateError {
    /// Neither slot holds a promise that can be trusted: the member must not vote.
    #[error("both slots of the vote file are damaged")]
    BothDamaged,
    /// The file belongs to another member, directory, cluster or shard.
    #[error("the vote file belongs to another member, directory or shard")]
    Foreign,
    /// Written by another version.
    #[error("vote file of format version {found}, this program reads {VERSION}")]
    Version {
        /// What the slot says.
        found: u32,
    },
}

impl HardState {
    /// The bytes of a slot: one sector.
    #[must_use]
    pub fn encode(&self, layout: &Layout) -> Vec<u8> {
        let mut slot = vec![0; layout.sector_bytes as usize];
        put(&mut slot, 4, &MAGIC);
        put(&mut slot, 12, &VERSION.to_le_bytes());
        put(&mut slot, 16, &layout.shard.0.to_le_bytes());
        put(&mut slot, 20, &(if self.transferred { FLAG_TRANSFERRED } else { 0 }).to_le_bytes());
        put(&mut slot, 24, &self.generation.to_le_bytes());
        put(&mut slot, 32, &self.term.0.to_le_bytes());
        put(&mut slot, 40, &self.vote.0.to_le_bytes());
        put(&mut slot, 48, &self.committed.0.to_le_bytes());
        put(&mut slot, 56, &self.member.0.to_le_bytes());
        put(&mut slot, 64, &layout.directory.0);
        put(&mut slot, 80, &layout.cluster.0);
        let crc = crc32fast::hash(&slot[4..]);
        put(&mut slot, 0, &crc.to_le_bytes());
        slot
    }

    /// The slot that a save of `generation` goes to.
    #[must_use]
    pub fn slot_of(generation: u64) -> usize {
        (generation % VOTE_FILE_SLOTS as u64) as usize
    }

    /// A whole new vote file: both slots promise nothing. It is made with its directory, before the identity is,
    /// so a blank slot is a damaged one.
    #[must_use]
    pub fn new_file(layout: &Layout, member: NodeId) -> Vec<u8> {
        let nothing = Self { member, ..Self::default() };
        let mut file = nothing.encode(layout);
        file.extend(Self { generation: 1, ..nothing }.encode(layout));
        file
    }

    /// Reads a vote file: the two slots one after the other. Its generation is such that the next one's slot is
    /// the one that may be lost.
    pub fn read(layout: &Layout, member: NodeId, file: &[u8]) -> Result<Self, HardStateError> {
        let sector = layout.sector_bytes as usize;
        let slot = |number: usize| file.get(number * sector..(number + 1) * sector).unwrap_or(&[]);
        let first = Self::read_slot(layout, member, slot(0))?;
        let second = Self::read_slot(layout, member, slot(1))?;
        match (first, second) {
            // The newer one may live only in the page cache, so the next save goes to its slot once more, not to
            // the only one that is certainly on disk.
            (Some(one), Some(two)) => {
                let newer = if one.generation > two.generation { one } else { two };
                Ok(Self { generation: newer.generation + 1, ..newer })
            }
            (Some(one), None) | (None, Some(one)) => Ok(one),
            (None, None) => Err(HardStateError::BothDamaged),
        }
    }

    fn read_slot(layout: &Layout, member: NodeId, slot: &[u8]) -> Result<Option<Self>, HardStateError> {
        if slot.len() < 96 || crc32fast::hash(&slot[4..]) != u32_at(slot, 0) || array_at(slot, 4) != MAGIC {
            return Ok(None);
        }
        let found = u32_at(slot, 12);
        if found != VERSION {
            return Err(HardStateError::Version { found });
        }
        let good = Self {
            generation: u64_at(slot, 24),
            term: Term(u64_at(slot, 32)),
            vote: NodeId(u64_at(slot, 40)),
            committed: Position(u64_at(slot, 48)),
            member: NodeId(u64_at(slot, 56)),
            transferred: u32_at(slot, 20) & FLAG_TRANSFERRED != 0,
        };
        let is_ours = u32_at(slot, 16) == layout.shard.0
            && array_at(slot, 64) == layout.directory.0
            && array_at(slot, 80) == layout.cluster.0
            && good.member == member;
        if is_ours { Ok(Some(good)) } else { Err(HardStateError::Foreign) }
    }
}
