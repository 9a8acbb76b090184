//! Snapshots: the state at one position, written bit by bit while commands go on, and read at a start.
//!
//! Lives here: when a snapshot may begin, its slices, whether it may count, and loading one.
//! Not here: the cursor over the data (`engine::keyspace`), the file's form (`engine::rdb`), files (the node).
//!
//! Invariant: a snapshot counts only when its position is committed in the term that executed it. Memory may hold
//! changes that are overwritten later, so a replica that steps down gives up one that is not certain yet.

use crate::{Mutant, Output, Shard, State};
use ramkeep_engine::rdb::{Foot, Head, Item, LoadError, Loader, Options, Writer};
use ramkeep_engine::session::SessionId;
use ramkeep_engine::time::Now;
use ramkeep_log::{LogOffset, Position, Term};
use thiserror::Error;

/// Entries of one slice, about: a slice is what connections wait for.
const ENTRIES_PER_SLICE: usize = 128;
/// Bytes of one slice made of large values, about.
const BYTES_PER_SLICE: usize = 128 << 10;
/// Bytes kept for the snapshot alone above which no request is taken until its next slice: this, or an eighth of
/// the data.
const KEPT_BYTES_MAX: u64 = 64 << 20;
const KEPT_PART: u64 = 8;
/// A snapshot that the log's length asked for and that failed is tried again after so long.
const RETRY_NS: u64 = 30_000_000_000;

/// Who is told of the end, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiting {
    /// SAVE.
    Save(SessionId),
    /// DEBUG RELOAD: then the data are read again.
    Reload(SessionId),
}

#[derive(Default)]
pub(crate) struct Snapshots {
    running: Option<Running>,
    is_wanted: bool,
    /// To be told of the end of one that begins from now on.
    waiting: Vec<Waiting>,
    /// Position of the newest that is held here, verified.
    pub(crate) held: Position,
    /// Where the log ended when the newest began.
    log_end: LogOffset,
    retry_at_ns: u64,
}

struct Running {
    head: Head,
    writer: Writer,
    /// The cursor is not at its end.
    has_more: bool,
    foot: Option<Foot>,
    waiting: Vec<Waiting>,
    began: Now,
    changes: u64,
    log_end: LogOffset,
}

/// What a snapshot is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub shard: u32,
    pub cluster: [u8; 16],
}

/// What came of the wish to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    Begun(Head),
    /// Not now; ask again soon.
    Later,
    /// Nobody wants one any more.
    Never,
}

/// The next bytes of a snapshot.
#[derive(Debug)]
pub enum Slice {
    More,
    /// All bytes are made; what the verified file must say.
    Last(Foot),
    /// It was given up.
    Void,
}

/// Whether a snapshot's state can still be overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    Certain,
    Waiting,
    Void,
}

/// A snapshot being loaded.
pub struct Load {
    loader: Loader,
    database: usize,
    has_begun: bool,
    keys: u64,
}

