//! The keys of one database.
//!
//! Lives here: a table per slot, the index of deadlines, the account of memory; below it entries, segments,
//! cursors and snapshots.
//! Not here: what a command may do to a key, effects, access clocks' meaning, time.
//!
//! Invariant: order is (slot, hash), the same on every node that knows the hash key, whatever the tables'
//! shape. Every change goes through `place`, `insert` or `remove`, which keep the account, the
//! deadlines and a running snapshot right.
//!
//! **Memory counted**: each entry's allocation rounded up to its size class, what its value requests on the
//! heap (contents shared with clones count in each), the tables' and directories' allocations, the groups of
//! 64 slots, and 24 bytes per deadline. Entries of equal content and encoding count equally after a rebuild;
//! tables depend on their history, by at most a factor of eight (a table shrinks at an eighth).

mod databases;
pub(crate) mod digest;
mod entry;
mod expires;
mod place;
mod prefetch;
mod scan;
pub(crate) mod segment;
mod snapshot;
pub(crate) mod table;

pub use databases::Databases;
pub use digest::combine as combine_digests;
pub use entry::{ACCESS_LIMIT, Content, EMBEDDED_BYTES_MAX, Entry};
pub use place::{Occupied, Place, Vacant};
pub(crate) use scan::{Budget, END, PREFIX_BITS, scan_table};
pub(crate) use table::below;

use crate::hash::{HashKey, KeyHash};
use crate::slot::{SLOT_COUNT, Slot};
use expires::{Due, Expires};
use prefetch::prefetch;
use rand_core::RngCore;
use segment::{Account, Segment};
use snapshot::Part;
use table::{Context, Location, Table};

const GROUP_SLOTS: usize = 64;
const GROUP_COUNT: usize = SLOT_COUNT as usize / GROUP_SLOTS;
/// Keys drawn before the index of deadlines is asked for one.
const DEADLINE_TRIES: usize = 20;

/// One database; see the head of this file.
pub struct Keyspace {
    key: HashKey,
    groups: Box<[Option<Box<Group>>; GROUP_COUNT]>,
    length: usize,
    /// Bytes of entries and their values.
    entry_bytes: u64,
    account: Account,
    expires: Expires,
    snapshot: Option<Box<Part>>,
}

/// Steps of the way to a key, in their order; see [`Keyspace::touch`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Touch {
    /// The head of its slot's table.
    Table,
    /// The control bytes of the table's segment.
    Control,
    /// The bucket, which holds the entry's address.
    Bucket,
    /// The entry itself.
    Entry,
}

/// The tables of 64 neighbouring slots; exists while one of them holds a key.
struct Group {
    /// A bit for each slot that holds a key.
    occupied: u64,
    length: usize,
    tables: [Table<Segment>; GROUP_SLOTS],
}

impl Keyspace {
    pub fn new(key: HashKey) -> Keyspace {
        Keyspace {
            key,
            groups: Box::new([const { None }; GROUP_COUNT]),
            length: 0,
            entry_bytes: 0,
            account: Account::default(),
            expires: Expires::default(),
            snapshot: None,
        }
    }

    pub fn hash_key(&self) -> HashKey {
        self.key
    }

    pub fn len(&self) -> usize {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Keys with a deadline.
    pub fn expires_len(&self) -> usize {
        self.expires.len()
    }

    /// Mean time left of the keys with a deadline; 0 when there is none.
    pub fn average_ttl_ms(&self, now_ms: i64) -> i64 {
        self.expires.average_ttl_ms(now_ms)
    }

    /// Bytes requested for this database, O(1); the head of this file tells what is counted.
    pub fn used_memory(&self) -> u64 {
        self.entry_bytes + self.account.table_bytes + self.expires.memory_bytes()
    }

    /// Entries that growth and shrinking have moved from table to table since the beginning.
    pub fn entries_moved(&self) -> u64 {
        self.account.moved
    }

    /// Hints at one step of the way to a key needed soon. A step reads what the step before has brought near, so
    /// each is taken for a whole batch of keys before the next.
    #[inline]
    pub fn touch(&self, at: KeyHash, step: Touch) {
        let Some(table) = self.table(at.slot) else { return };
        match step {
            Touch::Table => {
                prefetch(table);
                // Two out of three lie across the border of two lines.
                prefetch(std::ptr::from_ref(table).cast::<u8>().wrapping_add(size_of_val(table) - 1));
            }
            Touch::Control => table.segment_of(at.hash).touch_control(at.hash),
            Touch::Bucket => table.segment_of(at.hash).touch_bucket(at.hash),
            Touch::Entry => table.segment_of(at.hash).touch_entry(at.hash),
        }
    }

    #[inline]
    pub fn get(&self, at: KeyHash, key: &[u8]) -> Option<&Entry> {
        self.table(at.slot)?.get(at.hash, key)
    }

    /// The one lookup for a change.
    #[inline]
    pub fn place<'k>(&'k mut self, at: KeyHash, key: &'k [u8]) -> Place<'k> {
        match self.table(at.slot).and_then(|table| table.find(at.hash, key)) {
            Some(location) => Place::Occupied(Occupied::new(self, at, location)),
            None => Place::Vacant(Vacant::new(self, at, key)),
        }
    }

    pub fn remove(&mut self, at: KeyHash, key: &[u8]) -> Option<Entry> {
        let location = self.table(at.slot)?.find(at.hash, key)?;
        Some(self.remove_at(at, location))
    }

    /// Puts `entry` at its key, which `at` belongs to; gives back what stood there.
    pub fn insert(&mut self, at: KeyHash, entry: Entry) -> Option<Entry> {
        debug_assert_eq!(self.key.locate(entry.key()), at, "an entry's place is computed from its key");
        match self.table(at.slot).and_then(|table| table.find(at.hash, entry.key())) {
            Some(location) => Some(self.replace_at(at, location, entry)),
            None => {
                self.insert_new(at, entry);
                None
            }
        }
    }

    /// Entries in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.groups.iter().flatten().flat_map(|group| group.tables.iter()).flat_map(Table::iter)
    }

