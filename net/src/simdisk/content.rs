//! One file's bytes: what processes see, what is on the medium.
//!
//! Lives here: sectors, and what a power loss makes of them. Not here: names, rates of faults other than those
//! of the power loss itself.
//!
//! Invariant: a sector outside `dirty` is either equal on both sides or was given up by a failed sync or a
//! misdirected write; only a power loss makes the sides equal again without a write.

use super::FaultCounts;
use super::sectors::SectorSet;
use crate::random::{Draw, mix};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;
use std::ops::Range;

#[derive(Debug, Clone)]
pub struct Content {
    sector_bytes: u64,
    /// What processes see; its length is the length they see.
    pub cached: Vec<u8>,
    /// What is on the medium; may reach beyond the durable length.
    durable: Vec<u8>,
    durable_len: u64,
    /// Sectors written since they were last synced.
    pub dirty: SectorSet,
    /// A sector outside `dirty`, or the length, may differ between the sides.
    is_apart: bool,
    /// True if the length changed since it was last synced.
    pub is_len_dirty: bool,
    /// Sectors that give an error when read, until written again.
    pub unreadable: BTreeSet<u64>,
    /// How many hold the file open.
    pub opened: u32,
}

impl Content {
    pub fn new(sector_bytes: usize) -> Self {
        Self {
            sector_bytes: sector_bytes as u64,
            cached: Vec::new(),
            durable: Vec::new(),
            durable_len: 0,
            dirty: SectorSet::default(),
            is_apart: false,
            is_len_dirty: false,
            unreadable: BTreeSet::new(),
            opened: 0,
        }
    }

    pub fn len(&self) -> u64 {
        self.cached.len() as u64
    }

    /// Sectors that these bytes touch.
    pub fn sectors(&self, offset: u64, length: u64) -> Range<u64> {
        offset / self.sector_bytes..(offset + length).div_ceil(self.sector_bytes)
    }

    pub fn sector_count(&self) -> u64 {
        self.len().div_ceil(self.sector_bytes)
    }

    /// The part of a sector that lies below `length`.
    fn range(&self, sector: u64, length: usize) -> Range<usize> {
        let start = (sector * self.sector_bytes) as usize;
        start.min(length)..(start + self.sector_bytes as usize).min(length)
    }

    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        let end = offset as usize + bytes.len();
        if end > self.cached.len() {
            self.set_len(end as u64);
        }
        self.cached[offset as usize..end].copy_from_slice(bytes);
        for sector in self.sectors(offset, bytes.len() as u64) {
            self.dirty.insert(sector);
            self.unreadable.remove(&sector);
        }
    }

    pub fn set_len(&mut self, length: u64) {
        self.is_apart |= length < self.len();
        let grown = self.len()..length;
        self.cached.resize(length as usize, 0);
        self.is_len_dirty = true;
        if !grown.is_empty() {
            // What lay there before a cut may still be on the medium.
            let stale = grown.start..grown.end.min(self.durable.len() as u64);
            if !stale.is_empty() {
                let sectors = self.sectors(stale.start, stale.end - stale.start);
                sectors.for_each(|sector| self.dirty.insert(sector));
            }
        }
        let count = self.sector_count();
        self.dirty.truncate(count);
        self.unreadable.retain(|sector| *sector < count);
    }

    pub fn cached_sector(&self, sector: u64) -> Vec<u8> {
        self.cached[self.range(sector, self.cached.len())].to_vec()
    }

    fn put_durable(&mut self, range: Range<usize>) {
        if self.durable.len() < range.end {
            self.durable.resize(range.end, 0);
        }
        self.durable[range.clone()].copy_from_slice(&self.cached[range]);
    }

    pub fn persist(&mut self, sector: u64) {
        self.put_durable(self.range(sector, self.cached.len()));
        self.dirty.remove(sector);
    }

    /// Puts every unsynced sector on the medium.
    pub fn persist_all(&mut self) {
        let dirty = std::mem::take(&mut self.dirty);
        for run in dirty.runs() {
            let start = self.range(run.start, self.cached.len()).start;
            let end = self.range(run.end - 1, self.cached.len()).end;
            self.put_durable(start..end);
        }
    }

    /// Lets go of an unsynced sector: it stays as it is seen until the power goes.
    pub fn give_up(&mut self, sector: u64) {
        self.dirty.remove(sector);
        self.is_apart = true;
    }

    pub fn persist_len(&mut self) {
        self.durable_len = self.len();
        self.durable.truncate(self.cached.len());
        self.is_len_dirty = false;
    }

    /// Another file's sector lands here, on the medium, and in the cache unless a newer one waits there.
    pub fn overwrite(&mut self, sector: u64, bytes: &[u8]) {
        let range = self.range(sector, self.cached.len());
        let length = range.len().min(bytes.len());
        let range = range.start..range.start + length;
        self.is_apart = true;
        if self.durable.len() < range.end {
            self.durable.resize(range.end, 0);
        }
        self.durable[range.clone()].copy_from_slice(&bytes[..length]);
        if !self.dirty.contains(sector) {
            self.cached[range].copy_from_slice(&bytes[..length]);
        }
    }

    /// Flips bits on the medium, and in the cache unless a newer version waits there. False if nothing is there.
    pub fn flip(&mut self, offset: u64, mask: u8) -> bool {
        let is_dirty = self.dirty.contains(offset / self.sector_bytes);
        let offset = offset as usize;
        if offset >= self.cached.len() {
            return false;
        }
        if self.durable.len() <= offset {
            self.durable.resize(offset + 1, 0);
        }
        self.is_apart |= is_dirty;
        self.durable[offset] ^= mask;
        if !is_dirty {
            self.cached[offset] ^= mask;
        }
        true
    }

    /// Keeps each unsynced sector with the chance `kept`, torn with the chance `torn`; then only the medium counts.
    pub fn lose_power(&mut self, kept: f64, torn: f64, rng: &mut ChaCha8Rng, counts: &mut FaultCounts) {
        let dirty = std::mem::take(&mut self.dirty);
        for sector in dirty.iter() {
            let range = self.range(sector, self.cached.len());
            if rng.chance(torn) {
                let cut = range.start + rng.below(range.len() as u64 + 1) as usize;
                let reached = if rng.chance(0.5) { range.start..cut } else { cut..range.end };
                self.put_durable(reached);
                counts.sectors_torn += 1;
            } else if rng.chance(kept) {
                self.put_durable(range);
                counts.sectors_kept += 1;
            } else {
                counts.sectors_lost += 1;
            }
        }
        if self.is_len_dirty && rng.chance(0.5) {
            self.durable_len = self.len();
        }
        self.is_len_dirty = false;
        self.opened = 0;
        self.durable.resize(self.durable_len as usize, 0);
        if std::mem::take(&mut self.is_apart) || self.cached.len() < self.durable.len() {
            self.cached.clone_from(&self.durable);
            return;
        }
        self.cached.truncate(self.durable.len());
        for run in dirty.runs() {
            let start = self.range(run.start, self.durable.len()).start;
            let end = self.range(run.end - 1, self.durable.len()).end;
            self.cached[start..end].copy_from_slice(&self.durable[start..end]);
        }
    }

    pub fn digest(&self, seed: u64, is_durable: bool) -> u64 {
        let (bytes, length) = match is_durable {
            true => (&self.durable, self.durable_len),
            false => (&self.cached, self.len()),
        };
        bytes.chunks(8).fold(mix(seed ^ length), |digest, chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            mix(digest ^ u64::from_le_bytes(word))
        })
    }
}
