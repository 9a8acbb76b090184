//! A table that grows and shrinks by a segment at a time: extendible hashing in the order of the hash.
//!
//! Lives here: which segment a hash belongs to, splitting and merging, iteration, sampling.
//! Not here: the segments themselves (`segment`), cursors (`scan`), slots and snapshots (`mod`, `snapshot`).
//!
//! Invariant: segments follow one another in hash order and cover every hash once; no operation moves more
//! entries than two segments hold.

use super::entry::Entry;
use super::segment::{Account, Path, Segment};
use crate::hash::HashKey;
use rand_core::RngCore;
use std::rc::Rc;

/// Segments split when they hold this many entries or up to `SPLIT_SPREAD` more, drawn from their place, so
/// that equal segments do not all split, and waste memory, at the same fill.
const SPLIT_MIN: usize = 320;
const SPLIT_SPREAD: usize = 129;
/// Siblings that hold no more than this together merge.
const MERGE_MAX: usize = 160;
/// Segments of this depth grow instead of splitting; 2^26 segments hold more keys than a node's memory.
const DEPTH_MAX: u32 = 26;
/// Tries of a sample before the nearest entry is taken.
const SAMPLE_TRIES: usize = 64;

const _: () = assert!(MERGE_MAX * 2 <= SPLIT_MIN);
// The bucket count below which every segment can grow without exceeding hashbrown's load of 7/8.
const _: () = assert!((SPLIT_MIN + SPLIT_SPREAD - 1) <= 512 / 8 * 7);

/// How a table holds its segments: owned (keyspace) or shared by clones until they change (values).
pub trait Holder: Sized {
    fn hold(segment: Segment) -> Self;
    fn get(&self) -> &Segment;
    fn get_mut(&mut self) -> &mut Segment;
    fn release(self) -> Segment;
}

impl Holder for Segment {
    fn hold(segment: Segment) -> Self {
        segment
    }
    #[inline]
    fn get(&self) -> &Segment {
        self
    }
    #[inline]
    fn get_mut(&mut self) -> &mut Segment {
        self
    }
    fn release(self) -> Segment {
        self
    }
}

impl Holder for Rc<Segment> {
    fn hold(segment: Segment) -> Self {
        Rc::new(segment)
    }
    fn get(&self) -> &Segment {
        self
    }
    fn get_mut(&mut self) -> &mut Segment {
        Rc::make_mut(self)
    }
    fn release(self) -> Segment {
        Rc::unwrap_or_clone(self)
    }
}

/// See the head of this file.
#[derive(Clone, Debug)]
pub enum Table<H> {
    One(H),
    Many(Box<Directory<H>>),
}

// One stands in the keyspace for each slot.
const _: () = assert!(size_of::<Table<Segment>>() == 48);

#[derive(Debug)]
pub struct Directory<H> {
    depth: u32,
    /// For each prefix of `depth` bits the index of its segment.
    places: Vec<u32>,
    segments: Vec<H>,
    length: usize,
    /// Number of segments of each depth.
    depths: [u32; DEPTH_MAX as usize + 1],
}

/// Where an entry stands, until the next change of its table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Location {
    pub segment: usize,
    pub bucket: usize,
}

/// What a table must know of its owner to change.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    pub key: HashKey,
    /// Number that tells this table from its neighbours, so that they do not split at the same fill.
    pub spread: u32,
}

impl<H: Holder> Table<H> {
    pub fn new() -> Table<H> {
        Table::One(H::hold(Segment::new(Path::ROOT, 0)))
    }

