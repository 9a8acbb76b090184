//! A running node: the shard tied to its connections and its disk.
//!
//! Lives here: carrying the shard's outputs out, and ending turns once all ready connections were
//! served. Not here: what a connection's task does (`connection`), the log's files (`log_driver`),
//! the start (`start`).
//!
//! Invariant: the shard is borrowed for one call at a time, never across an await.

use crate::comparison;
use crate::connection::Link;
use crate::holdings::Holdings;
use crate::install::Offers;
use crate::listeners::Doors;
use crate::log_driver::LogDriver;
use crate::peers::Peers;
use crate::point;
use crate::quarantine;
use crate::round::Round;
use hashbrown::HashMap;
use ramkeep_engine::Action;
use ramkeep_engine::session::SessionId;
use ramkeep_engine::time::Now;
use ramkeep_log::{Replica, Written};
use ramkeep_net::{Clock, Host, Notify, Signal};
use ramkeep_shard::{Fence, FenceCause, Output, Shard, State};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

/// Time between two ticks of the shard.
pub const TICK: Duration = Duration::from_millis(50);
/// So many writes of the log are left to its own thread after a reply that waited for none of them.
pub const WRITES_BESIDE_READERS: u32 = 64;
/// Idle and unauthenticated clients are looked for at every so many ticks.
const SWEEP_TICKS: u64 = 20;
/// What is held here is told of at every so many ticks.
const ANNOUNCE_TICKS: u64 = 5;
/// Places for clients that have not given the password, however small `maxclients` is.
const STRANGERS_MIN: usize = 32;

pub struct Node {
    pub host: Host,
    pub clock: Clock,
    pub shard: RefCell<Shard>,
    pub(crate) log: LogDriver,
    /// Snapshots of its directory.
    pub holdings: Holdings,
    /// The other nodes; none for a node alone.
    pub(crate) peers: OnceCell<Rc<Peers>>,
    pub(crate) doors: RefCell<Doors>,
    pub(crate) links: RefCell<HashMap<SessionId, Rc<Link>, foldhash::fast::FixedState>>,
    /// What is read goes here first: a connection keeps a buffer of its own only for what is left over.
    pub(crate) round: RefCell<Round>,
    /// Requests wait in the round, or a turn is open: both end when the connections that were ready have been served.
    pub(crate) turn_wanted: Signal,
    /// Writes of the log that must not hold up readers.
    writes_beside_readers: Cell<u32>,
    /// So many of them after each reply that waited for none.
    writes_beside_readers_max: u32,
    outputs: RefCell<VecDeque<Output>>,
    scratch: RefCell<Vec<Output>>,
    is_carrying_out: Cell<bool>,
    /// The log must be read again into memory.
    pub(crate) is_rebuild_due: Cell<bool>,
    /// A snapshot of another member stands where the replica should start anew from.
    pub(crate) is_anew_due: Cell<bool>,
    /// The data here are to be set aside, and fetched anew under another id: why.
    pub(crate) rejoin_due: RefCell<Option<String>>,
    /// One of the three.
    pub(crate) reading_wanted: Notify,
    pub(crate) offers: Offers,
    pub(crate) snapshot_wanted: Notify,
    pub(crate) digest_wanted: Notify,
    stop_wanted: Notify,
    pub(crate) is_stopping: Cell<bool>,
    /// Clients connected here that have no session here: the primary serves them.
    pub(crate) clients_elsewhere: Cell<usize>,
    pub(crate) is_fenced: Cell<bool>,
    is_turned_away: Cell<bool>,
    fenced: Notify,
}

impl Node {
    /// `writes_beside_readers`: [`WRITES_BESIDE_READERS`], or what a simulation wants to see.
    pub fn new(host: Host, shard: Shard, log: LogDriver, writes_beside_readers: u32) -> Rc<Node> {
        Rc::new(Node {
            clock: host.clock(),
            host,
            shard: RefCell::new(shard),
            log,
            holdings: Holdings::default(),
            peers: OnceCell::new(),
            doors: RefCell::default(),
            links: RefCell::default(),
            round: RefCell::default(),
            turn_wanted: Signal::new(),
            writes_beside_readers: Cell::new(0),
            writes_beside_readers_max: writes_beside_readers,
            outputs: RefCell::default(),
            scratch: RefCell::default(),
            is_carrying_out: Cell::new(false),
            is_rebuild_due: Cell::new(false),
            is_anew_due: Cell::new(false),
            rejoin_due: RefCell::default(),
            reading_wanted: Notify::new(),
            offers: Offers::default(),
            snapshot_wanted: Notify::new(),
            digest_wanted: Notify::new(),
            stop_wanted: Notify::new(),
            is_stopping: Cell::new(false),
            clients_elsewhere: Cell::new(0),
            is_fenced: Cell::new(false),
            is_turned_away: Cell::new(false),
            fenced: Notify::new(),
        })
    }

