//! What Raft reads of the log: recent entries in memory, the terms of all, where old ones stand on disk.
//!
//! Lives here: the bounded cache of entries, the list of terms, the index of places, the pending fetch.
//! Not here: reading the disk (asked for by [`Fetch`]) and any decision of Raft.
//!
//! Invariant: entries that are not yet applied or not yet durable are always in memory; so Raft only ever
//! waits for the disk when it sends old entries to a peer.

use std::cell::RefCell;
use std::collections::VecDeque;

use raft::eraftpb::{ConfState, Entry as RaftEntry, HardState as RaftHardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Result, StorageError};

use super::places::Places;
use crate::frame::FRAME_HEAD_BYTES;
use crate::segment::Layout;
use crate::types::{Entry, EntryKind, LogOffset, NodeId, Position, Term};

/// Old entries that Raft asked for.
#[derive(Debug)]
pub(super) struct Fetch {
    pub from: Position,
    pub to: Position,
    pub context: GetEntriesContext,
}

#[derive(Debug)]
pub(super) struct Storage {
    members: ConfState,
    hard_state: RaftHardState,
    /// The entry before the first: what a snapshot covers.
    base: Position,
    /// The newest snapshot held here; never below the base.
    covered: (Position, Term),
    /// First position of each stretch of one term, the base's first; positions and terms rise.
    terms: Vec<(Position, Term)>,
    last: Position,
    cache: VecDeque<Entry>,
    cache_bytes: u64,
    cache_bytes_max: u64,
    places: Places,
    layout: Layout,
    wanted: RefCell<Option<Fetch>>,
    fetched: Vec<Entry>,
}

/// What the storage starts with.
pub(super) struct Start {
    pub members: ConfState,
    pub term: Term,
    pub vote: NodeId,
    pub committed: Position,
    pub base: Position,
    pub covered: Position,
    pub terms: Vec<(Position, Term)>,
    pub last: Position,
    pub unapplied: Vec<Entry>,
    pub places: Places,
    pub layout: Layout,
    pub cache_bytes_max: u64,
}

impl Storage {
    pub fn new(start: Start) -> Self {
        let hard_state = RaftHardState {
            term: start.term.0,
            vote: start.vote.0,
            commit: start.committed.0,
            ..RaftHardState::default()
        };
        let cache_bytes = start.unapplied.iter().map(size_of_entry).sum();
        let mut storage = Self {
            members: start.members,
            hard_state,
            base: start.base,
            covered: (start.covered, Term(0)),
            terms: start.terms,
            last: start.last,
            cache: start.unapplied.into(),
            cache_bytes,
            cache_bytes_max: start.cache_bytes_max,
            places: start.places,
            layout: start.layout,
            wanted: RefCell::new(None),
            fetched: Vec::new(),
        };
        storage.covered.1 =
            storage.term_of(start.covered).expect("the log begins at the snapshot or before it");
        storage
    }

    /// A snapshot of this position is held here.
    pub fn snapshot_held(&mut self, position: Position, term: Term) {
        self.covered = (position, term);
    }

    /// Adds an entry; one that is already there is superseded together with all after it.
    pub fn append(&mut self, entry: Entry) {
        assert!(
            entry.position > self.base && entry.position <= self.last.next(),
            "the log has no gaps: {:?} after {:?}",
            entry.position,
            self.last
        );
        self.truncate_from(entry.position);
        let term_changes = self.terms.last().is_none_or(|(_, term)| *term != entry.term);
        if term_changes {
            self.terms.push((entry.position, entry.term));
        }
        self.last = entry.position;
        self.cache_bytes += size_of_entry(&entry);
        self.cache.push_back(entry);
    }

    /// Notes where a frame begins.
    pub fn note_place(&mut self, position: Position, offset: LogOffset) {
        self.places.note(&self.layout, position, offset);
    }

    /// Where to begin reading for `position`.
    pub fn place_of(&self, position: Position) -> Option<LogOffset> {
        self.places.of(position)
    }

    /// Forgets old entries above the cache's bound, but none beyond `kept_from`.
    pub fn evict(&mut self, kept_from: Position) {
        while self.cache_bytes > self.cache_bytes_max {
            if self.cache.front().is_none_or(|entry| entry.position > kept_from) {
                return;
            }
            let evicted = self.cache.pop_front().expect("the front was looked at");
            self.cache_bytes -= size_of_entry(&evicted);
        }
    }

    /// Position before the first that can still be read.
    pub fn base(&self) -> Position {
        self.base
    }

    /// Forgets everything up to `base`, whose files are gone.
    pub fn cut_to(&mut self, base: Position) {
        let Some(term) = self.term_of(base).filter(|_| base > self.base) else { return };
        self.base = base;
        self.terms.retain(|(from, _)| *from > base);
        self.terms.insert(0, (base, term));
        while self.cache.front().is_some_and(|entry| entry.position <= base) {
            let cut = self.cache.pop_front().expect("the front was looked at");
            self.cache_bytes -= size_of_entry(&cut);
        }
    }

    /// Takes the fetch that Raft is waiting for.
    pub fn take_wanted(&mut self) -> Option<Fetch> {
        self.wanted.get_mut().take()
    }