    pub fn len(&self) -> usize {
        match self {
            Table::One(segment) => segment.get().len(),
            Table::Many(directory) => directory.length,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Index of the segment that `hash` belongs to.
    #[inline]
    pub fn segment_index(&self, hash: u64) -> usize {
        match self {
            Table::One(_) => 0,
            Table::Many(directory) => directory.segment_index(hash),
        }
    }

    #[inline]
    pub fn segment(&self, index: usize) -> &Segment {
        match self {
            Table::One(segment) => segment.get(),
            Table::Many(directory) => directory.segments[index].get(),
        }
    }

    #[inline]
    pub fn segment_mut(&mut self, index: usize) -> &mut Segment {
        match self {
            Table::One(segment) => segment.get_mut(),
            Table::Many(directory) => directory.segments[index].get_mut(),
        }
    }

    #[inline]
    pub fn segment_of(&self, hash: u64) -> &Segment {
        self.segment(self.segment_index(hash))
    }

    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<Location> {
        let segment = self.segment_index(hash);
        let bucket = self.segment(segment).find(hash, key)?;
        Some(Location { segment, bucket })
    }

    #[inline]
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<&Entry> {
        self.segment_of(hash).get(hash, key)
    }

    #[inline]
    pub fn entry(&self, location: Location) -> &Entry {
        self.segment(location.segment).entry(location.bucket)
    }

    #[inline]
    pub fn entry_mut(&mut self, location: Location) -> &mut Entry {
        self.segment_mut(location.segment).entry_mut(location.bucket)
    }

    /// Puts an entry in whose key is not there yet. Splits segments on its way when they are full.
    pub fn insert(&mut self, hash: u64, entry: Entry, context: Context, account: &mut Account) -> Location {
        let mut segment = self.segment_index(hash);
        while self.segment(segment).len() >= split_at(self.segment(segment).path, context.spread) {
            self.split(segment, context, account);
            segment = self.segment_index(hash);
        }
        let bucket = self.segment_mut(segment).insert(hash, entry, context.key, account);
        if let Table::Many(directory) = self {
            directory.length += 1;
        }
        Location { segment, bucket }
    }

    /// Takes an entry out. The table may then be `mergeable`.
    pub fn remove(&mut self, location: Location, key: HashKey, account: &mut Account) -> Entry {
        if let Table::Many(directory) = self {
            directory.length -= 1;
        }
        self.segment_mut(location.segment).remove(location.bucket, key, account)
    }

    /// The segment of `hash` and its sibling, if they are small enough to merge.
    pub fn mergeable(&self, hash: u64) -> Option<[usize; 2]> {
        let Table::Many(directory) = self else { return None };
        let segment = directory.segment_index(hash);
        let path = directory.segments[segment].get().path;
        let sibling = directory.segment_index(path.sibling()?.start());
        let is_leaf = Some(directory.segments[sibling].get().path) == path.sibling();
        let length = directory.segments[segment].get().len() + directory.segments[sibling].get().len();
        (is_leaf && length <= MERGE_MAX).then_some([segment, sibling])
    }

    /// Merges two segments that `mergeable` gave.
    pub fn merge(&mut self, pair: [usize; 2], key: HashKey, account: &mut Account) {
        let Table::Many(directory) = self else { unreachable!("one segment has no sibling") };
        let before = directory.memory_bytes();
        directory.merge(pair, key, account);
        let after = directory.memory_bytes();
        if directory.depth == 0 {
            account.change(before, 0);
            let last = directory.segments.pop().expect("a directory of depth 0 has one segment");
            *self = Table::One(last);
        } else {
            account.change(before, after);
        }
    }

    fn split(&mut self, segment: usize, context: Context, account: &mut Account) {
        let mut before = 0;
        if let Table::One(only) = self {
            let only = std::mem::replace(only, H::hold(Segment::new(Path::ROOT, 0)));
            *self = Table::Many(Box::new(Directory::new(only)));
        } else if let Table::Many(directory) = self {
            before = directory.memory_bytes();
        }
        let Table::Many(directory) = self else { unreachable!("made a directory above") };
        directory.split(segment, context.key, account);
        account.change(before, directory.memory_bytes());
    }

    /// Segments in hash order.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        let mut start = Some(0u64);
        std::iter::from_fn(move || {
            let segment = self.segment_of(start?);
            start = u64::try_from(segment.path.end()).ok();
            Some(segment)
        })
    }

    /// Entries, by segment in hash order. Equal histories give equal orders.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.segments().flat_map(Segment::iter)
    }

    /// An entry drawn uniformly (unless hardly any bucket is full), in bounded work.
    pub fn sample(&self, rng: &mut impl RngCore) -> Option<&Entry> {
        let count = match self {
            Table::One(_) => 1,
            Table::Many(directory) => directory.segments.len(),
        };
        let buckets = match self {
            Table::One(segment) => segment.get().bucket_count().max(1),
            Table::Many(_) => 512,
        };
        for _ in 0..SAMPLE_TRIES {
            let segment = self.segment(below(rng, count));
            // Drawing among as many buckets as the largest segment has makes every entry equally likely.
            let bucket = below(rng, buckets.max(segment.bucket_count()));
            if let Some(entry) = (bucket < segment.bucket_count()).then(|| segment.bucket(bucket)).flatten() {
                return Some(entry);
            }
        }
        let start = below(rng, count);
        (start..count).chain(0..start).find_map(|segment| self.segment(segment).iter().next())
    }
}

impl<H: Clone> Clone for Directory<H> {
    /// Keeps the lists' capacities, which the owner's account of memory holds.
    fn clone(&self) -> Self {
        let mut places = Vec::with_capacity(self.places.capacity());
        places.extend_from_slice(&self.places);
        let mut segments = Vec::with_capacity(self.segments.capacity());
        segments.extend_from_slice(&self.segments);
        Directory { depth: self.depth, places, segments, length: self.length, depths: self.depths }
    }
}

