//! Frames: one entry, or one mark, as it stands in a segment.
//!
//! Lives here: the frame's bytes and the check of one frame. Not here: where frames stand (`segment`), who
//! writes them (`writer`), and what a bad one means (`recovery`).
//!
//! Invariant: the checksum begins with the directory's random UUID and covers everything after itself, so
//! neither a payload chosen by a client nor a frame of another directory or place passes for a frame here.

use bytes::Bytes;

use crate::bytes_at::{is_zero, put, u32_at, u64_at};
use crate::segment::Layout;
use crate::types::{Entry, EntryKind, LogOffset, Position, ShardId, Term};

/// Bytes before a frame's payload.
pub const FRAME_HEAD_BYTES: usize = 72;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// An entry.
    Entry(EntryKind),
    /// No entry: a watermark written while the log was idle.
    Mark,
    /// No entry: the last watermark before an orderly stop.
    Closing,
}

impl FrameKind {
    fn tag(self) -> u8 {
        match self {
            Self::Entry(EntryKind::Normal) => 1,
            Self::Entry(EntryKind::ConfChange) => 2,
            Self::Mark => 3,
            Self::Closing => 4,
        }
    }

    fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            1 => Some(Self::Entry(EntryKind::Normal)),
            2 => Some(Self::Entry(EntryKind::ConfChange)),
            3 => Some(Self::Mark),
            4 => Some(Self::Closing),
            _ => None,
        }
    }
}

/// One frame without its payload. All integers little-endian.
///
/// | offset | bytes | field                                                                        |
/// |-------:|------:|------------------------------------------------------------------------------|
/// |      0 |     4 | crc32 of the directory's UUID followed by bytes 4.. to the frame's end        |
/// |      4 |     4 | length of head and payload                                                    |
/// |      8 |     4 | crc32 of the frame before it (for the first of a segment: as in the head)     |
/// |     12 |     4 | shard                                                                         |
/// |     16 |     8 | log offset of this frame                                                      |
/// |     24 |     8 | position; of a mark: the last position before it                              |
/// |     32 |     8 | term; of a mark: the last term before it                                      |
/// |     40 |     8 | term in which the entry was proposed; 0 where nobody did                      |
/// |     48 |     8 | durable watermark: all bytes below this log offset were synced before         |
/// |     56 |     8 | position known to be committed and durable here                               |
/// |     64 |     1 | kind: 1 entry, 2 change of members, 3 mark, 4 closing mark                    |
/// |     65 |     7 | zero                                                                          |
/// |     72 |     n | payload                                                                       |
/// |   72+n |  0..7 | zeros up to a multiple of 8, so that a next frame's head is never cut short    |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Checksum of the frame.
    pub crc: u32,
    /// Bytes of head and payload.
    pub length: u32,
    /// Checksum of the frame before it.
    pub before: u32,
    /// Where the frame stands.
    pub offset: LogOffset,
    /// Position of the entry, or the last one before a mark.
    pub position: Position,
    /// Term of the entry, or the last one before a mark.
    pub term: Term,
    /// Term in which the entry was proposed.
    pub origin_term: Term,
    /// Everything below was synced when this frame was written.
    pub watermark: LogOffset,
    /// Committed and durable here when this frame was written.
    pub committed: Position,
    /// What it holds.
    pub kind: FrameKind,
}

/// Why bytes are not a frame of this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Nothing but zeros up to the end of the sector.
    #[error("nothing written here")]
    Blank,
    /// The length cannot be right.
    #[error("impossible length {length}")]
    Length {
        /// What stands in the length field.
        length: u32,
    },
    /// The checksum does not match.
    #[error("checksum mismatch")]
    Checksum,
    /// The checksum matches but the frame belongs elsewhere or makes no sense.
    #[error("valid checksum, but {0}")]
    Misplaced(&'static str),
}

/// Bytes that a payload of `payload_bytes` takes as a frame.
pub(crate) fn stride_of(payload_bytes: usize) -> usize {
    (FRAME_HEAD_BYTES + payload_bytes).next_multiple_of(8)
}

