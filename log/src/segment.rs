//! Segments: files of one size that hold the log's frames, each after a head of one sector.
//!
//! Lives here: the head's bytes, and the arithmetic between segments and log offsets.
//! Not here: frames (`frame`), and which segments count (`recovery`).
//!
//! Invariant: a head says where the log before it ends (`cut`). What lies between the cut and the head is void,
//! so a tail cut at recovery stays cut as soon as the next head is durable.

use crc32fast::Hasher;

use crate::bytes_at::{array_at, is_zero, put, u32_at, u64_at};
use crate::types::{LogOffset, Position, ShardId, Uuid};

/// Version of segments and frames that this code writes, and the only one it reads.
pub const SEGMENT_FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"RAMKLOG\n";
/// Bytes of the head that have a meaning; the rest of its sector is zero.
const HEAD_FIELDS_BYTES: usize = 128;

/// What all segments of a shard in one directory share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Whose log it is.
    pub shard: ShardId,
    /// The directory that it was written in.
    pub directory: Uuid,
    /// The cluster that the directory belongs to.
    pub cluster: Uuid,
    /// Size that the device writes at once: a power of two, 512 to 65,536.
    pub sector_bytes: u32,
    /// Size of every segment, head included; a multiple of `sector_bytes`.
    pub segment_bytes: u64,
}

impl Layout {
    /// Default size of a sector: right for today's devices, and safe where it is unknown.
    pub const SECTOR_BYTES: u32 = 4096;
    /// Default size of a segment.
    pub const SEGMENT_BYTES: u64 = 64 << 20;

    /// Whether the sizes are possible.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.sector_bytes.is_power_of_two()
            && (512..=65_536).contains(&self.sector_bytes)
            && self.segment_bytes.is_multiple_of(u64::from(self.sector_bytes))
            && (u64::from(self.sector_bytes) * 2..=1 << 32).contains(&self.segment_bytes)
    }

    /// Log offset of the first byte of `segment`.
    #[must_use]
    pub fn start_of(&self, segment: u64) -> LogOffset {
        LogOffset(segment * self.segment_bytes)
    }

    /// The segment of a log offset.
    #[must_use]
    pub fn segment_of(&self, offset: LogOffset) -> u64 {
        offset.0 / self.segment_bytes
    }

    /// The segment whose bytes end at `end`: an offset at a segment's very end belongs to that segment.
    pub(crate) fn segment_ending_at(&self, end: LogOffset) -> u64 {
        end.0.saturating_sub(1) / self.segment_bytes
    }

    /// Offset inside its segment.
    #[must_use]
    pub fn within(&self, offset: LogOffset) -> u64 {
        offset.0 % self.segment_bytes
    }

    pub(crate) fn sector(&self) -> u64 {
        u64::from(self.sector_bytes)
    }

    /// Rounds up to whole sectors.
    pub(crate) fn padded(&self, bytes: u64) -> u64 {
        bytes.next_multiple_of(self.sector())
    }

    pub(crate) fn rest_of_sector(&self, offset: LogOffset) -> usize {
        (self.sector() - offset.0 % self.sector()) as usize
    }

    pub(crate) fn frame_hasher(&self) -> Hasher {
        let mut hasher = Hasher::new();
        hasher.update(&self.directory.0);
        hasher
    }
}

/// Head of a segment: its first sector. All integers little-endian.
///
/// | offset | bytes | field                                                                        |
/// |-------:|------:|------------------------------------------------------------------------------|
/// |      0 |     4 | crc32 of bytes 4..sector size                                                 |
/// |      4 |     8 | magic `RAMKLOG\n`                                                             |
/// |     12 |     4 | format version, now 1                                                         |
/// |     16 |     4 | shard                                                                         |
/// |     20 |     4 | sector size                                                                   |
/// |     24 |     8 | segment size                                                                  |
/// |     32 |     8 | segment number                                                                |
/// |     40 |    16 | UUID of the directory                                                         |
/// |     56 |    16 | UUID of the cluster                                                           |
/// |     72 |     8 | first position: of the first entry that may follow                            |
/// |     80 |     8 | cut: log offset where the log before this segment ends; 0 for the first ever    |
/// |     88 |     8 | durable watermark when the head was written; never beyond the cut              |
/// |     96 |     4 | crc32 of the last frame before the cut; 0 if none                              |
/// |    100 |     4 | crc32 of the frames written again (next field), 0 if none                      |
/// |    104 |     8 | bytes after this sector that recovery wrote again, whole sectors               |
/// |    112 |     8 | term of the last entry before the first position                               |
/// |    120 |     n | zero up to the sector's end                                                   |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHead {
    /// Number of the segment.
    pub segment: u64,
    /// Position of the first entry that may follow.
    pub first: Position,
    /// Where the log before this segment ends; zero where there is none. Segments count from 1, so no
    /// segment's bytes begin at zero.
    pub cut: LogOffset,
    /// What was durable when the head was written.
    pub watermark: LogOffset,
    /// Checksum of the last frame before the cut.
    pub before: u32,
    /// Checksum of the bytes written again by recovery.
    pub rewritten_crc: u32,
    /// How many bytes recovery wrote again right after the head.
    pub rewritten_bytes: u64,
    /// Term of the entry before `first`.
    pub term_before: u64,
}