    pub fn now(&self) -> Now {
        Now { monotonic_ns: self.clock.monotonic_ns(), wall_us: self.clock.wall_us() }
    }

    /// One call into the shard; what it wants done is done before this returns.
    pub fn with_shard<R>(self: &Rc<Node>, call: impl FnOnce(&mut Shard, Now, &mut Vec<Output>) -> R) -> R {
        let mut outputs = std::mem::take(&mut *self.scratch.borrow_mut());
        let (result, is_open, has_stepped_down) = {
            let mut shard = self.shard.borrow_mut();
            let (applied, led) = (shard.applied(), shard.is_leading());
            let result = call(&mut shard, self.now(), &mut outputs);
            if shard.applied() != applied {
                self.host.point(point::ENTRIES_APPLIED);
            }
            if shard.wants_confirmation() {
                // By a clock read again: the process may have stood still since.
                shard.confirm(self.now(), &mut outputs);
            }
            (result, shard.has_open_turn(), led && !shard.is_leading())
        };
        if is_open {
            self.turn_wanted.set();
        }
        self.outputs.borrow_mut().extend(outputs.drain(..));
        *self.scratch.borrow_mut() = outputs;
        self.carry_out();
        if has_stepped_down {
            // At once: what a client says meanwhile would end its connection.
            self.send_carried_away();
        }
        result
    }

    /// Executes rounds and ends turns: runs behind the connections that were ready when the round began.
    pub async fn end_turns(self: Rc<Node>) {
        loop {
            self.turn_wanted.wait().await;
            self.run_round();
            if self.shard.borrow().has_open_turn() {
                self.with_shard(|shard, now, outputs| shard.end_turn(now, outputs));
            }
        }
    }

    /// Waits until the node can no longer keep its promises.
    pub async fn fenced(&self) {
        self.fenced.notified().await;
    }

    /// Waits until a client has asked for the end.
    pub async fn stop_wanted(&self) {
        self.stop_wanted.notified().await;
    }

    pub async fn tick(self: Rc<Node>) {
        for count in 0u64.. {
            ramkeep_net::sleep(TICK).await;
            self.refresh_facts();
            self.with_shard(|shard, now, outputs| shard.tick(now, outputs));
            self.look_whether_turned_away();
            if self.peers.get().is_some() && !self.shard.borrow().is_leading() {
                self.send_carried_away();
            }
            if count % ANNOUNCE_TICKS == 0 {
                self.announce();
            }
            if count % SWEEP_TICKS == 0 {
                self.tell_all_members();
                self.sweep();
            }
        }
    }

    /// Tells the other nodes which snapshot they may fetch here, and the newest digest of the data.
    pub(crate) fn announce(&self) {
        let Some(peers) = self.peers() else { return };
        if let Some(newest) = self.holdings.newest() {
            peers.announce(&newest);
        }
        if let Some(digest) = self.shard.borrow().digested() {
            peers.tell_digest(&digest);
        }
    }

    /// Whether it takes no more clients.
    pub(crate) fn is_full(&self) -> bool {
        let shard = self.shard.borrow();
        let clients = shard.engine.sessions.len() + self.clients_elsewhere.get();
        clients >= shard.engine.config.settings().clients_max as usize
    }

    /// Who has not given the password takes no more than a part of the places, and those of one address half of that: the
    /// rest is kept for those who can.
    pub(crate) fn is_full_of_strangers(&self, peer: IpAddr) -> bool {
        let shard = self.shard.borrow();
        let settings = shard.engine.config.settings();
        let places = (settings.clients_max as usize / 4).max(STRANGERS_MIN);
        let sessions = &shard.engine.sessions;
        if settings.requirepass.is_none() || sessions.strangers() < places / 2 {
            return false;
        }
        let is_from = |address: &str| address.parse().is_ok_and(|from: SocketAddr| from.ip() == peer);
        let same =
            || sessions.iter().filter(|session| !session.is_authenticated && is_from(&session.address));
        sessions.strangers() >= places || same().count() >= places / 2
    }