/// A number below `limit`, drawn close enough to uniformly for sampling.
pub(crate) fn below(rng: &mut impl RngCore, limit: usize) -> usize {
    ((u128::from(rng.next_u64()) * limit as u128) >> 64) as usize
}

/// Entries at which a segment splits.
fn split_at(path: Path, spread: u32) -> usize {
    if path.depth() >= DEPTH_MAX {
        return usize::MAX;
    }
    let mixed = (u64::from(path.number()) << 32 | u64::from(spread)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    SPLIT_MIN + (mixed >> 40) as usize % SPLIT_SPREAD
}

impl<H: Holder> Directory<H> {
    fn new(only: H) -> Directory<H> {
        let mut depths = [0; DEPTH_MAX as usize + 1];
        depths[0] = 1;
        let length = only.get().len();
        Directory { depth: 0, places: vec![0], segments: vec![only], length, depths }
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Directory<H>>() + self.places.capacity() * 4 + self.segments.capacity() * size_of::<H>()
    }

    #[inline]
    fn segment_index(&self, hash: u64) -> usize {
        // In two shifts, because a directory being built has depth 0.
        self.places[(hash >> 1 >> (63 - self.depth)) as usize] as usize
    }

    fn split(&mut self, segment: usize, key: HashKey, account: &mut Account) {
        let empty = H::hold(Segment::new(Path::ROOT, 0));
        let whole = std::mem::replace(&mut self.segments[segment], empty).release();
        let depth = whole.path.depth();
        if depth == self.depth {
            self.double();
        }
        self.depths[depth as usize] -= 1;
        self.depths[depth as usize + 1] += 2;
        let [low, high] = whole.split(key, account);
        self.point(high.path, self.segments.len());
        self.segments[segment] = H::hold(low);
        self.segments.push(H::hold(high));
    }

    fn merge(&mut self, pair: [usize; 2], key: HashKey, account: &mut Account) {
        // The lower index stays, so that the one that is filled from the end is never the one that stays.
        let (stays, goes) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
        let gone = self.segments.swap_remove(goes).release();
        if let Some(moved) = self.segments.get(goes) {
            self.point(moved.get().path, goes);
        }
        let empty = H::hold(Segment::new(Path::ROOT, 0));
        let kept = std::mem::replace(&mut self.segments[stays], empty).release();
        let depth = kept.path.depth() as usize;
        let merged = kept.merge(gone, key, account);
        self.point(merged.path, stays);
        self.segments[stays] = H::hold(merged);
        self.depths[depth] -= 2;
        self.depths[depth - 1] += 1;
        if self.segments.len() * 4 <= self.segments.capacity() {
            self.segments.shrink_to(self.segments.len() * 2);
        }
        while self.depth > 0 && self.depths[self.depth as usize] == 0 {
            self.halve();
        }
    }

    /// Lets all prefixes below `path` lead to the segment at `index`.
    fn point(&mut self, path: Path, index: usize) {
        let width = self.depth - path.depth();
        let start = (path.prefix() as usize) << width;
        let index = u32::try_from(index).expect("DEPTH_MAX bounds the number of segments");
        self.places[start..start + (1 << width)].fill(index);
    }

    fn double(&mut self) {
        let mut places = Vec::with_capacity(self.places.len() * 2);
        places.extend(self.places.iter().flat_map(|place| [*place, *place]));
        self.places = places;
        self.depth += 1;
    }

    fn halve(&mut self) {
        self.places = self.places.iter().step_by(2).copied().collect();
        self.depth -= 1;
    }
}

#[cfg(test)]
impl<H: Holder> Table<H> {
    pub fn check_invariants(&self, key: HashKey) {
        let mut expected = 0u128;
        let mut length = 0;
        for segment in self.segments() {
            assert_eq!(u128::from(segment.path.start()), expected, "segments follow one another");
            expected = segment.path.end();
            for entry in segment.iter() {
                let hash = u128::from(key.hash(entry.key()));
                assert!(hash >= u128::from(segment.path.start()) && hash < segment.path.end());
                length += 1;
            }
        }
        assert_eq!(length, self.len());
        if let Table::Many(directory) = self {
            assert_eq!(directory.places.len(), 1 << directory.depth);
            assert_eq!(directory.depths.iter().sum::<u32>() as usize, directory.segments.len());
            assert!(directory.depth > 0);
        }
    }

    /// Bytes requested, counted from scratch.
    pub fn table_bytes(&self) -> usize {
        let directory = if let Table::Many(directory) = self { directory.memory_bytes() } else { 0 };
        directory + self.segments().map(Segment::memory_bytes).sum::<usize>()
    }
}
