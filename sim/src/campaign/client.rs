//! One client of a run: a process that makes calls over a connection and records what came of them.
//!
//! Lives here: moving bytes, giving up after a time, going away in the middle of a pipeline.
//! Not here: which calls (`workload`), matching replies (`client`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ramkeep_net::{Conn, Host, sleep, timeout};
use rand_chacha::ChaCha8Rng;

use super::options::{Fault, Options};
use crate::call::{Call, End};
use crate::client::Client;
use crate::history::Recorder;
use crate::history::recorder::Caller;
use crate::random::{below, between, chance};
use crate::workload::Workloads;

/// What all clients of a run share.
pub(super) struct Shared {
    /// Simulated time, which no node's clock error touches.
    pub now_ns: Box<dyn Fn() -> u64>,
    pub recorder: Recorder,
    pub workloads: Workloads,
    pub is_over: bool,
    pub answered: u64,
}

pub(super) type SharedRef = Rc<RefCell<Shared>>;

/// Of a thousand pipelines, how many a client abandons half written where that fault is on.
const HALF_PIPELINES_PER_MILLE: u32 = 20;

const HALF_PIPELINE: &str = "half a pipeline";

/// A connection with the calls that are under way on it.
struct Session<'a> {
    host: &'a Host,
    shared: &'a SharedRef,
    conn: Conn,
    client: Client,
    process: u64,
    connection: u64,
    pipeline: u64,
    calls: BTreeMap<u64, Call>,
    /// The node has said that it cannot serve now.
    is_refused: bool,
}

/// What a node says that is not, or not now, the primary.
const NOT_HERE: &[&str] = &["NOQUORUM", "LOADING", "READONLY", "MASTERDOWN", "MOVED", "MISCONF"];

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    Works,
    /// Only reads, one call at a time, soon again.
    Reads,
}

/// Longest pause of a client that only reads.
const READER_PAUSE_US: u64 = 40_000;

/// Makes calls until the run is over, at whichever of the addresses there is a primary.
pub(super) async fn run(
    host: Host,
    shared: SharedRef,
    options: Rc<Options>,
    addresses: Vec<SocketAddr>,
    habit: Habit,
) {
    let mut rng = host.rng("client");
    let mut process = shared.borrow_mut().recorder.new_process();
    let mut at = 0;
    while !shared.borrow().is_over {
        let address = addresses[at % addresses.len()];
        let connecting = timeout(Duration::from_millis(options.client_timeout_ms), host.connect(address));
        let Ok(Ok(conn)) = connecting.await else {
            at += 1;
            sleep(Duration::from_millis(between(&mut rng, 5, 100))).await;
            continue;
        };
        let connection = shared.borrow_mut().recorder.new_connection();
        let mut session = Session {
            host: &host,
            shared: &shared,
            conn,
            client: Client::default(),
            process,
            connection,
            pipeline: 0,
            calls: BTreeMap::new(),
            is_refused: false,
        };
        let reason = session.talk(&options, &mut rng, addresses.len() > 1, habit).await;
        process = session.end(reason);
        if reason != HALF_PIPELINE {
            at += 1;
        }
        sleep(Duration::from_millis(between(&mut rng, 0, 50))).await;
    }
}