/// Why a snapshot cannot be loaded.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LoadFailure {
    #[error(transparent)]
    File(#[from] LoadError),
    #[error("the file is no snapshot of a shard")]
    NotOurs,
    #[error("the file belongs to another shard, cluster or position")]
    Foreign,
    #[error("key '{key}' is a {kind}, which this version does not know")]
    Unsupported { key: String, kind: &'static str },
    #[error("key '{key}' stands twice, or in a database that does not exist")]
    Misplaced { key: String },
    #[error("{found} keys were found, {told} are told of")]
    Keys { found: u64, told: u64 },
    #[error("the file has no checksum")]
    NoChecksum,
}

/// How far loading came.
#[derive(Debug, PartialEq, Eq)]
pub enum Loading {
    NeedsBytes,
    More,
    Done(Head, Foot),
}

impl Shard {
    /// A snapshot is wanted; `waiting` hears of its end.
    pub(crate) fn want_snapshot(&mut self, waiting: Option<Waiting>, outputs: &mut Vec<Output>) {
        self.snapshots.is_wanted = true;
        self.snapshots.waiting.extend(waiting);
        self.engine.snapshots.is_running = true;
        outputs.push(Output::Snapshot);
    }

    /// Wants one when the log has grown long enough since the last.
    pub(crate) fn want_snapshot_by_length(&mut self, now: Now, outputs: &mut Vec<Output>) {
        let limit = self.engine.config.settings().snapshot_log_bytes;
        let is_idle = !self.snapshots.is_wanted && self.snapshots.running.is_none();
        if limit == 0 || !is_idle || now.monotonic_ns < self.snapshots.retry_at_ns {
            return;
        }
        let Some(replica) = &self.replica else { return };
        let (start, end) = replica.log_span();
        let grown = end.0.saturating_sub(start.max(self.snapshots.log_end).0);
        if grown >= limit.max(self.engine.data.used_memory()) && self.may_begin_snapshot() {
            self.want_snapshot(None, outputs);
        }
    }

    /// Memory is the state at one position of the log, and nothing of it is in doubt for other reasons than a
    /// commit to come.
    fn may_begin_snapshot(&self) -> bool {
        let is_whole = match self.state {
            State::Leading => true,
            State::Following => self.has_genesis && !self.parts.is_inside(),
            State::Replaying | State::Frozen | State::Fenced(_) => false,
        };
        // A voter without data has none to make a snapshot of.
        is_whole && self.has_genesis && self.rebuild.is_none() && !self.options.is_log_only
    }

    /// Begins the snapshot that is wanted: of the state after everything executed so far.
    pub fn begin_snapshot(&mut self, place: Place, now: Now, outputs: &mut Vec<Output>) -> Begin {
        self.end_turn(now, outputs);
        if !self.snapshots.is_wanted {
            return Begin::Never;
        }
        if !self.may_begin_snapshot() || self.snapshots.running.is_some() || self.is_digesting() {
            return Begin::Later;
        }
        let Some(replica) = &self.replica else { return Begin::Later };
        let position = if self.state == State::Leading { replica.last() } else { self.applied };
        let term = replica.term_of(position).expect("the log holds what memory holds");
        // A change of members that is not yet in force would stand in the log before the position, and not in the head.
        let Some(members) = replica.members_at_end() else { return Begin::Later };
        let members = if replica.is_alone() { Vec::new() } else { members.encode() };
        let (_, log_end) = replica.log_span();
        let is_off_by_one = self.options.mutant == Some(Mutant::SnapshotOffByOne);
        let head = Head {
            shard: place.shard,
            cluster: place.cluster,
            position: position.0 + u64::from(is_off_by_one),
            term: term.0,
            shard_ms: self.clock.last_ms(),
            hash_key: self.engine.data.hash_key(),
            members,
        };
        let databases = self.engine.data.databases_mut_for_snapshot();
        let sizes = databases.iter().map(|database| (database.len(), database.expires_len())).collect();
        databases.begin_snapshot();
        let options = Options {
            compresses: self.engine.config.settings().rdb_compression,
            made_at_s: (now.wall_us / 1_000_000).cast_signed(),
            sizes,
        };
        self.engine.snapshots.begun(now);
        self.snapshots.is_wanted = false;
        self.snapshots.running = Some(Running {
            writer: Writer::new(options, Some(&head)),
            head: head.clone(),
            has_more: true,
            foot: None,
            waiting: std::mem::take(&mut self.snapshots.waiting),
            began: now,
            changes: self.engine.data.changes(),
            log_end,
        });
        Begin::Begun(head)
    }

    /// Makes the next bytes of the running snapshot and adds them to `out`: a bounded piece of work.
    pub fn snapshot_slice(&mut self, out: &mut Vec<u8>) -> Slice {
        let Some(running) = &mut self.snapshots.running else { return Slice::Void };
        let writer = &mut running.writer;
        let mut is_large = true;
        while is_large && writer.len() < BYTES_PER_SLICE {
            is_large = writer.step();
        }
        if !is_large && running.has_more {
            let databases = self.engine.data.databases_mut_for_snapshot();
            running.has_more = databases
                .step_snapshot(ENTRIES_PER_SLICE, &mut |database, entry| writer.entry(database, entry));
            let kept = databases.kept_bytes();
            self.engine.snapshots.kept_bytes_peak = self.engine.snapshots.kept_bytes_peak.max(kept);
        } else if !is_large && running.foot.is_none() {
            running.foot = Some(writer.end());
        }
        out.extend_from_slice(&writer.take());
        match running.foot {
            Some(foot) => Slice::Last(foot),
            None => Slice::More,
        }
    }

    /// Whether the running snapshot, all of whose bytes are made, may count.
    pub fn snapshot_certainty(&self) -> Certainty {
        match (&self.snapshots.running, &self.replica) {
            (Some(Running { head, .. }), Some(_)) => {
                match self.is_certain_at(Position(head.position), Term(head.term)) {
                    true => Certainty::Certain,
                    false => Certainty::Waiting,
                }
            }
            _ => Certainty::Void,
        }
    }

    /// The running snapshot has a name, durably, and its bytes were read back and found right; or it failed.
    pub fn snapshot_ended(&mut self, outcome: Result<u64, String>, now: Now, outputs: &mut Vec<Output>) {
        let Some(running) = self.snapshots.running.take() else { return };
        self.engine.data.databases_mut_for_snapshot().cancel_snapshot();
        let waiting = running.waiting;
        let seconds = now.monotonic_ns.saturating_sub(running.began.monotonic_ns) / 1_000_000_000;
        match outcome {
            Ok(bytes) => {
                self.snapshots.held = Position(running.head.position);
                self.snapshots.log_end = running.log_end;
                let foot = running.foot.expect("a snapshot that is made has its end");
                self.engine.snapshots.succeeded(&running.head, foot, bytes, seconds, running.changes, now);
                self.rest_log_on(self.snapshots.held, now, outputs);
            }
            Err(why) => {
                self.snapshots.retry_at_ns = now.monotonic_ns + RETRY_NS;
                self.engine.snapshots.failed(seconds);
                return self.tell_failure(waiting, &why, outputs);
            }
        }
        for waiting in waiting {
            match waiting {
                Waiting::Save(session) => self.unblock(session, outputs, |reply| reply.ok()),
                Waiting::Reload(session) => self.ask_rebuild(session, now, outputs),
            }
        }
        if self.snapshots.is_wanted {
            self.engine.snapshots.is_running = true;
            outputs.push(Output::Snapshot);
        }
    }

    pub(crate) fn is_making_snapshot(&self) -> bool {
        self.snapshots.running.is_some()
    }

    /// Gives the running snapshot up; the node learns of it at its next slice.
    pub(crate) fn give_up_snapshot(&mut self, why: &str, outputs: &mut Vec<Output>) {
        self.engine.data.databases_mut_for_snapshot().cancel_snapshot();
        self.forget_digest();
        if let Some(running) = self.snapshots.running.take() {
            self.engine.snapshots.failed(0);
            self.tell_failure(running.waiting, why, outputs);
        }
    }

    /// Memory may hold what is overwritten later: a snapshot of it must not count.
    pub(crate) fn give_up_uncertain_snapshot(&mut self, outputs: &mut Vec<Output>) {
        let is_certain = self.snapshot_certainty() == Certainty::Certain;
        if !is_certain && self.options.mutant != Some(Mutant::UncertainSnapshotKept) {
            self.give_up_snapshot("this node is no longer the primary", outputs);
        }
    }

    fn tell_failure(&mut self, waiting: Vec<Waiting>, why: &str, outputs: &mut Vec<Output>) {
        for waiting in waiting {
            let (Waiting::Save(session) | Waiting::Reload(session)) = waiting;
            self.unblock(session, outputs, |reply| {
                reply.error(format!("ERR The snapshot failed: {why}").as_bytes());
            });
        }
    }

    /// So much is kept for the snapshot that requests wait for its next slice.
    pub(crate) fn is_keeping_much(&self) -> bool {
        if self.snapshots.running.is_none() && !self.is_digesting() {
            return false;
        }
        let databases = self.engine.data.databases();
        let cloned = databases.cloned_bytes();
        cloned > KEPT_BYTES_MAX && cloned > databases.used_memory() / KEPT_PART
    }

    /// Begins to load a snapshot into memory that holds nothing.
    pub fn begin_load(&mut self) -> Load {
        let serves_nothing = matches!(self.state, State::Replaying | State::Fenced(_));
        assert!(serves_nothing, "a replica that serves loads nothing");
        self.engine.data.clear_for_rebuild();
        self.applied = Position::ZERO;
        self.has_genesis = false;
        let loader = Loader::new(self.engine.data.hash_limits);
        Load { loader, database: 0, has_begun: false, keys: 0 }
    }

    /// Takes what was fed, at most so many items. `place` and `position` are what the file must be of.
    pub fn load(
        &mut self,
        load: &mut Load,
        place: Place,
        position: Position,
        items_max: usize,
        now: Now,
    ) -> Result<Loading, LoadFailure> {
        for _ in 0..items_max {
            let item = match load.loader.next_item() {
                Err(LoadError::Checksum) if self.options.mutant == Some(Mutant::SnapshotChecksumIgnored) => {
                    Some(Item::End { has_checksum: true })
                }
                item => item?,
            };
            let Some(item) = item else { return Ok(Loading::NeedsBytes) };
            if !load.has_begun {
                let head = load.loader.head().ok_or(LoadFailure::NotOurs)?;
                if (head.shard, head.cluster, head.position) != (place.shard, place.cluster, position.0) {
                    return Err(LoadFailure::Foreign);
                }
                self.engine.data.begin_load(head.hash_key);
                load.loader.set_limits(self.engine.data.hash_limits);
                load.has_begun = true;
            }
            match item {
                Item::Database(number) => load.database = usize::try_from(number).unwrap_or(usize::MAX),
                Item::Entry(entry) => {
                    load.keys += 1;
                    if let Some(entry) = self.engine.data.load_entry(load.database, entry) {
                        return Err(LoadFailure::Misplaced { key: shown(entry.key()) });
                    }
                }
                Item::Unsupported { key, kind } => {
                    return Err(LoadFailure::Unsupported { key: shown(&key), kind });
                }
                Item::End { has_checksum } => return self.end_load(load, has_checksum, now),
            }
        }
        Ok(Loading::More)
    }

    fn end_load(&mut self, load: &mut Load, has_checksum: bool, now: Now) -> Result<Loading, LoadFailure> {
        if !has_checksum {
            return Err(LoadFailure::NoChecksum);
        }
        let head = load.loader.head().ok_or(LoadFailure::NotOurs)?;
        let foot = load.loader.foot().ok_or(LoadFailure::NotOurs)?;
        if load.keys != foot.keys && self.options.mutant != Some(Mutant::SnapshotChecksumIgnored) {
            return Err(LoadFailure::Keys { found: load.keys, told: foot.keys });
        }
        self.applied = Position(head.position);
        self.repeats_next = self.options.mutant == Some(Mutant::AppliedTwice);
        self.has_genesis = true;
        self.clock.observe(head.shard_ms, now);
        self.snapshots.held = self.applied;
        self.engine.snapshots.loaded(&head, foot.keys);
        Ok(Loading::Done(head, foot))
    }

    /// A voter without data rests on a verified snapshot in its directory: the log before it is not needed here.
    pub fn rest_on_snapshot(&mut self, head: &Head, foot: Foot) {
        assert!(self.options.is_log_only, "a replica with data loads its snapshot");
        assert_eq!(self.state, State::Replaying, "before the log is read");
        self.applied = Position(head.position);
        self.snapshots.held = self.applied;
        self.engine.snapshots.loaded(head, foot.keys);
    }

    /// Whether a snapshot of another member's is worth fetching: a voter without data makes none of its own, and takes
    /// one that is newer than its own, as soon as it knows its entry to be committed and holds it durably.
    pub fn wants_snapshot_of(&self, position: Position, term: Term) -> bool {
        let Some(replica) = &self.replica else { return false };
        self.options.is_log_only
            && self.state == State::Following
            && position > self.snapshots.held
            && position <= replica.committed().min(replica.persisted())
            && replica.term_of(position) == Some(term)
    }

    /// A snapshot that was wanted is in this node's directory, durably, and was read back and found right.
    pub fn snapshot_fetched(
        &mut self,
        head: &Head,
        foot: Foot,
        bytes: u64,
        now: Now,
        outputs: &mut Vec<Output>,
    ) {
        let position = Position(head.position);
        if !self.wants_snapshot_of(position, Term(head.term)) {
            return;
        }
        self.snapshots.held = position;
        self.engine.snapshots.fetched(head, foot, bytes, now);
        self.rest_log_on(position, now, outputs);
    }

    /// The log below a snapshot that is held here is not needed any more, unless replicas differ: it may tell why.
    fn rest_log_on(&mut self, held: Position, now: Now, outputs: &mut Vec<Output>) {
        if self.divergence().is_none() {
            self.drive(now, outputs, |replica| replica.snapshot_held(held));
        }
    }

    /// Whether the state after this position, executed in this term, is committed and durable here.
    pub(crate) fn is_certain_at(&self, position: Position, term: Term) -> bool {
        self.replica.as_ref().is_some_and(|replica| {
            position <= replica.committed().min(replica.persisted())
                && replica.term_of(position) == Some(term)
        })
    }
}

impl Load {
    /// The file's next bytes; none: it has no more.
    pub fn feed(&mut self, bytes: &[u8]) {
        match bytes {
            [] => self.loader.feed_end(),
            bytes => self.loader.feed(bytes),
        }
    }
}

fn shown(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}
