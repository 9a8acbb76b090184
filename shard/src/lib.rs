//! One replica of one shard: engine, log, sessions and gate as one state machine. Pure.
//!
//! Lives here: when commands are taken, when turns end, what an entry carries, when replies may
//! leave, and what happens at a change of role.
//! Not here: sockets, files, clocks, threads (`ramkeep-server` on `ramkeep-net`); what commands do
//! (`ramkeep-engine`); how entries are stored and agreed on (`ramkeep-log`).
//!
//! Invariant: a reply leaves only when every change it could have seen is committed; the data in
//! memory is what the log says plus what this very leadership has executed.

mod apply;
mod batch;
mod clients;
pub mod clock;
mod comparison;
mod confirm;
mod facts;
mod fence;
mod freshness;
mod gate;
mod handover;
mod hold;
pub mod payload;
mod role;
mod snapshot;
mod turn;

pub use apply::ReplayError;
pub use batch::{Arrival, Received};
pub use comparison::{Divergence, RANGES, StateDigest};
pub use fence::{Fence, FenceCause};
pub use freshness::Moment;
pub use gate::Outbox;
pub use handover::HandoverRefused;
pub use snapshot::{Begin, Certainty, Load, LoadFailure, Loading, Place, Slice};

use clock::ShardClock;
use confirm::Confirmation;
use freshness::Freshness;
use gate::Gate;
use handover::Handover;
use hashbrown::HashMap;
use hold::Hold;
use payload::Parts;
use ramkeep_engine::data::Turn;
use ramkeep_engine::resp::{Batch, Decoder};
use ramkeep_engine::session::{Peer, Profile, SessionId};
use ramkeep_engine::time::Now;
use ramkeep_engine::{Action, Engine};
use ramkeep_log::{CommittedEntry, NodeId, Position, Replica, Term};
use std::collections::VecDeque;

/// Bounds and switches of a shard.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Effects of a turn above this end it.
    pub turn_bytes_max: usize,
    /// Requests taken from one connection before the others have their turn.
    pub requests_per_batch_max: usize,
    /// Withheld reply bytes of one connection above which no more is read from it.
    pub withheld_bytes_max: usize,
    /// Calls of all connections that wait for a primary; more are refused at once.
    pub held_calls_max: usize,
    /// Keys deleted by one run of the active expire cycle.
    pub expired_per_tick_max: usize,
    /// Keys evicted by one tick, besides those that commands evict.
    pub evicted_per_tick_max: usize,
    /// It keeps the log and no data: it acknowledges and votes, may lead for a moment, and serves nothing.
    pub is_log_only: bool,
    /// Where another leads, calls on data wait here for the driver to take their sessions there: [`Output::Leave`].
    pub moves_sessions: bool,
    pub mutant: Option<Mutant>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            turn_bytes_max: 64 << 10,
            requests_per_batch_max: 1024,
            withheld_bytes_max: 64 << 20,
            held_calls_max: 10_000,
            expired_per_tick_max: 1000,
            evicted_per_tick_max: 2000,
            is_log_only: false,
            moves_sessions: false,
            mutant: None,
        }
    }
}

/// Bugs that the campaigns must find; set by them alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Replies of writes leave at once.
    AcknowledgeBeforeCommit,
    /// Reads of keys with uncommitted changes are not withheld.
    UncommittedVisible,
    /// A transaction's commands become one entry each.
    SplitTransactions,
    /// Expired keys are deleted without an entry in the log.
    ExpiryNotLogged,
    /// Reads are answered without a lease.
    LeaseIgnored,
    /// What a deposed primary had executed stays in memory though another leader's entries took its place.
    OverwrittenKept,
    /// A snapshot says that it covers one entry more than it does.
    SnapshotOffByOne,
    /// A snapshot of changes that may be overwritten goes on after a step-down.
    UncertainSnapshotKept,
    /// A replica passes over some of the entries that it should apply.
    EntryNotApplied,
    /// The lease is measured by the wall clock.
    LeaseByWallClock,
    /// A new primary serves before all that earlier terms committed is applied, and without a lease.
    ServesBeforeApplied,
    /// EXEC does not care for changes of watched keys that are not committed yet.
    WatchIgnoresUncommitted,
    /// The first entry after a loaded snapshot is applied twice.
    AppliedTwice,
    /// A loaded snapshot's checksum, keys and digest are not looked at.
    SnapshotChecksumIgnored,
    /// Replies of unknown outcome are dropped and their connections go on.
    DroppedRepliesGoOn,
    /// Entries of a format version from the future are skipped.
    UnknownEntriesSkipped,
    /// A deposed primary answers reads from memory that may still be overwritten.
    FrozenServes,
}