    pub fn iter_slot(&self, slot: Slot) -> impl Iterator<Item = &Entry> {
        self.table(slot).into_iter().flat_map(Table::iter)
    }

    pub fn slot_len(&self, slot: Slot) -> usize {
        self.table(slot).map_or(0, Table::len)
    }

    /// The entry with the earliest deadline, if it is not after `now_ms`. Equal deadlines come by slot and hash.
    pub fn next_due(&self, now_ms: i64) -> Option<(KeyHash, &Entry)> {
        let due = self.expires.next_due(now_ms)?;
        let entry = self.entry_of(due);
        Some((self.key.locate(entry.key()), entry))
    }

    /// An entry with a deadline, drawn in bounded work. Close to uniformly while at least one in some twenty has one;
    /// where they are rarer, one whose deadline is near a moment between the first and the last.
    pub fn random_with_deadline(&self, rng: &mut impl RngCore) -> Option<&Entry> {
        if self.expires_len() == 0 {
            return None;
        }
        for _ in 0..DEADLINE_TRIES {
            let drawn = self.random(rng);
            if drawn.is_some_and(|entry| entry.expiry_ms().is_some()) {
                return drawn;
            }
        }
        self.expires.random(rng).map(|due| self.entry_of(due))
    }

    /// The entry that a deadline in the index belongs to.
    fn entry_of(&self, due: Due) -> &Entry {
        let table = self.table(due.at().slot).expect("a deadline belongs to an entry");
        // The hash is cut to 48 bits, which are all that a segment looks at.
        let entry = table.segment_of(due.at().hash).find_by(due.at().hash, |entry| self.is_due(entry, due));
        entry.expect("a deadline belongs to an entry")
    }

    /// An entry drawn close to uniformly, in bounded work.
    pub fn random(&self, rng: &mut impl RngCore) -> Option<&Entry> {
        if self.is_empty() {
            return None;
        }
        let mut rank = below(rng, self.length);
        let group = self.groups.iter().flatten().find(|group| skip(&mut rank, group.length))?;
        let table = group.tables.iter().find(|table| skip(&mut rank, table.len()))?;
        table.sample(rng)
    }

    /// Drops about `entries_max` entries, whole tables' segments at a time. True while more are left. For freeing
    /// a flushed database bit by bit; no snapshot may be running on it.
    fn free_some(&mut self, entries_max: usize) -> bool {
        assert!(self.snapshot.is_none(), "a flushed database that a snapshot needs belongs to the snapshot");
        let mut freed = 0;
        while freed < entries_max {
            let Some(entry) = self.iter().next() else { break };
            let at = self.key.locate(entry.key());
            let keys: Vec<Vec<u8>> = {
                let table = self.table(at.slot).expect("the entry stands there");
                table.segment_of(at.hash).iter().map(|entry| entry.key().to_vec()).collect()
            };
            freed += keys.len();
            for key in keys {
                self.remove(self.key.locate(&key), &key);
            }
        }
        !self.is_empty()
    }

    #[inline]
    fn table(&self, slot: Slot) -> Option<&Table<Segment>> {
        let group = self.groups[usize::from(slot.0) / GROUP_SLOTS].as_ref()?;
        Some(&group.tables[usize::from(slot.0) % GROUP_SLOTS])
    }

    #[inline]
    fn table_mut(&mut self, slot: Slot) -> &mut Table<Segment> {
        let group = self.groups[usize::from(slot.0) / GROUP_SLOTS].as_mut();
        let group = group.expect("the slot holds a key or is about to");
        &mut group.tables[usize::from(slot.0) % GROUP_SLOTS]
    }

    /// An entry for a change and the account of its bytes.
    #[inline]
    fn entry_mut(&mut self, slot: Slot, location: Location) -> (&mut Entry, &mut u64) {
        let group =
            self.groups[usize::from(slot.0) / GROUP_SLOTS].as_mut().expect("the slot holds the entry");
        let table = &mut group.tables[usize::from(slot.0) % GROUP_SLOTS];
        (table.entry_mut(location), &mut self.entry_bytes)
    }

