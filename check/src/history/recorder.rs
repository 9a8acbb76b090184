//! How a run collects its history.
//!
//! Lives here: ids, open operations, events, the numbers of processes and connections.
//! Not here: deciding what an outcome is (`call`).
//!
//! Invariant: ids grow in the order of invocation; a process that met an unknown outcome is never used again.

use std::collections::BTreeMap;

use super::{Event, FINAL_READ, Header, History, MicroOperation, Operation, ReadFrom, Status, Value};
use crate::call::{Call, Outcome};

/// Who makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub process: u64,
    pub connection: u64,
    /// Number of the pipeline on its connection; a call sent alone is a pipeline of one.
    pub pipeline: u64,
    /// Place in the pipeline.
    pub position: u32,
    /// Who answers, where that is not simply whoever is the primary.
    pub read_from: Option<ReadFrom>,
}

#[derive(Debug)]
pub struct Recorder {
    header: Header,
    done: Vec<Operation>,
    open: BTreeMap<u64, (Operation, Call)>,
    events: Vec<Event>,
    faults: BTreeMap<String, u64>,
    next_id: u64,
    next_process: u64,
    next_connection: u64,
}

impl Recorder {
    pub fn new(header: Header) -> Recorder {
        Recorder {
            header,
            done: Vec::new(),
            open: BTreeMap::new(),
            events: Vec::new(),
            faults: BTreeMap::new(),
            next_id: 1,
            next_process: 1,
            next_connection: 1,
        }
    }

    /// A process that was never used.
    pub fn new_process(&mut self) -> u64 {
        self.next_process += 1;
        self.next_process - 1
    }

    pub fn new_connection(&mut self) -> u64 {
        self.next_connection += 1;
        self.next_connection - 1
    }

    /// To be called before the first byte of the call is written. Gives its id.
    pub fn begin(&mut self, caller: Caller, call: &Call, now_ns: u64) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let operation = open_operation(id, caller, call, now_ns);
        self.open.insert(id, (operation, call.clone()));
        id
    }

    /// To be called after the last byte of the reply was parsed, or when it is given up.
    pub fn finish(&mut self, id: u64, outcome: &Outcome, now_ns: u64) {
        let (mut operation, call) = self.open.remove(&id).expect("an operation is finished once");
        // Ids that come late are right in program order: a transaction is the last call of its pipeline.
        for (index, stray) in &outcome.strays {
            let Call::Transaction { calls, .. } = &call else {
                unreachable!("only transactions have strays")
            };
            let call = Call::Single(calls[*index].clone());
            let mut alone = open_operation(self.next_id, caller_of(&operation), &call, operation.invoke_ns);
            self.next_id += 1;
            close(&mut alone, stray, now_ns);
            self.done.push(alone);
        }
        close(&mut operation, outcome, now_ns);
        self.done.push(operation);
    }

    pub fn event(&mut self, now_ns: u64, kind: &str, details: BTreeMap<String, serde_json::Value>) {
        self.events.push(Event { t_ns: now_ns, kind: kind.to_string(), details });
    }

    /// An event that is also counted in the footer.
    pub fn fault(&mut self, now_ns: u64, kind: &str, details: BTreeMap<String, serde_json::Value>) {
        *self.faults.entry(kind.to_string()).or_default() += 1;
        self.event(now_ns, kind, details);
    }

    /// All that is read from now on is the final read.
    pub fn begin_final_read(&mut self, now_ns: u64) {
        self.event(now_ns, FINAL_READ, BTreeMap::new());
    }

    pub fn faults(&self) -> &BTreeMap<String, u64> {
        &self.faults
    }

    /// Ends the run; whatever is still open has an unknown outcome.
    pub fn end(mut self) -> (History, BTreeMap<String, u64>) {
        for (mut operation, _) in std::mem::take(&mut self.open).into_values() {
            (operation.status, operation.error) = (Status::Info, Some("end of run".to_string()));
            self.done.push(operation);
        }
        self.done.sort_by_key(|operation| operation.id);
        (History { header: self.header, operations: self.done, events: self.events }, self.faults)
    }
}

fn caller_of(operation: &Operation) -> Caller {
    Caller {
        process: operation.process,
        connection: operation.connection.expect("every recorded operation has one"),
        pipeline: operation.pipeline.expect("every recorded operation has one"),
        position: operation.position.expect("every recorded operation has one"),
        read_from: operation.read_from,
    }
}

fn open_operation(id: u64, caller: Caller, call: &Call, now_ns: u64) -> Operation {
    let mut operation = Operation {
        id,
        process: caller.process,
        command: String::new(),
        key: None,
        args: Vec::new(),
        micro_operations: Vec::new(),
        watch: Vec::new(),
        watch_id: None,
        invoke_ns: now_ns,
        return_ns: None,
        status: Status::Info,
        result: Value::Null,
        node: None,
        shard: None,
        connection: Some(caller.connection),
        pipeline: Some(caller.pipeline),
        position: Some(caller.position),
        read_from: caller.read_from,
        scan: None,
        error: None,
    };
    match call {
        Call::Single(call) => {
            operation.command = call.command.to_string();
            operation.key = Some(call.key.clone());
            operation.args = call.args.clone();
        }
        Call::Watch(keys) => {
            operation.command = "WATCH".to_string();
            operation.args = keys.clone();
        }
        Call::MultiGet(keys) => {
            operation.command = "MGET".to_string();
            operation.args = keys.clone();
        }
        Call::ReadOnly | Call::ReadLinearizably => operation.command = "READONLY".to_string(),
        Call::Scan(scan) => {
            operation.command = "SCAN".to_string();
            operation.args = scan.args();
            operation.scan = Some(scan.number);
        }
        Call::Echo(tag) => {
            operation.command = "ECHO".to_string();
            operation.args = vec![tag.clone()];
        }
        Call::Transaction { calls, watch, watch_id } => {
            operation.command = "TXN".to_string();
            operation.watch = watch.clone();
            operation.watch_id = *watch_id;
            operation.micro_operations = calls
                .iter()
                .map(|call| MicroOperation {
                    command: call.command.to_string(),
                    key: Some(call.key.clone()),
                    args: call.args.clone(),
                    result: Value::Null,
                })
                .collect();
        }
    }
    operation
}

fn close(operation: &mut Operation, outcome: &Outcome, now_ns: u64) {
    operation.status = outcome.status;
    operation.result = outcome.result.clone();
    operation.error = outcome.error.clone();
    operation.return_ns = (outcome.status != Status::Info).then_some(now_ns);
    for (micro, result) in operation.micro_operations.iter_mut().zip(&outcome.micro_results) {
        micro.result = result.clone();
    }
}
