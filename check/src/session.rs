//! One connection of a client: its calls under way, and what came of them in history and workloads.
//!
//! Lives here: what every client of a run does around its socket. Not here: the socket, and how long it waits.
//!
//! Invariant: each call is recorded before its first byte is offered, and ends exactly once.

use std::collections::BTreeMap;

use crate::call::{Call, End, Outcome};
use crate::client::{Client, ClientError};
use crate::history::recorder::Caller;
use crate::history::{ReadFrom, Recorder, Status};
use crate::workload::Workloads;

/// What the clients of a run share: the history they write and the workloads they draw from.
pub struct Book {
    pub recorder: Recorder,
    pub workloads: Workloads,
    /// Calls that were answered and executed.
    pub answered: u64,
}

impl Book {
    pub fn new(recorder: Recorder, workloads: Workloads) -> Book {
        Book { recorder, workloads, answered: 0 }
    }
}

#[derive(Debug)]
pub struct Session {
    client: Client,
    process: u64,
    connection: u64,
    pipeline: u64,
    calls: BTreeMap<u64, Call>,
    read_from: Option<ReadFrom>,
    is_refused: bool,
}

/// Refusals after which another node is tried.
const ELSEWHERE: &[&str] = &[
    "READONLY",
    "NOQUORUM",
    "LOADING",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "MOVED",
    "UNBLOCKED",
    "MISCONF",
    "NODATA",
];

/// Whether the error says that this node does not, or not now, take calls.
pub fn is_elsewhere(error: &str) -> bool {
    ELSEWHERE.iter().any(|code| error.starts_with(code))
}

impl Session {
    pub fn new(process: u64, read_from: Option<ReadFrom>, book: &mut Book) -> Session {
        Session {
            client: Client::default(),
            process,
            connection: book.recorder.new_connection(),
            pipeline: 0,
            calls: BTreeMap::new(),
            read_from,
            is_refused: false,
        }
    }

    pub fn process(&self) -> u64 {
        self.process
    }

    /// The node has said that it takes no calls now.
    pub fn is_refused(&self) -> bool {
        self.is_refused
    }

    pub fn is_waiting(&self) -> bool {
        self.client.in_flight() > 0
    }

    /// Bytes for the transport.
    pub fn unsent(&self) -> &[u8] {
        self.client.unsent()
    }

    /// The transport took `count` of the unsent bytes.
    pub fn sent(&mut self, count: usize) {
        self.client.sent(count);
    }

    /// Records the calls and makes their bytes.
    pub fn queue(&mut self, calls: Vec<Call>, now_ns: u64, book: &mut Book) {
        self.pipeline += 1;
        for (position, call) in calls.into_iter().enumerate() {
            let caller = Caller {
                process: self.process,
                connection: self.connection,
                pipeline: self.pipeline,
                position: position as u32,
                read_from: self.read_from,
            };
            let id = book.recorder.begin(caller, &call, now_ns);
            self.client.queue(id, &call);
            self.calls.insert(id, call);
        }
    }

    /// One more call behind those that are not answered yet, as part of their pipeline.
    pub fn queue_more(&mut self, call: Call, now_ns: u64, book: &mut Book) {
        let caller = Caller {
            process: self.process,
            connection: self.connection,
            pipeline: self.pipeline,
            position: self.calls.len() as u32,
            read_from: self.read_from,
        };
        let id = book.recorder.begin(caller, &call, now_ns);
        self.client.queue(id, &call);
        self.calls.insert(id, call);
    }

    /// Takes bytes from the transport; `told` hears of each call that ended. After an error the connection is to be
    /// closed.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        now_ns: u64,
        book: &mut Book,
        told: impl FnMut(u64, &Outcome),
    ) -> Result<(), ClientError> {
        let mut ended = Vec::new();
        let outcome = self.client.receive(bytes, &mut ended);
        self.finish(ended, now_ns, book, told);
        outcome
    }

    /// True if the outcome of any is unknown.
    fn finish(
        &mut self,
        ended: Vec<(u64, End)>,
        now_ns: u64,
        book: &mut Book,
        mut told: impl FnMut(u64, &Outcome),
    ) -> bool {
        let mut is_unknown = false;
        for (id, end) in ended {
            let call = self.calls.remove(&id).expect("a call ends once");
            let outcome = call.outcome(&end);
            is_unknown |= outcome.status == Status::Info;
            self.is_refused |= outcome.error.as_deref().is_some_and(is_elsewhere);
            book.answered += u64::from(outcome.is_ok());
            book.recorder.finish(id, &outcome, now_ns);
            book.workloads.learn(self.process, id, &call, &outcome);
            told(id, &outcome);
        }
        is_unknown
    }

    /// The connection is gone, for `reason`; gives the process that goes on.
    pub fn end(
        mut self,
        reason: &'static str,
        now_ns: u64,
        book: &mut Book,
        told: impl FnMut(u64, &Outcome),
    ) -> u64 {
        let mut ended = Vec::new();
        std::mem::take(&mut self.client).close(reason, &mut ended);
        let is_unknown = self.finish(ended, now_ns, book, told);
        book.workloads.forget(self.process);
        if is_unknown { book.recorder.new_process() } else { self.process }
    }
}
