//! Where old entries stand on disk.
//!
//! Lives here: a sparse index from positions to log offsets. Not here: reading.
//!
//! Invariant: a stretch of the index never spans two segments, and a superseded position has no place but its
//! last one.

use crate::segment::Layout;
use crate::types::{LogOffset, Position};

/// Length of a stretch within a segment.
pub(super) const STRIDE_BYTES: u64 = 256 << 10;

/// The frame of each position begins at its stretch's offset or after it, in the same segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    stretches: Vec<(Position, LogOffset)>,
}

impl Places {
    /// Notes where the frame of a position begins.
    pub fn note(&mut self, layout: &Layout, position: Position, offset: LogOffset) {
        self.stretches.truncate(self.stretches.partition_point(|(from, _)| *from < position));
        let continues = self.stretches.last().is_some_and(|(_, last)| {
            layout.segment_of(*last) == layout.segment_of(offset) && offset.0 < last.0 + STRIDE_BYTES
        });
        if !continues {
            self.stretches.push((position, offset));
        }
    }

    /// Where to begin reading for `position`.
    pub fn of(&self, position: Position) -> Option<LogOffset> {
        let after = self.stretches.partition_point(|(from, _)| *from <= position);
        after.checked_sub(1).map(|index| self.stretches[index].1)
    }
}