impl Session<'_> {
    /// Makes calls until the connection breaks or the run is over; gives why.
    async fn talk(
        &mut self,
        options: &Options,
        rng: &mut ChaCha8Rng,
        has_others: bool,
        habit: Habit,
    ) -> &'static str {
        let patience = Duration::from_millis(options.client_timeout_ms);
        while !self.shared.borrow().is_over {
            let calls = {
                let mut shared = self.shared.borrow_mut();
                let read = (habit == Habit::Reads).then(|| shared.workloads.next_read(rng)).flatten();
                match read {
                    Some(read) => vec![read],
                    None => shared.workloads.next(rng, self.process, options.pipeline_depth_max),
                }
            };
            self.queue(calls);
            if options.has(Fault::HalfPipeline) && chance(rng, HALF_PIPELINES_PER_MILLE) {
                let part = below(rng, self.client.unsent().len() as u64) as usize;
                // What the socket does not take now is not sent at all.
                if let Ok(count) = self.conn.try_write(&self.client.unsent()[..part]) {
                    self.client.sent(count);
                }
                return HALF_PIPELINE;
            }
            match timeout(patience, self.exchange()).await {
                Ok(Ok(())) if self.is_refused && has_others => return "refused",
                Ok(Ok(())) => {}
                Ok(Err(_)) => return "reset",
                Err(_) => return "timeout",
            }
            let wanders = has_others && habit == Habit::Works;
            if wanders && chance(rng, options.wander_per_mille) {
                return "leaves for another node";
            }
            let pause_us = match habit {
                Habit::Works => between(rng, options.think_us.low, options.think_us.high),
                Habit::Reads => between(rng, 0, READER_PAUSE_US),
            };
            sleep(Duration::from_micros(pause_us)).await;
        }
        "the run is over"
    }

    fn queue(&mut self, calls: Vec<Call>) {
        self.pipeline += 1;
        let now_ns = self.now_ns();
        for (position, call) in calls.into_iter().enumerate() {
            let caller = Caller {
                process: self.process,
                connection: self.connection,
                pipeline: self.pipeline,
                position: position as u32,
            };
            let id = self.shared.borrow_mut().recorder.begin(caller, &call, now_ns);
            self.client.queue(id, &call);
            self.calls.insert(id, call);
        }
    }

    /// Sends everything and waits for every reply.
    async fn exchange(&mut self) -> io::Result<()> {
        while !self.client.unsent().is_empty() {
            match self.conn.try_write(self.client.unsent()) {
                Ok(count) => self.client.sent(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.conn.writable().await?,
                Err(error) => return Err(error),
            }
        }
        let mut buffer = Vec::with_capacity(4096);
        while self.client.in_flight() > 0 {
            buffer.clear();
            if self.conn.read(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut ended = Vec::new();
            let outcome = self.client.receive(&buffer, &mut ended);
            self.finish(ended);
            outcome.map_err(|error| io::Error::other(error.to_string()))?;
        }
        Ok(())
    }

    fn finish(&mut self, ended: Vec<(u64, End)>) -> bool {
        let mut is_unknown = false;
        for (id, end) in ended {
            let call = self.calls.remove(&id).expect("a call ends once");
            let outcome = call.outcome(&end);
            is_unknown |= outcome.status == crate::history::Status::Info;
            let is_not_here = |error: &String| NOT_HERE.iter().any(|text| error.contains(text));
            self.is_refused |= outcome.error.as_ref().is_some_and(is_not_here);
            let now_ns = self.now_ns();
            let mut shared = self.shared.borrow_mut();
            shared.answered += u64::from(outcome.is_ok());
            shared.recorder.finish(id, &outcome, now_ns);
            shared.workloads.learn(self.process, id, &call, &outcome);
            self.host.trace("call", &[id, outcome.status as u64]);
        }
        is_unknown
    }

    /// Ends the connection; gives the process that goes on.
    fn end(&mut self, reason: &'static str) -> u64 {
        let mut ended = Vec::new();
        std::mem::take(&mut self.client).close(reason, &mut ended);
        let is_unknown = self.finish(ended);
        let mut shared = self.shared.borrow_mut();
        shared.workloads.forget(self.process);
        if is_unknown { shared.recorder.new_process() } else { self.process }
    }

    fn now_ns(&self) -> u64 {
        (self.shared.borrow().now_ns)()
    }
}

/// Makes calls one by one, each as a process of its own, until each is answered: the final read.
pub(super) async fn read_all(
    host: &Host,
    shared: &SharedRef,
    address: SocketAddr,
    calls: Vec<Call>,
) -> io::Result<()> {
    let conn = host.connect(address).await?;
    let (process, connection) = {
        let mut shared = shared.borrow_mut();
        (shared.recorder.new_process(), shared.recorder.new_connection())
    };
    let mut session = Session {
        host,
        shared,
        conn,
        client: Client::default(),
        process,
        connection,
        pipeline: 0,
        calls: BTreeMap::new(),
        is_refused: false,
    };
    for call in calls {
        session.queue(vec![call]);
        session.exchange().await?;
    }
    session.end("the run is over");
    Ok(())
}