/// Why a sector is not a head of this log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Nothing but zeros: a spare that was never used.
    #[error("never written")]
    Blank,
    /// The checksum does not match.
    #[error("checksum mismatch in the head")]
    Checksum,
    /// Not a log segment.
    #[error("not a segment of a log")]
    Magic,
    /// Written by another version.
    #[error("format version {found}, this program reads {SEGMENT_FORMAT_VERSION}")]
    Version {
        /// What the head says.
        found: u32,
    },
    /// Of another shard.
    #[error("belongs to shard {found}, not {expected}")]
    Shard {
        /// What the head says.
        found: u32,
        /// Whose log is read.
        expected: u32,
    },
    /// Written in another directory or cluster.
    #[error("belongs to directory {directory} of cluster {cluster}")]
    Foreign {
        /// The directory in the head.
        directory: Uuid,
        /// The cluster in the head.
        cluster: Uuid,
    },
    /// Written with other sizes.
    #[error("sector size {sector_bytes} and segment size {segment_bytes} are not this log's")]
    Sizes {
        /// Sector size in the head.
        sector_bytes: u32,
        /// Segment size in the head.
        segment_bytes: u64,
    },
    /// The number does not match the file's name.
    #[error("holds segment {found}, not {expected}")]
    Number {
        /// What the head says.
        found: u64,
        /// What the file is called.
        expected: u64,
    },
}

impl SegmentHead {
    /// Appends the head's sector to `bytes`.
    pub(crate) fn encode(&self, layout: &Layout, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.resize(start + layout.sector_bytes as usize, 0);
        let head = &mut bytes[start..];
        put(head, 4, &MAGIC);
        put(head, 12, &SEGMENT_FORMAT_VERSION.to_le_bytes());
        put(head, 16, &layout.shard.0.to_le_bytes());
        put(head, 20, &layout.sector_bytes.to_le_bytes());
        put(head, 24, &layout.segment_bytes.to_le_bytes());
        put(head, 32, &self.segment.to_le_bytes());
        put(head, 40, &layout.directory.0);
        put(head, 56, &layout.cluster.0);
        put(head, 72, &self.first.0.to_le_bytes());
        put(head, 80, &self.cut.0.to_le_bytes());
        put(head, 88, &self.watermark.0.to_le_bytes());
        put(head, 96, &self.before.to_le_bytes());
        put(head, 100, &self.rewritten_crc.to_le_bytes());
        put(head, 104, &self.rewritten_bytes.to_le_bytes());
        put(head, 112, &self.term_before.to_le_bytes());
        let crc = crc32fast::hash(&head[4..]);
        put(head, 0, &crc.to_le_bytes());
    }

    /// Reads the head of the file called `segment` from its first sector.
    pub fn decode(layout: &Layout, bytes: &[u8], segment: u64) -> Result<Self, SegmentError> {
        if is_zero(bytes) {
            return Err(SegmentError::Blank);
        }
        if bytes.len() < HEAD_FIELDS_BYTES {
            return Err(SegmentError::Checksum);
        }
        let sector_bytes = u32_at(bytes, 20);
        let covered = bytes.get(..sector_bytes as usize).ok_or(SegmentError::Checksum)?;
        if covered.len() < HEAD_FIELDS_BYTES || crc32fast::hash(&covered[4..]) != u32_at(covered, 0) {
            return Err(SegmentError::Checksum);
        }
        Self::check_place(layout, covered, segment)?;
        Ok(Self {
            segment,
            first: Position(u64_at(bytes, 72)),
            cut: LogOffset(u64_at(bytes, 80)),
            watermark: LogOffset(u64_at(bytes, 88)),
            before: u32_at(bytes, 96),
            rewritten_crc: u32_at(bytes, 100),
            rewritten_bytes: u64_at(bytes, 104),
            term_before: u64_at(bytes, 112),
        })
    }

    fn check_place(layout: &Layout, bytes: &[u8], segment: u64) -> Result<(), SegmentError> {
        if array_at::<8>(bytes, 4) != MAGIC {
            return Err(SegmentError::Magic);
        }
        let found = u32_at(bytes, 12);
        if found != SEGMENT_FORMAT_VERSION {
            return Err(SegmentError::Version { found });
        }
        let (directory, cluster) = (Uuid(array_at(bytes, 40)), Uuid(array_at(bytes, 56)));
        if (directory, cluster) != (layout.directory, layout.cluster) {
            return Err(SegmentError::Foreign { directory, cluster });
        }
        let found = u32_at(bytes, 16);
        if found != layout.shard.0 {
            return Err(SegmentError::Shard { found, expected: layout.shard.0 });
        }
        let (sector_bytes, segment_bytes) = (u32_at(bytes, 20), u64_at(bytes, 24));
        if (sector_bytes, segment_bytes) != (layout.sector_bytes, layout.segment_bytes) {
            return Err(SegmentError::Sizes { sector_bytes, segment_bytes });
        }
        let found = u64_at(bytes, 32);
        if found != segment {
            return Err(SegmentError::Number { found, expected: segment });
        }
        Ok(())
    }
}
