//! One client of a run: a process that makes calls over a connection and records what came of them.
//!
//! Lives here: moving bytes, giving up after a time, going away in the middle of a pipeline.
//! Not here: which calls (`workload`), what is recorded of them (`session`).

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ramkeep_net::{Conn, Host, sleep, timeout};
use rand_chacha::ChaCha8Rng;

use super::options::{Fault, Options};
use crate::call::{Call, Outcome};
use crate::history::ReadFrom;
use crate::random::{below, between, chance};
use crate::session::{Book, Session};

/// What all clients of a run share.
pub(super) struct Shared {
    /// Simulated time, which no node's clock error touches.
    pub now_ns: Box<dyn Fn() -> u64>,
    pub book: Book,
    pub is_over: bool,
}

pub(super) type SharedRef = Rc<RefCell<Shared>>;

/// Of a thousand pipelines, how many a client abandons half written where that fault is on.
const HALF_PIPELINES_PER_MILLE: u32 = 20;

const HALF_PIPELINE: &str = "half a pipeline";
const OVER: &str = "the run is over";

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// At first at the address of this number.
    Works(usize),
    /// Only reads, one call at a time, soon again.
    Reads,
    /// The same at one node for good, by the address of this number, whatever it answers.
    Stays(usize),
    /// Reads at whichever node it is connected to, primary or not, and stays there.
    ReadsReplica,
    /// The same, and must see everything that was acknowledged before.
    ReadsLinearizably,
}

impl Habit {
    /// What the connection says first, where the node is to answer itself.
    fn first_call(self) -> Option<Call> {
        match self {
            Habit::ReadsReplica => Some(Call::ReadOnly),
            Habit::ReadsLinearizably => Some(Call::ReadLinearizably),
            Habit::Works(_) | Habit::Reads | Habit::Stays(_) => None,
        }
    }
}

/// One that nudges does so whenever nothing has come for a part of its patience, in thousandths; so many times.
const NUDGED_PER_MILLE: (u64, u64) = (50, 500);
const NUDGES_MAX: u32 = 4;
/// Longest pause of a client that only reads.
const READER_PAUSE_US: u64 = 40_000;
/// Of a thousand looks at a replica, after how many its reader goes to another one.
const REPLICA_LEFT_PER_MILLE: u32 = 20;

/// Makes calls until the run is over, at whichever of the addresses there is a primary.
pub(super) async fn run(
    host: Host,
    shared: SharedRef,
    options: Rc<Options>,
    addresses: Vec<SocketAddr>,
    habit: Habit,
) {
    let mut rng = host.rng("client");
    let mut process = shared.borrow_mut().book.recorder.new_process();
    let mut at = match habit {
        Habit::Reads => 0,
        Habit::Works(at) | Habit::Stays(at) => at,
        Habit::ReadsReplica | Habit::ReadsLinearizably => below(&mut rng, addresses.len() as u64) as usize,
    };
    let leaves = !matches!(habit, Habit::Stays(_));
    while !shared.borrow().is_over {
        let address = addresses[at % addresses.len()];
        let connecting = timeout(Duration::from_millis(options.client_timeout_ms), host.connect(address));
        let Ok(Ok(conn)) = connecting.await else {
            at += usize::from(leaves);
            sleep(Duration::from_millis(between(&mut rng, 5, 100))).await;
            continue;
        };
        let read_from = (habit == Habit::ReadsReplica).then_some(ReadFrom::Replica);
        let mut line = Line::new(&host, &shared, conn, process, read_from);
        let reason = line.talk(&options, &mut rng, addresses.len() > 1, habit).await;
        process = line.end(reason);
        if reason == OVER {
            return;
        }
        if reason != HALF_PIPELINE {
            at += usize::from(leaves);
        }
        sleep(Duration::from_millis(between(&mut rng, 0, 50))).await;
    }
}

/// A connection with the calls that are under way on it.
struct Line<'a> {
    host: &'a Host,
    shared: &'a SharedRef,
    conn: Conn,
    session: Session,
}

