//! A client whose calls go into the history: it looks for a node that takes them.
//!
//! Lives here: finding a node, moving bytes, giving up after a time, recording what came of each call.
//! Not here: which calls (`workload`), matching replies (`ramkeep_check::client`), keys that are only counted (`marks`).
//!
//! Invariant: a connection counts as open only after it has answered PING, so a call is never sent to nobody; a call is
//! never sent twice.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ramkeep_check::call::{Call, End};
use ramkeep_check::client::Client;
use ramkeep_check::history::Status;
use ramkeep_check::history::recorder::{Caller, Recorder};
use ramkeep_check::random::between;
use ramkeep_check::workload::Workloads;
use ramkeep_net::{ChaCha8Rng, Clock, Conn, Host, sleep, timeout};

use crate::marks::Marks;
use crate::target::Target;

/// What everything in a run shares.
pub struct Shared {
    pub clock: Clock,
    pub recorder: Recorder,
    pub workloads: Workloads,
    pub marks: Marks,
    pub is_over: bool,
}

pub type SharedRef = Rc<RefCell<Shared>>;

/// How the clients of a run behave.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub pipeline_depth_max: u32,
    /// Mean time between two calls of one client.
    pub call_interval_us: u64,
    pub timeout: Duration,
}

/// Refusals after which another node is tried.
const ELSEWHERE: &[&str] =
    &["READONLY", "NOQUORUM", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "MOVED", "UNBLOCKED", "MISCONF"];

pub fn is_elsewhere(error: &str) -> bool {
    ELSEWHERE.iter().any(|code| error.starts_with(code))
}

/// A node that does not greet within this is passed by: one that follows may wait for a primary before it answers.
const GREETING_PATIENCE: Duration = Duration::from_millis(300);

/// Connects to the node at `place` of `targets` if it answers PING; otherwise moves on to the next place.
pub async fn find(host: &Host, targets: &[Target], place: &mut usize, rng: &mut ChaCha8Rng) -> Option<Conn> {
    let greeting = targets[*place % targets.len()].connect(host);
    if let Ok(Ok(conn)) = timeout(GREETING_PATIENCE, greeting).await {
        return Some(conn);
    }
    *place += 1;
    sleep(Duration::from_millis(between(rng, 5, 30))).await;
    None
}

/// Makes calls until the run is over.
pub async fn run(host: Host, shared: SharedRef, manner: Manner, targets: Vec<Target>, mut rng: ChaCha8Rng) {
    let mut process = shared.borrow_mut().recorder.new_process();
    let mut place = 0;
    while !shared.borrow().is_over {
        let Some(conn) = find(&host, &targets, &mut place, &mut rng).await else {
            continue;
        };
        let mut session = Session::new(&shared, conn, process);
        let reason = session.talk(manner, &mut rng).await;
        process = session.end(reason);
        if reason != OVER {
            place += 1;
        }
        sleep(Duration::from_millis(between(&mut rng, 0, 20))).await;
    }
}

/// Makes calls one by one until each is answered: the final read.
pub async fn read_all(
    host: &Host,
    shared: &SharedRef,
    target: &Target,
    calls: Vec<Call>,
    patience: Duration,
) -> io::Result<()> {
    let conn = target.connect(host).await?;
    let process = shared.borrow_mut().recorder.new_process();
    let mut session = Session::new(shared, conn, process);
    for call in calls {
        session.queue(vec![call]);
        let outcome = timeout(patience, session.exchange()).await;
        if let Err(error) = outcome.map_err(io::Error::from).and_then(|inner| inner) {
            session.end("reset");
            return Err(error);
        }
    }
    session.end(OVER);
    Ok(())
}

const OVER: &str = "the run is over";

/// A connection with the calls that are under way on it.
struct Session<'a> {
    shared: &'a SharedRef,
    conn: Conn,
    client: Client,
    process: u64,
    connection: u64,
    pipeline: u64,
    calls: BTreeMap<u64, Call>,
    /// The node has said that it takes no calls now.
    is_refused: bool,
}

impl Session<'_> {
    fn new(shared: &SharedRef, conn: Conn, process: u64) -> Session<'_> {
        let connection = shared.borrow_mut().recorder.new_connection();
        Session {
            shared,
            conn,
            client: Client::default(),
            process,
            connection,
            pipeline: 0,
            calls: BTreeMap::new(),
            is_refused: false,
        }
    }

    /// Makes calls until the connection breaks, the node refuses, or the run is over; gives why.
    async fn talk(&mut self, manner: Manner, rng: &mut ChaCha8Rng) -> &'static str {
        while !self.shared.borrow().is_over {
            let calls = self.shared.borrow_mut().workloads.next(rng, self.process, manner.pipeline_depth_max);
            let pause_us = calls.len() as u64 * manner.call_interval_us;
            self.queue(calls);
            match timeout(manner.timeout, self.exchange()).await {
                Ok(Ok(())) if self.is_refused => return "refused",
                Ok(Ok(())) => {}
                Ok(Err(_)) => return "reset",
                Err(_) => return "timeout",
            }
            sleep(Duration::from_micros(between(rng, 0, pause_us * 2))).await;
        }
        OVER
    }

    fn queue(&mut self, calls: Vec<Call>) {
        self.pipeline += 1;
        let mut shared = self.shared.borrow_mut();
        let now_ns = shared.clock.monotonic_ns();
        for (position, call) in calls.into_iter().enumerate() {
            let caller = Caller {
                process: self.process,
                connection: self.connection,
                pipeline: self.pipeline,
                position: position as u32,
            };
            let id = shared.recorder.begin(caller, &call, now_ns);
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

    /// Records ends; true if the outcome of any is unknown.
    fn finish(&mut self, ended: Vec<(u64, End)>) -> bool {
        let mut is_unknown = false;
        for (id, end) in ended {
            let call = self.calls.remove(&id).expect("a call ends once");
            let outcome = call.outcome(&end);
            is_unknown |= outcome.status == Status::Info;
            self.is_refused |= outcome.error.as_deref().is_some_and(is_elsewhere);
            let mut shared = self.shared.borrow_mut();
            let now_ns = shared.clock.monotonic_ns();
            shared.recorder.finish(id, &outcome, now_ns);
            shared.workloads.learn(self.process, id, &call, &outcome);
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
}