    /// Does what the shard asked for, in order. Called again from inside, it leaves the rest to the
    /// call that is under way.
    fn carry_out(self: &Rc<Node>) {
        if self.is_carrying_out.replace(true) {
            return;
        }
        loop {
            let next = self.outputs.borrow_mut().pop_front();
            let Some(output) = next else { break };
            match output {
                Output::Log(output) => self.log.carry_out(self, output),
                Output::Released(session) => {
                    self.host.point(point::REPLY_RELEASED);
                    self.flush(session);
                    self.host.point(point::REPLY_SENT);
                }
                Output::Close(session) => self.close_when_flushed(session),
                Output::Cut(session) => self.close_now(session),
                Output::Leave(session) => self.leave(session),
                Output::AskMoment { primary, question } => {
                    if let Some(peers) = self.peers.get() {
                        peers.ask_moment(primary, question);
                    }
                }
                Output::Action(action) => self.act(action),
                Output::Rebuild => {
                    self.is_rebuild_due.set(true);
                    self.reading_wanted.notify_one();
                }
                Output::Snapshot => self.snapshot_wanted.notify_one(),
                Output::Digest => self.digest_wanted.notify_one(),
                Output::Digested(digest) => {
                    if let Some(peers) = self.peers() {
                        peers.tell_digest(&digest);
                    }
                }
                Output::Diverged(found) => comparison::tell(self, &found),
                Output::Fenced(fence) => self.fenced_off(&fence),
            }
        }
        self.is_carrying_out.set(false);
        if let Some(peers) = self.peers.get() {
            peers.flush();
            self.host.point(point::MESSAGES_SENT);
        }
    }

    /// What a new directory helps against is asked for; else the node waits for its restart.
    fn fenced_off(&self, fence: &Fence) {
        let may_ask =
            self.peers().is_some() && quarantine::is_allowed(self.shard.borrow().engine.config.settings());
        if may_ask && fence.cause != FenceCause::Log {
            tracing::error!(why = %fence, "this node serves nothing, and asks to be replaced");
            *self.rejoin_due.borrow_mut() = Some(fence.why.clone());
            self.reading_wanted.notify_one();
        } else {
            tracing::error!(why = %fence, "this node serves nothing until it is restarted");
            self.give_up();
        }
    }

    /// Only a restart may help.
    pub(crate) fn give_up(&self) {
        self.is_fenced.set(true);
        self.fenced.notify_one();
    }

    /// It is a member again, over another directory.
    pub(crate) fn rejoined(&self) {
        self.is_turned_away.set(false);
    }

    /// Nothing is acknowledged, voted or served here, for now or until a restart.
    pub(crate) fn is_behind_fence(&self) -> bool {
        self.is_fenced.get() || matches!(self.shard.borrow().state(), State::Fenced(_))
    }

    fn act(self: &Rc<Node>, action: Action) {
        match action {
            Action::Shutdown => self.stop_wanted.notify_one(),
            Action::Sleep { microseconds } => self.host.stand_still(Duration::from_micros(microseconds)),
            Action::RewriteConfig { session } => {
                let outcome = self.rewrite_config().map_err(|error| error.to_string());
                self.with_shard(|shard, _, outputs| shard.rewritten(session, outcome, outputs));
            }
            Action::Cluster { session, request } => {
                let node = Rc::clone(self);
                ramkeep_net::spawn(async move {
                    let outcome = crate::status::carry_out(&node, request).await;
                    node.with_shard(|shard, _, outputs| shard.answered(session, outcome, outputs));
                    node.send_away(session);
                });
            }
            Action::Listen { session } => self.move_doors(session),
            Action::CrossProtocol { address } => tracing::warn!(
                address,
                "Possible SECURITY ATTACK detected: a client sends POST or Host:, as a browser does that a web page \
                 misuses to reach this server. Its connection was closed, and nothing after it was executed"
            ),
            Action::ParametersChanged => {}
            Action::Close(_)
            | Action::Resume
            | Action::Unblock { .. }
            | Action::Rebuild { .. }
            | Action::Snapshot { .. } => {
                unreachable!("the shard takes these itself")
            }
        }
    }

    /// Tells the replica something that happened.
    pub(crate) fn drive(self: &Rc<Node>, input: impl FnOnce(&mut Replica, u64)) {
        self.with_shard(|shard, now, outputs| {
            shard.drive(now, outputs, |replica| input(replica, now.monotonic_ns));
        });
    }

