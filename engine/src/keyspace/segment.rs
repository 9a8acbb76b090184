//! A small hash table: the unit that splits, merges and is kept for a snapshot.
//!
//! Lives here: entries of one hash prefix, found by their full hash.
//! Not here: which prefix belongs to which segment (`table`).
//!
//! Invariant: a segment holds exactly the entries whose hash begins with its path, at most some hundreds.

use super::entry::Entry;
use super::prefetch::prefetch;
use crate::hash::HashKey;
use hashbrown::HashTable;
use hashbrown::hash_table::OccupiedEntry;

/// Place of a segment in the binary tree of hash prefixes, numbered like a heap: the root is 1, the children
/// of `n` are `2n` (next bit 0) and `2n + 1` (next bit 1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Path(u32);

impl Path {
    pub const ROOT: Path = Path(1);

    /// Bits of the prefix.
    pub fn depth(self) -> u32 {
        self.0.ilog2()
    }

    /// The prefix as a number of `depth` bits.
    pub fn prefix(self) -> u32 {
        self.0 ^ 1 << self.depth()
    }

    pub fn children(self) -> [Path; 2] {
        [Path(self.0 << 1), Path(self.0 << 1 | 1)]
    }

    /// The other child of the same parent; `None` for the root.
    pub fn sibling(self) -> Option<Path> {
        (self != Path::ROOT).then_some(Path(self.0 ^ 1))
    }

    pub fn parent(self) -> Path {
        Path(self.0 >> 1)
    }

    /// Smallest hash below this path.
    pub fn start(self) -> u64 {
        if self == Path::ROOT { 0 } else { u64::from(self.prefix()) << (64 - self.depth()) }
    }

    /// One more than the largest hash below this path.
    pub fn end(self) -> u128 {
        u128::from(self.start()) + (1u128 << (64 - self.depth()))
    }

    /// The number itself, to draw thresholds from.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// See the head of this file.
#[derive(Clone, Debug)]
pub struct Segment {
    entries: HashTable<Entry>,
    /// Where the table's control bytes begin, as far as known: for prefetching alone.
    control: usize,
    /// Snapshot for which this segment needs no keeping any more, see `snapshot`.
    pub mark: u32,
    pub path: Path,
}

/// Work and memory of tables, summed by their owner.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Account {
    /// Bytes requested for tables.
    pub table_bytes: u64,
    /// Entries moved from one table to another since the beginning.
    pub moved: u64,
}

impl Account {
    pub fn change(&mut self, before: usize, after: usize) {
        self.table_bytes = self.table_bytes + after as u64 - before as u64;
    }
}

/// Where the control bytes of the table begin that this entry stands in: hashbrown lays its buckets out backwards
/// in front of them. If that ever changes, hints go astray and nothing else.
#[inline]
fn control_of(inserted: &OccupiedEntry<'_, Entry>) -> usize {
    std::ptr::from_ref(inserted.get()).addr() + (inserted.bucket_index() + 1) * size_of::<Entry>()
}

/// hashbrown takes its index from the low bits and its tag from the top seven. The top bits are equal within a
/// segment, so it sees the hash rotated.
#[inline]
fn rotate(hash: u64) -> u64 {
    hash.rotate_left(32)
}

impl Segment {
    pub fn new(path: Path, mark: u32) -> Segment {
        Segment { entries: HashTable::new(), control: 0, mark, path }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn memory_bytes(&self) -> usize {
        self.entries.allocation_size()
    }

    /// Bucket of `key`.
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        self.entries.find_bucket_index(rotate(hash), |entry| entry.key() == key)
    }

    #[inline]
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<&Entry> {
        self.entries.find(rotate(hash), |entry| entry.key() == key)
    }

    /// The first entry whose hash may be `hash` and that `accepts`.
    pub fn find_by(&self, hash: u64, accepts: impl FnMut(&Entry) -> bool) -> Option<&Entry> {
        self.entries.find(rotate(hash), accepts)
    }

    /// Hints that the control bytes for this hash are needed soon. Reads the segment's head.
    #[inline]
    pub fn touch_control(&self, hash: u64) {
        let first = rotate(hash) as usize & self.entries.num_buckets().wrapping_sub(1);
        prefetch(std::ptr::without_provenance::<u8>(self.control.wrapping_add(first)));
    }

    /// Hints that the buckets which may hold this hash are needed soon. Reads the control bytes.
    #[inline]
    pub fn touch_bucket(&self, hash: u64) {
        // A lookup that never matches meets just the candidates.
        let _ = self.entries.find_bucket_index(rotate(hash), |entry| {
            prefetch(std::ptr::from_ref(entry));
            false
        });
    }