/// What the node has to do. Order matters: replies are released only after what they rest on.
#[derive(Debug)]
pub enum Output {
    /// Something for the log's disk or peers.
    Log(ramkeep_log::Output),
    /// The session has bytes that may leave now.
    Released(SessionId),
    /// Close the session's connection once its released bytes are out.
    Close(SessionId),
    /// Close the session's connection now, whatever waits for its client.
    Cut(SessionId),
    /// The session's next call waits for a primary that is elsewhere: see [`Shard::leaves`].
    Leave(SessionId),
    /// Ask the primary for a [`Moment`]; its answer goes to [`Shard::moment_told`]. It may be lost.
    AskMoment { primary: NodeId, question: u64 },
    /// Asked for by a command.
    Action(Action),
    /// Read the log from its start and feed its entries to [`Shard::replay`], then call [`Shard::replayed`]. Every
    /// entry that recovery gives out or holds as unapplied may be fed: the shard knows where to stop.
    Rebuild,
    /// A snapshot is wanted: `begin_snapshot`, its slices to a file, then `snapshot_ended`.
    Snapshot,
    /// The data are to be digested: [`Shard::digest_slice`] until there are no more.
    Digest,
    /// The other members must hear of this digest of the data.
    Digested(StateDigest),
    /// Replicas were found to hold different data.
    Diverged(Divergence),
    /// The replica can no longer keep its promises; it serves nothing until restarted.
    Fenced(Fence),
}

/// How far a session's released bytes came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    All,
    /// The network takes no more for now.
    Clogged,
    /// The connection is broken.
    Broken,
    /// The client reads too slowly for the limit that holds for it: its connection is to be closed.
    OverLimit,
}

/// What the shard keeps of one connection besides the engine's session.
struct Connection {
    decoder: Decoder,
    outbox: Outbox,
    /// A call whose reply comes later: no request is taken until then.
    is_blocked: bool,
    hold: Hold,
    /// Bytes for the client, as the session was told last.
    told_bytes: u64,
    /// Since when more waits for the client than the soft limit allows.
    over_soft_since_ns: Option<u64>,
}

/// A turn that is in the log and not yet known to be committed.
#[derive(Clone, Copy, Debug)]
struct Proposed {
    turn: Turn,
    /// Of the turn's last entry.
    last: Position,
    proposed_ns: u64,
}

/// Positions that this leadership has executed: their effects are in memory.
#[derive(Clone, Copy, Debug)]
struct Executed {
    term: Term,
    first: Position,
    last: Position,
}

/// Where the replica stands.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Applying the log from its start; nothing is served.
    Replaying,
    /// Applies committed entries.
    Following,
    /// Executes commands and proposes.
    Leading,
    /// Was leading and holds changes that may still be overwritten: silent until all of them are
    /// committed, or one is not.
    Frozen,
    /// Serves nothing any more.
    Fenced(Fence),
}

pub struct Shard {
    pub engine: Engine,
    /// None until the log has been read.
    replica: Option<Replica>,
    options: Options,
    state: State,
    /// Term of the leadership in which it executes, or executed last.
    leading_term: Term,
    clock: ShardClock,
    gate: Gate,
    connections: HashMap<SessionId, Connection, foldhash::fast::FixedState>,
    proposed: VecDeque<Proposed>,
    executed: Option<Executed>,
    parts: Parts,
    /// Last position whose effects are in memory.
    applied: Position,
    /// A rebuild replays up to here; what is committed later is in `deferred`.
    rebuild_until: Position,
    /// The log holds its first effect, the key of the keyspace's hash.
    has_genesis: bool,
    /// Monotonic and wall clock when the lease was last seen to be renewed, for a seeded bug.
    lease_seen: (u64, Now),
    /// A seeded bug applies the next entry twice.
    repeats_next: bool,
    rebuild: Option<role::Rebuild>,
    /// Since the start.
    rebuilds: u64,
    /// Of the rebuild under way.
    rebuild_failures: u32,
    snapshots: snapshot::Snapshots,
    comparison: comparison::Comparison,
    /// Entries committed while the log is read again; they follow it.
    deferred: Vec<CommittedEntry>,
    /// The batch being executed has read or changed data.
    has_touched_data: bool,
    confirmation: Confirmation,
    freshness: Freshness,
    /// Sessions whose next call waits for a primary.
    held: Vec<SessionId>,
    /// Sessions whose next call waits for the end of a pause.
    paused: Vec<SessionId>,
    /// There is no primary that this node knows of: calls on data wait.
    holds_calls: bool,
    handover: Option<Handover>,
    /// Before this it does not try again to yield.
    yield_again_ns: u64,
    no_room_since_ns: Option<u64>,
    /// Sessions in WAIT and WAITAOF, with the position that they wait for once it is known.
    waiting: Vec<(SessionId, Option<Position>)>,
    commit_times: turn::CommitTimes,
    /// The log cannot grow: why.
    no_room: Option<String>,
    batch: Batch,
    window: Vec<batch::Part>,
    released: Vec<SessionId>,
    log_outputs: Vec<ramkeep_log::Output>,
}

