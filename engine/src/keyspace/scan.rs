//! Cursors over keys in their order, good under growth, shrink and restart.
//!
//! Lives here: the step of SCAN, and of HSCAN over large hashes.
//! Not here: patterns, types and the form of a reply.
//!
//! A cursor is the slot (14 bits) above the upper 39 bits of the hash: below 2^53, so that clients that read
//! it as a double keep it. It names the first place not yet visited.
//!
//! Invariant: a step gives all keys from its cursor up to, not including, its result. Tables' shapes play no
//! part in that, so a key that stays is given at least once.

use super::entry::Entry;
use super::segment::Segment;
use super::table::{Holder, Table};
use super::{GROUP_SLOTS, Keyspace};
use crate::hash::HashKey;
use crate::slot::SLOT_COUNT;

/// Bits of the hash in a cursor; all keys that agree in them are given together.
pub(crate) const PREFIX_BITS: u32 = 39;
/// One more than the largest prefix: a table visited to its end.
pub(crate) const END: u64 = 1 << PREFIX_BITS;
const _: () = assert!((SLOT_COUNT as u64) << PREFIX_BITS == 1 << 53);
/// Segments looked at in a step, in vain or not, for each entry asked for, and besides.
const SEGMENTS_MIN: usize = 16;

impl Keyspace {
    /// Gives about `count` entries from `cursor` on to `found`. Returns the next cursor, 0 at the end.
    ///
    /// Every key present from the first step (cursor 0) to the last is given at least once; one that comes or
    /// goes meanwhile may be. An unknown cursor is a place like any other.
    pub fn scan(&self, cursor: u64, count: usize, found: &mut dyn FnMut(&Entry)) -> u64 {
        let mut slot = (cursor >> PREFIX_BITS) as usize;
        let mut prefix = cursor & (END - 1);
        let mut budget = Budget::new(count);
        while let Some(next) = self.occupied_slot(slot) {
            if next != slot {
                (slot, prefix) = (next, 0);
            }
            let group = self.groups[slot / GROUP_SLOTS].as_ref().expect("an occupied slot has a group");
            prefix = scan_table(&group.tables[slot % GROUP_SLOTS], self.key, prefix, &mut budget, found);
            if prefix == END {
                (slot, prefix) = (slot + 1, 0);
            }
            if budget.is_spent() {
                let is_end = prefix == 0 && self.occupied_slot(slot).is_none();
                return if is_end { 0 } else { (slot as u64) << PREFIX_BITS | prefix };
            }
        }
        0
    }

    /// The first slot from `slot` on that holds a key.
    pub(super) fn occupied_slot(&self, slot: usize) -> Option<usize> {
        let (first, within) = (slot / GROUP_SLOTS, slot % GROUP_SLOTS);
        for (index, group) in self.groups.iter().enumerate().skip(first) {
            let Some(group) = group else { continue };
            let mask = if index == first { u64::MAX << within } else { u64::MAX };
            let occupied = group.occupied & mask;
            if occupied != 0 {
                return Some(index * GROUP_SLOTS + occupied.trailing_zeros() as usize);
            }
        }
        None
    }
}

/// What is left of a step.
pub(crate) struct Budget {
    entries: usize,
    segments: usize,
}

impl Budget {
    pub fn new(count: usize) -> Budget {
        let entries = count.max(1);
        Budget { entries, segments: entries.saturating_add(SEGMENTS_MIN) }
    }

    pub fn is_spent(&self) -> bool {
        self.entries == 0 || self.segments == 0
    }
}

/// Gives entries of one table from `prefix` on until the budget is spent. Returns the prefix to go on from,
/// [`END`] when the table is done.
pub(crate) fn scan_table<H: Holder>(
    table: &Table<H>,
    key: HashKey,
    mut prefix: u64,
    budget: &mut Budget,
    found: &mut dyn FnMut(&Entry),
) -> u64 {
    while prefix < END && !budget.is_spent() {
        let segment = table.segment_of(prefix << (64 - PREFIX_BITS));
        prefix = scan_segment(segment, key, prefix, budget, found);
    }
    prefix
}

fn scan_segment(
    segment: &Segment,
    key: HashKey,
    prefix: u64,
    budget: &mut Budget,
    found: &mut dyn FnMut(&Entry),
) -> u64 {
    budget.segments -= 1;
    let end = (segment.path.end() >> (64 - PREFIX_BITS)) as u64;
    if segment.len() <= budget.entries && prefix == (segment.path.start() >> (64 - PREFIX_BITS)) {
        segment.iter().for_each(&mut *found);
        budget.entries -= segment.len();
        return end;
    }
    segment.iter().for_each(Entry::prefetch);
    let prefix_of = |entry: &Entry| key.hash(entry.key()) >> (64 - PREFIX_BITS);
    let mut rest: Vec<(u64, &Entry)> = segment.iter().map(|entry| (prefix_of(entry), entry)).collect();
    rest.retain(|(at, _)| *at >= prefix);
    rest.sort_unstable_by_key(|(at, entry)| (*at, entry.key()));
    let mut last = None;
    for (at, entry) in rest {
        if budget.entries == 0 && last != Some(at) {
            return at;
        }
        found(entry);
        budget.entries = budget.entries.saturating_sub(1);
        last = Some(at);
    }
    end
}
