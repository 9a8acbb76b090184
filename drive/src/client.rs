//! A client whose calls go into the history: it looks for a node that takes them.
//!
//! Lives here: finding a node, moving bytes, giving up after a time, recording what came of each call.
//! Not here: which calls (`workload`), what is recorded of them (`ramkeep_check::session`), keys that are only counted
//! (`marks`).
//!
//! Invariant: a connection counts as open only after it has answered PING, so a call is never sent to nobody; a call is
//! never sent twice.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ramkeep_check::call::Call;
use ramkeep_check::history::ReadFrom;
use ramkeep_check::random::{below, between, chance};
use ramkeep_check::session::{Book, Session};
use ramkeep_net::{ChaCha8Rng, Clock, Conn, Host, sleep, timeout};

use crate::marks::Marks;
use crate::target::Target;

/// What everything in a run shares.
pub struct Shared {
    pub clock: Clock,
    pub book: Book,
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

/// What a client of the history does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    Works,
    /// Reads at whichever node it is connected to, primary or not.
    ReadsReplica,
}

/// Of a thousand looks at a replica, after how many its reader goes to another one.
const REPLICA_LEFT_PER_MILLE: u32 = 5;

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
pub async fn run(
    host: Host,
    shared: SharedRef,
    manner: Manner,
    habit: Habit,
    targets: Vec<Target>,
    mut rng: ChaCha8Rng,
) {
    let mut process = shared.borrow_mut().book.recorder.new_process();
    let mut place = match habit {
        Habit::Works => 0,
        Habit::ReadsReplica => below(&mut rng, targets.len() as u64) as usize,
    };
    while !shared.borrow().is_over {
        let Some(conn) = find(&host, &targets, &mut place, &mut rng).await else {
            continue;
        };
        let read_from = (habit == Habit::ReadsReplica).then_some(ReadFrom::Replica);
        let mut line = Line::new(&shared, conn, process, read_from);
        let reason = line.talk(manner, habit, &mut rng).await;
        process = line.end(reason);
        if reason == OVER {
            return;
        }
        place += 1;
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
    let process = shared.borrow_mut().book.recorder.new_process();
    let mut line = Line::new(shared, conn, process, None);
    for call in calls {
        line.queue(vec![call]);
        let outcome = timeout(patience, line.exchange()).await;
        if let Err(error) = outcome.map_err(io::Error::from).and_then(|inner| inner) {
            line.end("reset");
            return Err(error);
        }
    }
    line.end(OVER);
    Ok(())
}

const OVER: &str = "the run is over";

/// A connection with the calls that are under way on it.
struct Line<'a> {
    shared: &'a SharedRef,
    conn: Conn,
    session: Session,
}

impl Line<'_> {
    fn new(shared: &SharedRef, conn: Conn, process: u64, read_from: Option<ReadFrom>) -> Line<'_> {
        let session = Session::new(process, read_from, &mut shared.borrow_mut().book);
        Line { shared, conn, session }
    }

    /// Makes calls until the connection breaks, the node refuses, or the run is over; gives why.
    async fn talk(&mut self, manner: Manner, habit: Habit, rng: &mut ChaCha8Rng) -> &'static str {
        if habit == Habit::ReadsReplica {
            self.queue(vec![Call::ReadOnly]);
            if !matches!(timeout(manner.timeout, self.exchange()).await, Ok(Ok(()))) {
                return "reset";
            }
        }
        while !self.shared.borrow().is_over {
            let process = self.session.process();
            let calls = {
                let workloads = &mut self.shared.borrow_mut().book.workloads;
                match habit {
                    Habit::Works => workloads.next(rng, process, manner.pipeline_depth_max),
                    Habit::ReadsReplica => match workloads.next_look(rng, process) {
                        Some(look) => vec![look],
                        None => return OVER,
                    },
                }
            };
            let pause_us = calls.len() as u64 * manner.call_interval_us;
            self.queue(calls);
            match timeout(manner.timeout, self.exchange()).await {
                Ok(Ok(())) if self.session.is_refused() => return "refused",
                Ok(Ok(())) => {}
                Ok(Err(_)) => return "reset",
                Err(_) => return "timeout",
            }
            if habit == Habit::ReadsReplica && chance(rng, REPLICA_LEFT_PER_MILLE) {
                return "leaves for another node";
            }
            sleep(Duration::from_micros(between(rng, 0, pause_us * 2))).await;
        }
        OVER
    }

    fn queue(&mut self, calls: Vec<Call>) {
        let shared = &mut *self.shared.borrow_mut();
        self.session.queue(calls, shared.clock.monotonic_ns(), &mut shared.book);
    }

    /// Sends everything and waits for every reply.
    async fn exchange(&mut self) -> io::Result<()> {
        while !self.session.unsent().is_empty() {
            match self.conn.try_write(self.session.unsent()) {
                Ok(count) => self.session.sent(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.conn.writable().await?,
                Err(error) => return Err(error),
            }
        }
        let mut buffer = Vec::with_capacity(4096);
        while self.session.is_waiting() {
            buffer.clear();
            if self.conn.read(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let shared = &mut *self.shared.borrow_mut();
            let now_ns = shared.clock.monotonic_ns();
            let outcome = self.session.receive(&buffer, now_ns, &mut shared.book, |_, _| {});
            outcome.map_err(|error| io::Error::other(error.to_string()))?;
        }
        Ok(())
    }

    /// Ends the connection; gives the process that goes on.
    fn end(self, reason: &'static str) -> u64 {
        let shared = &mut *self.shared.borrow_mut();
        self.session.end(reason, shared.clock.monotonic_ns(), &mut shared.book, |_, _| {})
    }
}
