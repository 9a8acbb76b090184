//! A running node: the shard tied to its connections and its disk.
//!
//! Lives here: carrying the shard's outputs out, and ending turns once all ready connections were
//! served. Not here: what a connection's task does (`connection`), the log's files (`log_driver`),
//! the start (`start`).
//!
//! Invariant: the shard is borrowed for one call at a time, never across an await.

use crate::connection::Link;
use crate::log_driver::LogDriver;
use hashbrown::HashMap;
use ramkeep_engine::Action;
use ramkeep_engine::session::SessionId;
use ramkeep_engine::time::Now;
use ramkeep_net::{Clock, Host, Notify};
use ramkeep_shard::{Output, Shard};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

/// Time between two ticks of the shard.
pub const TICK: Duration = Duration::from_millis(50);
/// Bytes that the buffer shared by all connections holds at least before a read.
const READ_BUFFER_BYTES: usize = 64 << 10;

pub struct Node {
    pub host: Host,
    pub clock: Clock,
    pub shard: RefCell<Shard>,
    pub(crate) log: LogDriver,
    pub(crate) links: RefCell<HashMap<SessionId, Rc<Link>, foldhash::fast::FixedState>>,
    /// What is read goes here first: a connection keeps a buffer of its own only for what is left over.
    pub(crate) read_buffer: RefCell<Vec<u8>>,
    /// A turn is open: it ends when the connections that were ready have been served.
    turn_open: Notify,
    outputs: RefCell<VecDeque<Output>>,
    scratch: RefCell<Vec<Output>>,
    is_carrying_out: Cell<bool>,
    /// The log must be read again into memory.
    pub(crate) rebuild_wanted: Notify,
    pub(crate) stop_wanted: Notify,
    pub(crate) is_stopping: Cell<bool>,
    pub(crate) is_fenced: Cell<bool>,
}

impl Node {
    pub fn new(host: Host, shard: Shard, log: LogDriver) -> Rc<Node> {
        Rc::new(Node {
            clock: host.clock(),
            host,
            shard: RefCell::new(shard),
            log,
            links: RefCell::default(),
            read_buffer: RefCell::new(Vec::with_capacity(READ_BUFFER_BYTES)),
            turn_open: Notify::new(),
            outputs: RefCell::default(),
            scratch: RefCell::default(),
            is_carrying_out: Cell::new(false),
            rebuild_wanted: Notify::new(),
            stop_wanted: Notify::new(),
            is_stopping: Cell::new(false),
            is_fenced: Cell::new(false),
        })
    }

    pub fn now(&self) -> Now {
        Now { monotonic_ns: self.clock.monotonic_ns(), wall_us: self.clock.wall_us() }
    }

    /// One call into the shard; what it wants done is done before this returns.
    pub fn with_shard<R>(self: &Rc<Node>, call: impl FnOnce(&mut Shard, Now, &mut Vec<Output>) -> R) -> R {
        let mut outputs = std::mem::take(&mut *self.scratch.borrow_mut());
        let (result, is_open) = {
            let mut shard = self.shard.borrow_mut();
            let result = call(&mut shard, self.now(), &mut outputs);
            (result, shard.has_open_turn())
        };
        if is_open {
            self.turn_open.notify_one();
        }
        self.outputs.borrow_mut().extend(outputs.drain(..));
        *self.scratch.borrow_mut() = outputs;
        self.carry_out();
        result
    }

    /// Ends turns: runs behind the connections that were ready when the turn began.
    pub async fn end_turns(self: Rc<Node>) {
        loop {
            self.turn_open.notified().await;
            self.with_shard(|shard, now, outputs| shard.end_turn(now, outputs));
        }
    }

    pub async fn tick(self: Rc<Node>) {
        loop {
            ramkeep_net::sleep(TICK).await;
            self.refresh_facts();
            self.with_shard(|shard, now, outputs| shard.tick(now, outputs));
            self.sweep();
        }
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
                Output::Released(session) => self.flush(session),
                Output::Close(session) => self.close_when_flushed(session),
                Output::Action(action) => self.act(action),
                Output::Rebuild => self.rebuild_wanted.notify_one(),
                Output::Fenced(why) => {
                    self.is_fenced.set(true);
                    tracing::error!(%why, "this node serves nothing until it is restarted");
                }
            }
        }
        self.is_carrying_out.set(false);
    }

    fn act(self: &Rc<Node>, action: Action) {
        match action {
            Action::Shutdown => self.stop_wanted.notify_one(),
            Action::Sleep { microseconds } => self.host.stand_still(Duration::from_micros(microseconds)),
            Action::RewriteConfig { session, text } => {
                let path = self.shard.borrow().engine.node.config_file.clone();
                let outcome = self.host.write_file(&path, &text).map_err(|error| error.to_string());
                self.with_shard(|shard, _, outputs| shard.rewritten(session, outcome, outputs));
            }
            Action::ParametersChanged => {}
            Action::Close(_) | Action::Rebuild { .. } => unreachable!("the shard takes these itself"),
        }
    }

    fn refresh_facts(&self) {
        let mut shard = self.shard.borrow_mut();
        let mut facts = shard.engine.log.clone();
        facts.resident_memory_bytes = self.host.usage().resident_bytes;
        self.log.refresh(&mut facts);
        if let Some(replica) = shard.replica() {
            facts.last_position = replica.last().0;
            facts.committed_position = replica.committed().0;
            facts.term = replica.term().0;
        }
        shard.engine.log = facts;
    }
}