    fn context(&self, slot: Slot) -> Context {
        Context { key: self.key, spread: u32::from(slot.0) }
    }

    /// Before any change to the segment of `at`: what a running snapshot still needs of it is kept.
    #[inline]
    fn keep(&mut self, at: KeyHash) {
        if self.snapshot.is_some() {
            let segment = self.table_mut(at.slot).segment_index(at.hash);
            self.keep_segment(at.slot, segment);
        }
    }

    fn keep_segment(&mut self, slot: Slot, segment: usize) {
        let Some(mut part) = self.snapshot.take() else { return };
        part.keep(slot, self.table_mut(slot).segment_mut(segment));
        self.snapshot = Some(part);
    }

    fn insert_new(&mut self, at: KeyHash, entry: Entry) -> Location {
        self.ensure_group(at.slot);
        self.keep(at);
        self.entry_bytes += entry.memory_bytes();
        if let Some(deadline_ms) = entry.expiry_ms() {
            self.expires.insert(Due::new(deadline_ms, at));
        }
        let context = self.context(at.slot);
        let mut account = self.account;
        let location = self.table_mut(at.slot).insert(at.hash, entry, context, &mut account);
        self.account = account;
        let group = self.groups[usize::from(at.slot.0) / GROUP_SLOTS].as_mut().expect("made above");
        group.occupied |= 1 << (usize::from(at.slot.0) % GROUP_SLOTS);
        group.length += 1;
        self.length += 1;
        location
    }

    fn ensure_group(&mut self, slot: Slot) {
        let group = &mut self.groups[usize::from(slot.0) / GROUP_SLOTS];
        if group.is_none() {
            let tables = std::array::from_fn(|_| Table::new());
            *group = Some(Box::new(Group { occupied: 0, length: 0, tables }));
            self.account.change(0, size_of::<Group>());
        }
    }

    fn replace_at(&mut self, at: KeyHash, location: Location, entry: Entry) -> Entry {
        self.keep(at);
        let (bytes, expiry) = (entry.memory_bytes(), entry.expiry_ms());
        let old = std::mem::replace(self.table_mut(at.slot).entry_mut(location), entry);
        self.entry_bytes = self.entry_bytes + bytes - old.memory_bytes();
        self.change_deadline(at, old.expiry_ms(), expiry);
        old
    }

    fn remove_at(&mut self, at: KeyHash, location: Location) -> Entry {
        self.keep(at);
        let (key, mut account) = (self.key, self.account);
        let entry = self.table_mut(at.slot).remove(location, key, &mut account);
        self.account = account;
        self.entry_bytes -= entry.memory_bytes();
        self.length -= 1;
        self.change_deadline(at, entry.expiry_ms(), None);
        self.merge_around(at);
        let index = usize::from(at.slot.0) / GROUP_SLOTS;
        let group = self.groups[index].as_mut().expect("the entry stood there");
        group.length -= 1;
        let slot = usize::from(at.slot.0) % GROUP_SLOTS;
        if group.tables[slot].is_empty() {
            group.occupied &= !(1 << slot);
        }
        if group.length == 0 {
            self.groups[index] = None;
            self.account.change(size_of::<Group>(), 0);
        }
        entry
    }

    fn merge_around(&mut self, at: KeyHash) {
        while let Some(pair) = self.table_mut(at.slot).mergeable(at.hash) {
            for segment in pair {
                self.keep_segment(at.slot, segment);
            }
            let (key, mut account) = (self.key, self.account);
            self.table_mut(at.slot).merge(pair, key, &mut account);
            self.account = account;
        }
    }

    /// Brings the index of deadlines up to date after the entry at `at` was changed or removed.
    fn change_deadline(&mut self, at: KeyHash, old: Option<i64>, new: Option<i64>) {
        if old == new {
            return;
        }
        if let Some(deadline_ms) = old {
            let due = Due::new(deadline_ms, at);
            // Two keys may agree in deadline, slot and 48 bits of hash: unlikely, yet it must not lose one.
            let segment = self.table(at.slot).expect("the entry stands or stood there").segment_of(at.hash);
            let other = segment.find_by(at.hash, |entry| self.is_due(entry, due));
            let is_shared = other.is_some();
            self.expires.remove(due, is_shared);
        }
        if let Some(deadline_ms) = new {
            self.expires.insert(Due::new(deadline_ms, at));
        }
    }

    /// Whether `due` is this entry's place in the index of deadlines.
    fn is_due(&self, entry: &Entry, due: Due) -> bool {
        entry.expiry_ms() == Some(due.deadline_ms)
            && Due::new(due.deadline_ms, self.key.locate(entry.key())) == due
    }
}

/// True when `rank` falls within the next `length`; else those are counted off.
fn skip(rank: &mut usize, length: usize) -> bool {
    if *rank < length {
        return true;
    }
    *rank -= length;
    false
}

#[cfg(test)]
mod tests;