impl<'a> Line<'a> {
    fn new(
        host: &'a Host,
        shared: &'a SharedRef,
        conn: Conn,
        process: u64,
        read_from: Option<ReadFrom>,
    ) -> Line<'a> {
        let session = Session::new(process, read_from, &mut shared.borrow_mut().book);
        Line { host, shared, conn, session }
    }

    /// Makes calls until the connection breaks or the run is over; gives why.
    async fn talk(
        &mut self,
        options: &Options,
        rng: &mut ChaCha8Rng,
        has_others: bool,
        habit: Habit,
    ) -> &'static str {
        let patience = Duration::from_millis(options.client_timeout_ms);
        if let Some(first) = habit.first_call() {
            self.queue(vec![first]);
            if !matches!(timeout(patience, self.exchange(None)).await, Ok(Ok(()))) {
                return "reset";
            }
        }
        while !self.shared.borrow().is_over {
            let Some(calls) = self.next_calls(options, rng, habit) else { return OVER };
            self.queue(calls);
            if options.has(Fault::HalfPipeline) && chance(rng, HALF_PIPELINES_PER_MILLE) {
                let part = below(rng, self.session.unsent().len() as u64) as usize;
                // What the socket does not take now is not sent at all.
                if let Ok(count) = self.conn.try_write(&self.session.unsent()[..part]) {
                    self.session.sent(count);
                }
                return HALF_PIPELINE;
            }
            let nudges = matches!(habit, Habit::Works(_)) && chance(rng, options.nudge_per_mille);
            let nudge = nudges.then(|| {
                let part = between(rng, NUDGED_PER_MILLE.0, NUDGED_PER_MILLE.1) as u32;
                (patience * part / 1_000, &mut *rng)
            });
            match timeout(patience, self.exchange(nudge)).await {
                Ok(Ok(())) if self.session.is_refused() && has_others => return "refused",
                Ok(Ok(())) => {}
                Ok(Err(_)) => return "reset",
                Err(_) => return "timeout",
            }
            let leaves_per_mille = match habit {
                Habit::Works(_) => options.wander_per_mille,
                Habit::Reads | Habit::Stays(_) => 0,
                Habit::ReadsReplica | Habit::ReadsLinearizably => REPLICA_LEFT_PER_MILLE,
            };
            if has_others && chance(rng, leaves_per_mille) {
                return "leaves for another node";
            }
            let pause_us = match habit {
                Habit::Works(_) => between(rng, options.think_us.low, options.think_us.high),
                Habit::Reads | Habit::Stays(_) | Habit::ReadsReplica | Habit::ReadsLinearizably => {
                    between(rng, 0, READER_PAUSE_US)
                }
            };
            sleep(Duration::from_micros(pause_us)).await;
        }
        OVER
    }

    /// `None`: there is nothing for this client to do.
    fn next_calls(&self, options: &Options, rng: &mut ChaCha8Rng, habit: Habit) -> Option<Vec<Call>> {
        let workloads = &mut self.shared.borrow_mut().book.workloads;
        let process = self.session.process();
        let chosen = match habit {
            Habit::ReadsReplica => workloads.next_look(rng, process),
            Habit::ReadsLinearizably if chance(rng, 500) => workloads.next_look(rng, process),
            Habit::Reads | Habit::Stays(_) | Habit::ReadsLinearizably => workloads.next_read(rng),
            Habit::Works(_) => None,
        };
        let others = || match habit {
            Habit::ReadsReplica => None,
            Habit::ReadsLinearizably => {
                workloads.next_read(rng).or_else(|| workloads.next_look(rng, process)).map(|read| vec![read])
            }
            Habit::Works(_) | Habit::Reads | Habit::Stays(_) => {
                Some(workloads.next(rng, process, options.pipeline_depth_max))
            }
        };
        chosen.map(|call| vec![call]).or_else(others)
    }

    fn queue(&mut self, calls: Vec<Call>) {
        let now_ns = self.now_ns();
        self.session.queue(calls, now_ns, &mut self.shared.borrow_mut().book);
    }

    /// Sends everything and waits for every reply. One that nudges asks again, behind all that waits, when nothing has come
    /// for a while: what became of the replies before shows by the answer.
    async fn exchange(&mut self, mut nudge: Option<(Duration, &mut ChaCha8Rng)>) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(4096);
        let mut nudges_left = NUDGES_MAX;
        while self.session.is_waiting() {
            while !self.session.unsent().is_empty() {
                match self.conn.try_write(self.session.unsent()) {
                    Ok(count) => self.session.sent(count),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.conn.writable().await?,
                    Err(error) => return Err(error),
                }
            }
            buffer.clear();
            let read = self.conn.read(&mut buffer);
            let count = match &mut nudge {
                Some((after, rng)) if nudges_left > 0 => match timeout(*after, read).await {
                    Ok(count) => count?,
                    Err(_) => {
                        nudges_left -= 1;
                        self.ask_again(rng);
                        continue;
                    }
                },
                _ => read.await?,
            };
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let now_ns = self.now_ns();
            let told = tell(self.host);
            let outcome = self.session.receive(&buffer, now_ns, &mut self.shared.borrow_mut().book, told);
            outcome.map_err(|error| io::Error::other(error.to_string()))?;
        }
        Ok(())
    }

    fn ask_again(&mut self, rng: &mut ChaCha8Rng) {
        let now_ns = self.now_ns();
        let book = &mut self.shared.borrow_mut().book;
        let call = book.workloads.next_nudge(rng, self.session.process());
        self.session.queue_more(call, now_ns, book);
    }

    /// Ends the connection; gives the process that goes on.
    fn end(self, reason: &'static str) -> u64 {
        let now_ns = self.now_ns();
        self.session.end(reason, now_ns, &mut self.shared.borrow_mut().book, tell(self.host))
    }

    fn now_ns(&self) -> u64 {
        (self.shared.borrow().now_ns)()
    }
}

fn tell(host: &Host) -> impl FnMut(u64, &Outcome) + '_ {
    |id, outcome| host.trace("call", &[id, outcome.status as u64])
}

/// Makes calls one by one, each as a process of its own, until each is answered: the final read.
pub(super) async fn read_all(
    host: &Host,
    shared: &SharedRef,
    address: SocketAddr,
    calls: Vec<Call>,
) -> io::Result<()> {
    let conn = host.connect(address).await?;
    let process = shared.borrow_mut().book.recorder.new_process();
    let mut line = Line::new(host, shared, conn, process, None);
    for call in calls {
        line.queue(vec![call]);
        line.exchange(None).await?;
        if line.session.is_refused() {
            return Err(io::Error::other("refused"));
        }
    }
    line.end(OVER);
    Ok(())
}