impl Frame {
    /// Appends the frame of `entry` (or of a mark, without payload) to `bytes`. `crc` and `length` are
    /// computed; those of `self` are not looked at. Gives back the checksum.
    pub(crate) fn encode(&self, layout: &Layout, payload: &[u8], bytes: &mut Vec<u8>) -> u32 {
        let length = FRAME_HEAD_BYTES + payload.len();
        let padding = &[0; 8][..stride_of(payload.len()) - length];
        let mut head = [0_u8; FRAME_HEAD_BYTES];
        put(&mut head, 4, &u32::try_from(length).expect("an entry is far below 4 GiB").to_le_bytes());
        put(&mut head, 8, &self.before.to_le_bytes());
        put(&mut head, 12, &layout.shard.0.to_le_bytes());
        put(&mut head, 16, &self.offset.0.to_le_bytes());
        put(&mut head, 24, &self.position.0.to_le_bytes());
        put(&mut head, 32, &self.term.0.to_le_bytes());
        put(&mut head, 40, &self.origin_term.0.to_le_bytes());
        put(&mut head, 48, &self.watermark.0.to_le_bytes());
        put(&mut head, 56, &self.committed.0.to_le_bytes());
        head[64] = self.kind.tag();
        let mut hasher = layout.frame_hasher();
        hasher.update(&head[4..]);
        hasher.update(payload);
        hasher.update(padding);
        let crc = hasher.finalize();
        put(&mut head, 0, &crc.to_le_bytes());
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(padding);
        crc
    }

    /// Reads the frame that begins at `bytes[0]`, whose place in the log is `offset`; `bytes` ends where the
    /// segment does. The chain (`before`) is the caller's to check.
    pub fn decode(layout: &Layout, bytes: &[u8], offset: LogOffset) -> Result<Self, FrameError> {
        let in_sector = layout.rest_of_sector(offset).min(bytes.len());
        if in_sector < 8 || u32_at(bytes, 4) == 0 {
            let blank = is_zero(&bytes[..in_sector]);
            return Err(if blank { FrameError::Blank } else { FrameError::Length { length: 0 } });
        }
        let length = u32_at(bytes, 4);
        let stride = (length as usize).next_multiple_of(8);
        if (length as usize) < FRAME_HEAD_BYTES || stride > bytes.len() {
            return Err(FrameError::Length { length });
        }
        let mut hasher = layout.frame_hasher();
        hasher.update(&bytes[4..stride]);
        let crc = hasher.finalize();
        if crc != u32_at(bytes, 0) {
            return Err(FrameError::Checksum);
        }
        let frame = Self {
            crc,
            length,
            before: u32_at(bytes, 8),
            offset: LogOffset(u64_at(bytes, 16)),
            position: Position(u64_at(bytes, 24)),
            term: Term(u64_at(bytes, 32)),
            origin_term: Term(u64_at(bytes, 40)),
            watermark: LogOffset(u64_at(bytes, 48)),
            committed: Position(u64_at(bytes, 56)),
            kind: FrameKind::from_tag(bytes[64]).ok_or(FrameError::Misplaced("of unknown kind"))?,
        };
        if ShardId(u32_at(bytes, 12)) != layout.shard {
            return Err(FrameError::Misplaced("of another shard"));
        }
        if frame.offset != offset {
            return Err(FrameError::Misplaced("written for another place"));
        }
        if frame.watermark > offset {
            return Err(FrameError::Misplaced("its watermark is beyond itself"));
        }
        Ok(frame)
    }

    /// Bytes that the frame takes in the log.
    #[must_use]
    pub fn stride(&self) -> usize {
        (self.length as usize).next_multiple_of(8)
    }

    /// The entry of this frame, whose payload is `payload`; `None` for a mark.
    pub(crate) fn entry(&self, payload: Bytes) -> Option<Entry> {
        let FrameKind::Entry(kind) = self.kind else { return None };
        let Self { position, term, origin_term, .. } = *self;
        Some(Entry { position, term, origin_term, kind, payload })
    }
}