    /// A write of the log came to an end.
    pub(crate) fn written(self: &Rc<Node>, written: Written, outcome: io::Result<()>) {
        match outcome {
            Ok(()) => self.drive(|replica, now_ns| replica.written(written, now_ns)),
            Err(error) => {
                tracing::error!(%error, "the log cannot be written");
                self.drive(|replica, now_ns| replica.write_failed(written, now_ns));
            }
        }
    }

    /// A spare segment was made, or not.
    pub(crate) fn prepared(self: &Rc<Node>, segment: u64, outcome: io::Result<()>) {
        let failure = outcome.err().map(|error| error.to_string());
        if let Some(why) = &failure {
            tracing::warn!(why, "the log's next segment cannot be made");
        }
        self.with_shard(|shard, now, outputs| {
            shard.set_no_room(failure.clone(), now);
            shard.drive(now, outputs, |replica| match failure {
                None => replica.prepared(segment, now.monotonic_ns),
                Some(_) => replica.prepare_failed(segment, now.monotonic_ns),
            });
        });
        self.wake_paused();
    }

    /// Tells whoever has to know who the members are.
    pub(crate) fn tell_members(&self) {
        let members = self.shard.borrow().replica().map(|replica| replica.members().clone());
        if let (Some(peers), Some(members)) = (self.peers(), members) {
            peers.know(&members);
        }
    }

    /// How many nodes vote, as far as the log here says; none without a replica.
    pub fn voters(&self) -> Option<usize> {
        self.shard.borrow().replica().map(|replica| replica.members().voters().len())
    }

    /// The primary tells every node who the members are.
    fn tell_all_members(&self) {
        let shard = self.shard.borrow();
        if let (Some(peers), Some(replica)) = (self.peers(), shard.replica().filter(|_| shard.is_leading())) {
            peers.tell_members(replica.members());
        }
    }

    /// Another node has said that this one was replaced or removed.
    pub(crate) fn is_turned_away(&self) -> bool {
        self.is_turned_away.get()
    }

    /// A node that was replaced or removed serves nothing: what it holds may be old.
    fn look_whether_turned_away(self: &Rc<Node>) {
        let takes_part = self.shard.borrow().replica().is_some();
        if self.is_turned_away() || !takes_part || !self.peers().is_some_and(|peers| peers.is_turned_away()) {
            return;
        }
        self.is_turned_away.set(true);
        self.with_shard(|shard, now, outputs| {
            shard.expel("the other nodes say that it was replaced or removed".to_owned(), now, outputs);
        });
    }

    /// The other nodes, if this one is not alone.
    pub fn peers(&self) -> Option<&Rc<Peers>> {
        self.peers.get()
    }

    /// Whether the log may be written on this thread: all who asked for something lately wait for the disk anyway. With
    /// peers it never may: a slow disk would hold up heartbeats and the lease.
    pub(crate) fn may_write_inline(&self) -> bool {
        self.peers.get().is_none() && self.writes_beside_readers.get() == 0
    }

    /// A request was answered that waits for no write.
    pub(crate) fn somebody_reads(&self) {
        self.writes_beside_readers.set(self.writes_beside_readers_max);
    }

    /// A write of the log was handed to its own thread.
    pub(crate) fn wrote_beside_readers(&self) {
        self.writes_beside_readers.set(self.writes_beside_readers.get().saturating_sub(1));
    }

    /// All replies are out.
    pub(crate) fn is_drained(&self) -> bool {
        let shard = self.shard.borrow();
        let links = self.links.borrow();
        links.keys().all(|session| shard.pending_bytes(*session).0 == 0)
    }

    fn rewrite_config(&self) -> io::Result<()> {
        let shard = self.shard.borrow();
        let path = &shard.engine.node.config_file;
        let old = match self.host.read_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        self.host.write_file(path, &shard.engine.config.rewrite(&old))
    }

    fn refresh_facts(&self) {
        let mut shard = self.shard.borrow_mut();
        let mut facts = shard.engine.log.clone();
        let usage = self.host.usage();
        facts.resident_memory_bytes = usage.resident_bytes;
        facts.user_cpu_us = usage.user_cpu_us;
        facts.system_cpu_us = usage.system_cpu_us;
        self.log.refresh(&mut facts);
        if let Some(replica) = shard.replica() {
            facts.last_position = replica.last().0;
            facts.committed_position = replica.committed().0;
            facts.term = replica.term().0;
        }
        shard.engine.log = facts;
    }
}
