//! A database as it was at one moment, read bit by bit while it changes.
//!
//! Lives here: the part of a snapshot that belongs to one database: how far its cursor is, what was kept.
//! Not here: the order of databases, FLUSH and SWAPDB (`databases`); files.
//!
//! A segment that the cursor has not passed is in one of two states. Unmarked: it holds what it held when the
//! snapshot began. Marked with the snapshot's epoch: its entries of that moment were cloned (kept) or given
//! already, and whatever it holds now is of no interest. Halves of a split inherit the mark. Siblings are kept
//! before they merge; if just one of them was passed by the cursor, the mark of the other makes the cursor
//! pass over both.
//!
//! Invariant: each entry of the moment of the beginning is given exactly once, from its segment or from what
//! was kept of it.

use super::Keyspace;
use super::entry::Entry;
use super::segment::Segment;
use crate::slot::{SLOT_COUNT, Slot};

/// See the head of this file.
pub struct Part {
    /// Number of the snapshot; greater than every mark made before.
    epoch: u32,
    /// Number of the database when the snapshot began.
    number: usize,
    /// Slot (as if 16 bits) above the hash: everything before it was given.
    position: u128,
    /// A list for each segment kept: one list of all would be copied as a whole when it grows. None is empty.
    kept: Vec<Vec<Entry>>,
    kept_bytes: u64,
}

const DONE: u128 = (SLOT_COUNT as u128) << 64;

impl Part {
    pub fn new(epoch: u32, number: usize) -> Part {
        Part { epoch, number, position: 0, kept: Vec::new(), kept_bytes: 0 }
    }

    pub fn number(&self) -> usize {
        self.number
    }

    pub fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// Clones the entries of a segment that is about to change, unless the snapshot has them already.
    pub fn keep(&mut self, slot: Slot, segment: &mut Segment) {
        let start = place(slot.0, segment.path.start());
        if segment.mark == self.epoch || start < self.position {
            return;
        }
        segment.mark = self.epoch;
        segment.iter().for_each(Entry::prefetch);
        let entries: Vec<Entry> = segment.iter().cloned().collect();
        if !entries.is_empty() {
            self.kept_bytes += entries.iter().map(kept_bytes).sum::<u64>();
            self.kept.push(entries);
        }
    }

    /// Takes one kept entry out.
    fn take_kept(&mut self) -> Option<Entry> {
        let entry = self.kept.last_mut()?.pop().expect("no list is empty");
        self.kept_bytes -= kept_bytes(&entry);
        self.kept.pop_if(|entries| entries.is_empty());
        Some(entry)
    }
}

impl Keyspace {
    /// Gives about `count` further entries of the snapshot to `found`. Kept ones come first, so that their
    /// memory is free soon. Returns whether more are left; if not, the part has ended.
    pub(super) fn step_snapshot(&mut self, count: &mut usize, found: &mut dyn FnMut(usize, &Entry)) -> bool {
        let Some(mut part) = self.snapshot.take() else { return false };
        while *count > 0 {
            if let Some(entry) = part.take_kept() {
                found(part.number, &entry);
                *count -= 1;
            } else if !self.step_segment(&mut part, count, found) {
                return false;
            }
        }
        self.snapshot = Some(part);
        true
    }

    /// Passes one segment, or the gap before it. False at the end of the database.
    fn step_segment(&self, part: &mut Part, count: &mut usize, found: &mut dyn FnMut(usize, &Entry)) -> bool {
        let slot = (part.position >> 64) as usize;
        let Some(next) = self.occupied_slot(slot) else {
            part.position = DONE;
            return false;
        };
        if next != slot {
            part.position = place(next as u16, 0);
        }
        let table = self.table(Slot(next as u16)).expect("an occupied slot has a table");
        let segment = table.segment_of(part.position as u64);
        if segment.mark != part.epoch {
            segment.iter().for_each(Entry::prefetch);
            segment.iter().for_each(|entry| found(part.number, entry));
            *count = count.saturating_sub(segment.len());
        }
        // Passing costs work too, or a database of marked segments would be passed in one step.
        *count = count.saturating_sub(1);
        part.position = (part.position >> 64 << 64) + segment.path.end();
        true
    }
}

fn place(slot: u16, hash: u64) -> u128 {
    u128::from(slot) << 64 | u128::from(hash)
}

/// What keeping an entry costs at once; contents that it shares with the live one are not counted.
fn kept_bytes(entry: &Entry) -> u64 {
    entry.own_bytes() + size_of::<Entry>() as u64
}