    /// Makes fetched entries readable until [`Self::forget_fetched`]. Gives back whether there are any.
    pub fn offer_fetched(&mut self, entries: Vec<Entry>, from: Position) -> bool {
        let genuine = |entry: &Entry| self.term_of(entry.position) == Some(entry.term);
        self.fetched = entries.into_iter().filter(genuine).collect();
        self.fetched.first().is_some_and(|entry| entry.position == from)
            && self.fetched.windows(2).all(|pair| pair[1].position == pair[0].position.next())
    }

    pub fn forget_fetched(&mut self) {
        self.fetched = Vec::new();
    }

    /// Term of a position that the log holds; of the base as well.
    pub fn term_of(&self, position: Position) -> Option<Term> {
        if position > self.last || position < self.base {
            return None;
        }
        let after = self.terms.partition_point(|(from, _)| *from <= position);
        Some(after.checked_sub(1).map_or(Term(0), |index| self.terms[index].1))
    }

    fn truncate_from(&mut self, position: Position) {
        while self.cache.back().is_some_and(|entry| entry.position >= position) {
            let dropped = self.cache.pop_back().expect("the back was looked at");
            self.cache_bytes -= size_of_entry(&dropped);
        }
        while self.terms.last().is_some_and(|(from, _)| *from >= position && *from > self.base) {
            self.terms.pop();
        }
    }

    fn slice(entries: impl Iterator<Item = Entry>, bytes_max: Option<u64>) -> Vec<RaftEntry> {
        let mut bytes = 0_u64;
        let mut taken = Vec::new();
        for entry in entries {
            bytes += size_of_entry(&entry);
            if !taken.is_empty() && bytes_max.is_some_and(|max| bytes > max) {
                break;
            }
            taken.push(to_raft(entry));
        }
        taken
    }
}

impl raft::Storage for Storage {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(RaftState::new(self.hard_state.clone(), self.members.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> Result<Vec<RaftEntry>> {
        let max_size = max_size.into();
        if low <= self.base.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        let count = (high - low) as usize;
        if let Some(first) = self.cache.front().filter(|first| first.position.0 <= low) {
            let skip = (low - first.position.0) as usize;
            return Ok(Self::slice(self.cache.iter().skip(skip).take(count).cloned(), max_size));
        }
        if let Some(first) = self.fetched.first().filter(|first| first.position.0 <= low) {
            let skip = (low - first.position.0) as usize;
            let found = Self::slice(self.fetched.iter().skip(skip).take(count).cloned(), max_size);
            if !found.is_empty() {
                return Ok(found);
            }
        }
        if !context.can_async() {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let mut wanted = self.wanted.borrow_mut();
        if wanted.is_none() {
            *wanted = Some(Fetch { from: Position(low), to: Position(high), context });
        }
        Err(Error::Store(StorageError::LogTemporarilyUnavailable))
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index < self.base.0 {
            return Err(Error::Store(StorageError::Compacted));
        }
        self.term_of(Position(index)).map(|term| term.0).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.base.0 + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last.0)
    }

    /// No snapshot, only which one there is: its file goes another way.
    fn snapshot(&self, request_index: u64, _to: u64) -> Result<Snapshot> {
        let (position, term) = self.covered;
        if position == Position::ZERO || position.0 < request_index {
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = Snapshot::default();
        snapshot.mut_metadata().index = position.0;
        snapshot.mut_metadata().term = term.0;
        Ok(snapshot)
    }
}

fn size_of_entry(entry: &Entry) -> u64 {
    (entry.payload.len() + FRAME_HEAD_BYTES) as u64
}

/// An entry in the library's form. The term of its origin travels in the context; a change of members as well: what the
/// library wants to read of one when it is proposed is never read again.
pub(crate) fn to_raft(entry: Entry) -> RaftEntry {
    let mut raft_entry = RaftEntry { index: entry.position.0, term: entry.term.0, ..RaftEntry::default() };
    match entry.kind {
        EntryKind::Normal => {
            raft_entry.data = entry.payload;
            if entry.origin_term != Term(0) {
                raft_entry.context = origin_context(entry.origin_term).into();
            }
        }
        EntryKind::ConfChange => {
            raft_entry.set_entry_type(raft::eraftpb::EntryType::EntryConfChangeV2);
            raft_entry.context = change_context(entry.origin_term, &entry.payload).into();
        }
    }
    raft_entry
}

/// An entry out of the library's form.
pub(crate) fn from_raft(entry: RaftEntry) -> Entry {
    let (kind, payload) = match entry.get_entry_type() {
        raft::eraftpb::EntryType::EntryNormal => (EntryKind::Normal, entry.data),
        _ => (EntryKind::ConfChange, entry.context.slice(ORIGIN_BYTES.min(entry.context.len())..)),
    };
    let origin = entry
        .context
        .first_chunk()
        .filter(|_| kind == EntryKind::ConfChange || entry.context.len() == ORIGIN_BYTES);
    let origin_term = origin.map_or(Term(0), |bytes| Term(u64::from_le_bytes(*bytes)));
    Entry { position: Position(entry.index), term: Term(entry.term), origin_term, kind, payload }
}

const ORIGIN_BYTES: usize = 8;

/// The context of a change of members proposed in `term`.
pub(super) fn change_context(term: Term, payload: &[u8]) -> Vec<u8> {
    [&term.0.to_le_bytes(), payload].concat()
}

/// The context of a proposal made in `term`.
pub(super) fn origin_context(term: Term) -> Vec<u8> {
    term.0.to_le_bytes().to_vec()
}