impl Shard {
    /// A replica that reads its log next: `replay` for every entry known to be committed, then
    /// `start`, then `replayed`.
    pub fn new(engine: Engine, options: Options) -> Shard {
        let mut shard = Shard {
            engine,
            replica: None,
            options,
            state: State::Replaying,
            leading_term: Term::default(),
            clock: ShardClock::default(),
            gate: Gate::default(),
            connections: HashMap::default(),
            proposed: VecDeque::new(),
            executed: None,
            parts: Parts::default(),
            applied: Position::ZERO,
            rebuild_until: Position(u64::MAX),
            has_genesis: false,
            lease_seen: (0, Now::default()),
            repeats_next: false,
            rebuild: None,
            rebuilds: 0,
            rebuild_failures: 0,
            snapshots: snapshot::Snapshots::default(),
            comparison: comparison::Comparison::default(),
            deferred: Vec::new(),
            has_touched_data: false,
            confirmation: Confirmation::default(),
            freshness: Freshness::default(),
            held: Vec::new(),
            paused: Vec::new(),
            holds_calls: false,
            handover: None,
            yield_again_ns: 0,
            no_room_since_ns: None,
            waiting: Vec::new(),
            commit_times: turn::CommitTimes::default(),
            no_room: None,
            batch: Batch::default(),
            window: Vec::new(),
            released: Vec::new(),
            log_outputs: Vec::new(),
        };
        shard.refresh_availability();
        shard
    }

    /// A client connected.
    pub fn open(&mut self, peer: Peer, now: Now) -> SessionId {
        let is_authenticated = self.engine.config.settings().requirepass.is_none();
        let session = self.engine.sessions.open(peer, is_authenticated, now);
        self.engine.stats.connections_received += 1;
        let protocol = ramkeep_engine::resp::Protocol::Resp2;
        let connection = Connection {
            decoder: Decoder::default(),
            outbox: Outbox::new(protocol),
            is_blocked: false,
            hold: Hold::No,
            told_bytes: 0,
            over_soft_since_ns: None,
        };
        self.connections.insert(session, connection);
        session
    }

    /// A client's connection that goes on here as it was at another node. `has_waited`: its next call has waited for a
    /// primary for as long as it may.
    pub fn open_again(&mut self, peer: Peer, profile: Profile, has_waited: bool, now: Now) -> SessionId {
        let id = self.open(peer, now);
        let connection = self.connections.get_mut(&id).expect("it was just opened");
        connection.outbox = Outbox::new(profile.protocol);
        if has_waited {
            connection.hold = Hold::Over;
        }
        self.engine.sessions.adopt(id, profile);
        id
    }

    /// What the session takes along if nothing of it is under way here: no call, no reply, no transaction.
    pub fn idle_profile(&self, id: SessionId) -> Option<Profile> {
        let connection = self.connections.get(&id)?;
        let is_idle = !connection.is_blocked && connection.outbox.pending_bytes() == 0;
        self.engine.sessions.get(id).filter(|_| is_idle)?.profile()
    }

    /// What the session takes along to the primary for which its next call waits; `None` if it stays.
    pub fn leaves(&self, id: SessionId) -> Option<Profile> {
        let is_waiting = self
            .connections
            .get(&id)
            .is_some_and(|connection| matches!(connection.hold, Hold::Waiting { .. }));
        let is_served_here = self.freshness.is_awaited_by(id) || self.reads_here(id);
        if is_waiting && !is_served_here && self.is_led_elsewhere() { self.idle_profile(id) } else { None }
    }

    /// A client's connection is gone: its watches, its queue and its withheld replies go with it.
    pub fn close(&mut self, session: SessionId) {
        self.engine.data.unwatch(session);
        if let Some(gone) = self.engine.sessions.take(session) {
            self.engine.clients_released(gone.held_bytes());
        }
        self.connections.remove(&session);
        self.waiting.retain(|(waiting, _)| *waiting != session);
        self.held.retain(|held| *held != session);
        self.paused.retain(|paused| *paused != session);
        self.engine.monitors.remove(session);
        self.confirmation.forget(session);
        self.freshness.forget(session);
    }