    /// Hints that the entries which may be the one with this hash are needed soon. Reads the buckets.
    #[inline]
    pub fn touch_entry(&self, hash: u64) {
        let _ = self.entries.find_bucket_index(rotate(hash), |entry| {
            entry.prefetch();
            false
        });
    }

    /// Entry in a bucket that `find` or `insert` gave.
    #[inline]
    pub fn entry(&self, bucket: usize) -> &Entry {
        self.entries.get_bucket(bucket).expect("the bucket came from find and nothing moved since")
    }

    #[inline]
    pub fn entry_mut(&mut self, bucket: usize) -> &mut Entry {
        self.entries.get_bucket_mut(bucket).expect("the bucket came from find and nothing moved since")
    }

    /// Puts an entry in whose key is not there yet; gives its bucket.
    pub fn insert(&mut self, hash: u64, entry: Entry, key: HashKey, account: &mut Account) -> usize {
        let (before, capacity) = (self.memory_bytes(), self.entries.capacity());
        if self.len() == capacity {
            // The table is about to hash every key again: let their cache misses overlap.
            self.entries.iter().for_each(Entry::prefetch);
        }
        let hasher = |entry: &Entry| rotate(key.hash(entry.key()));
        let inserted = self.entries.insert_unique(rotate(hash), entry, hasher);
        self.control = control_of(&inserted);
        let bucket = inserted.bucket_index();
        if self.entries.capacity() != capacity {
            account.moved += self.len() as u64;
            account.change(before, self.memory_bytes());
        }
        bucket
    }

    pub fn remove(&mut self, bucket: usize, key: HashKey, account: &mut Account) -> Entry {
        let before = self.memory_bytes();
        let occupied = self.entries.get_bucket_entry(bucket).ok();
        let (entry, _) = occupied.expect("the bucket came from find and nothing moved since").remove();
        if self.is_empty() {
            self.entries = HashTable::new();
        } else if self.entries.num_buckets() > 16 && self.len() * 8 <= self.entries.num_buckets() {
            account.moved += self.len() as u64;
            self.entries.shrink_to(self.len() * 2, |entry| rotate(key.hash(entry.key())));
        }
        account.change(before, self.memory_bytes());
        entry
    }

    /// Parts the segment by the next bit of the hash.
    pub fn split(self, key: HashKey, account: &mut Account) -> [Segment; 2] {
        let before = self.memory_bytes();
        let bit = 63 - self.path.depth();
        account.moved += self.len() as u64;
        self.entries.iter().for_each(Entry::prefetch);
        let hashed: Vec<(u64, Entry)> =
            self.entries.into_iter().map(|entry| (key.hash(entry.key()), entry)).collect();
        let high = hashed.iter().filter(|(hash, _)| hash >> bit & 1 == 1).count();
        let mut halves = self.path.children().map(|path| Segment::new(path, self.mark));
        halves[0].entries = HashTable::with_capacity(hashed.len() - high);
        halves[1].entries = HashTable::with_capacity(high);
        for (hash, entry) in hashed {
            let half = &mut halves[(hash >> bit & 1) as usize];
            let hasher = |entry: &Entry| rotate(key.hash(entry.key()));
            half.control = control_of(&half.entries.insert_unique(rotate(hash), entry, hasher));
        }
        account.change(before, halves[0].memory_bytes() + halves[1].memory_bytes());
        halves
    }

    /// Joins two siblings into their parent. It is marked if one of them is: what was not yet kept before a
    /// merge during a snapshot has been passed by the cursor.
    pub fn merge(self, other: Segment, key: HashKey, account: &mut Account) -> Segment {
        let before = self.memory_bytes() + other.memory_bytes();
        let mut merged = Segment::new(self.path.parent(), self.mark.max(other.mark));
        let (larger, smaller) = if self.len() >= other.len() {
            (self.entries, other.entries)
        } else {
            (other.entries, self.entries)
        };
        merged.entries = larger;
        account.moved += smaller.len() as u64;
        let hasher = |entry: &Entry| rotate(key.hash(entry.key()));
        if merged.entries.capacity() < merged.len() + smaller.len() {
            account.moved += merged.len() as u64;
            merged.entries.reserve(smaller.len(), hasher);
        }
        for entry in smaller {
            merged.control = control_of(&merged.entries.insert_unique(hasher(&entry), entry, hasher));
        }
        account.change(before, merged.memory_bytes());
        merged
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Buckets, full and empty.
    pub fn bucket_count(&self) -> usize {
        self.entries.num_buckets()
    }

    /// The entry in any bucket.
    pub fn bucket(&self, index: usize) -> Option<&Entry> {
        self.entries.get_bucket(index)
    }
}
