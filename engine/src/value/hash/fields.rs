//! A large hash: a table of its own over fields.
//!
//! Lives here: fields as entries (field and value in one allocation) in segments that clones share.
//! Not here: growth and shrinking (`keyspace::table`), the compact form.
//!
//! Invariant: a clone costs the list of segments at most, a change after it the segments it touches.

use crate::hash::HashKey;
use crate::keyspace::segment::{Account, Segment};
use crate::keyspace::table::{Context, Table};
use crate::keyspace::{Budget, Content, Entry, scan_table};
use crate::value::StringRef;
use rand_core::RngCore;
use std::rc::Rc;

#[derive(Clone, Debug)]
pub struct Fields {
    key: HashKey,
    table: Table<Rc<Segment>>,
    entry_bytes: u64,
    account: Account,
}

/// Reference counts, and a first segment.
const HEAD_BYTES: u64 = (16 + size_of::<Fields>() + 16 + size_of::<Segment>()) as u64;

impl Fields {
    pub fn new(key: HashKey) -> Fields {
        Fields { key, table: Table::new(), entry_bytes: 0, account: Account::default() }
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn get(&self, field: &[u8]) -> Option<StringRef<'_>> {
        self.table.get(self.key.hash(field), field).map(value_of)
    }

    /// Sets a field. Returns whether it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8]) -> bool {
        let hash = self.key.hash(field);
        let content = Content::string(value);
        let Some(location) = self.table.find(hash, field) else {
            let entry = Entry::new(field, content, None);
            self.entry_bytes += entry.memory_bytes();
            self.table.insert(hash, entry, self.context(), &mut self.account);
            return true;
        };
        let entry = self.table.entry_mut(location);
        if !entry.overwrite(&content) {
            self.entry_bytes -= entry.memory_bytes();
            entry.set_content(content);
            self.entry_bytes += entry.memory_bytes();
        }
        false
    }

    /// Deletes a field. Returns whether it was there.
    pub fn delete(&mut self, field: &[u8]) -> bool {
        let hash = self.key.hash(field);
        let Some(location) = self.table.find(hash, field) else { return false };
        let entry = self.table.remove(location, self.key, &mut self.account);
        self.entry_bytes -= entry.memory_bytes();
        while let Some(pair) = self.table.mergeable(hash) {
            self.table.merge(pair, self.key, &mut self.account);
        }
        true
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], StringRef<'_>)> {
        self.table.iter().map(|entry| (entry.key(), value_of(entry)))
    }

    /// Gives about `count` fields from `prefix` on; returns the prefix to go on from.
    pub fn scan(&self, prefix: u64, count: usize, found: &mut dyn FnMut(&[u8], StringRef<'_>)) -> u64 {
        let mut give = |entry: &Entry| found(entry.key(), value_of(entry));
        scan_table(&self.table, self.key, prefix, &mut Budget::new(count), &mut give)
    }

    pub fn random(&self, rng: &mut impl RngCore) -> Option<(&[u8], StringRef<'_>)> {
        self.table.sample(rng).map(|entry| (entry.key(), value_of(entry)))
    }

    pub fn memory_bytes(&self) -> u64 {
        HEAD_BYTES + self.entry_bytes + self.account.table_bytes
    }

    fn context(&self) -> Context {
        Context { key: self.key, spread: 0 }
    }
}

fn value_of(entry: &Entry) -> StringRef<'_> {
    entry.string().expect("fields hold strings")
}

#[cfg(test)]
impl Fields {
    pub fn check_invariants(&self) {
        self.table.check_invariants(self.key);
        assert_eq!(self.entry_bytes, self.table.iter().map(Entry::memory_bytes).sum::<u64>());
        assert_eq!(self.account.table_bytes, self.table.table_bytes() as u64);
    }
}