    /// Bytes of the session that may leave now.
    pub fn released(&self, session: SessionId) -> &[u8] {
        let committed = self.engine.data.committed_turn();
        self.connections.get(&session).map_or(&[], |connection| connection.outbox.released(committed))
    }

    /// So many of them went to the network.
    pub fn sent(&mut self, session: SessionId, bytes: usize) {
        let committed = self.engine.data.committed_turn();
        if let Some(connection) = self.connections.get_mut(&session) {
            connection.outbox.sent(bytes, committed);
        }
    }

    /// Hands what may leave of the session to the network by `write`, which tells how many bytes it took, or why
    /// it took none.
    pub fn send(&mut self, id: SessionId, mut write: impl FnMut(&[u8]) -> Result<usize, Sent>) -> Sent {
        let committed = self.engine.data.committed_turn();
        let Some(connection) = self.connections.get_mut(&id) else { return Sent::All };
        let outbox = &mut connection.outbox;
        let limit = self.engine.config.settings().output_limits.normal.hard_bytes;
        if limit > 0 && outbox.pending_bytes() as u64 > limit {
            // As in Redis nothing of a reply leaves that is over the limit by itself.
            self.engine.stats.output_buffer_limit_disconnections += 1;
            return Sent::OverLimit;
        }
        let mut bytes = 0;
        let mut outcome = Sent::All;
        loop {
            let released = outbox.released(committed);
            if released.is_empty() {
                break;
            }
            match write(released) {
                Ok(written) => {
                    outbox.sent(written, committed);
                    bytes += written as u64;
                }
                Err(why) => {
                    outcome = why;
                    break;
                }
            }
        }
        self.engine.stats.bytes_out += bytes;
        let left = connection.outbox.pending_bytes() as u64;
        let released = connection.told_bytes.saturating_sub(left);
        if let Some(session) = self.engine.sessions.get_mut(id).filter(|_| bytes > 0) {
            session.bytes_out += bytes;
            if released > 0 {
                session.output_buffer_bytes = left;
                connection.told_bytes = left;
                self.engine.clients_released(released);
            }
        }
        outcome
    }

    /// Bytes made for the session and not with the network, and how many of them wait for a commit.
    pub fn pending_bytes(&self, session: SessionId) -> (usize, usize) {
        let committed = self.engine.data.committed_turn();
        self.connections.get(&session).map_or((0, 0), |connection| {
            (connection.outbox.pending_bytes(), connection.outbox.withheld_bytes(committed))
        })
    }

    /// Whether the session's next requests may be read now.
    pub fn takes_requests(&self, session: SessionId) -> bool {
        let committed = self.engine.data.committed_turn();
        self.connections.get(&session).is_some_and(|connection| {
            !connection.is_blocked
                && !matches!(connection.hold, Hold::Waiting { .. } | Hold::Paused)
                && !connection.outbox.is_unconfirmed()
                && connection.outbox.withheld_bytes(committed) < self.options.withheld_bytes_max
        }) && !self.is_waiting_for_room()
            && !self.is_keeping_much()
    }

    /// Sessions whose replies wait for a commit, at most two are counted.
    pub fn withholding_sessions(&self) -> usize {
        self.gate.sessions_up_to_two()
    }

    /// Whether any reply waits for a commit.
    pub fn is_withholding(&self) -> bool {
        !self.gate.is_empty()
    }

    /// Changes executed and not yet proposed.
    pub fn has_open_turn(&self) -> bool {
        self.engine.data.effects_bytes() > 0
    }

    /// Shard time, read without an entry.
    pub fn shard_ms(&mut self, now: Now) -> i64 {
        self.clock.now_ms(now)
    }

    pub fn replica(&self) -> Option<&Replica> {
        self.replica.as_ref()
    }

    /// Last position whose effects are in memory.
    pub fn applied(&self) -> Position {
        self.applied
    }

    pub fn is_leading(&self) -> bool {
        self.state == State::Leading
    }

    /// Another is known to lead.
    pub fn is_led_elsewhere(&self) -> bool {
        let leader =
            self.replica.as_ref().and_then(|replica| replica.leader().filter(|it| *it != replica.node()));
        leader.is_some() && self.state != State::Leading
    }

    /// It keeps the log and no data.
    pub fn is_log_only(&self) -> bool {
        self.options.is_log_only
    }

    /// Where it stands.
    pub fn state(&self) -> &State {
        &self.state
    }
}
