//! What clients did and what they were told: the material of every checker.
//!
//! Lives here: operations, events, header, footer, and the rules a well-formed history keeps.
//! Not here: its file form (`json`), how a run collects it (`recorder`), what is right (`checker`).
//!
//! Invariant: `fail` is said only of what certainly had and will have no effect; everything in doubt is `info`.

pub mod base64;
pub mod json;
pub mod recorder;
pub mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

pub use json::ReadError;
pub use recorder::Recorder;
pub use value::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A complete reply says that the command ran.
    Ok,
    /// It is certain that the command had and will have no effect.
    Fail,
    /// It may take effect at any time from its invocation on, or never.
    Info,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadFrom {
    Primary,
    Replica,
}

/// One command of a transaction, with its part of EXEC's reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MicroOperation {
    #[serde(rename = "op")]
    pub command: String,
    #[serde(with = "value::optional_key", default)]
    pub key: Option<Vec<u8>>,
    #[serde(with = "value::argument_list", default)]
    pub args: Vec<Vec<u8>>,
    #[serde(default)]
    pub result: Value,
}

/// One call of one client, from before its first byte was written until its reply was parsed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Unique in the history and growing in the order of invocation.
    pub id: u64,
    /// Logical client: one operation at a time, except within one pipeline.
    pub process: u64,
    /// Upper case; `TXN` for MULTI … EXEC.
    #[serde(rename = "op")]
    pub command: String,
    /// `None` for `TXN` and commands of several keys, which then stand in `args`.
    #[serde(with = "value::optional_key", default)]
    pub key: Option<Vec<u8>>,
    /// The arguments after the key.
    #[serde(with = "value::argument_list", default)]
    pub args: Vec<Vec<u8>>,
    /// The commands between MULTI and EXEC; empty for all else.
    #[serde(rename = "ops", default, skip_serializing_if = "Vec::is_empty")]
    pub micro_operations: Vec<MicroOperation>,
    /// Keys that a `TXN` has under WATCH.
    #[serde(with = "value::argument_list", default, skip_serializing_if = "Vec::is_empty")]
    pub watch: Vec<Vec<u8>>,
    /// The read whose value the WATCH protects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch_id: Option<u64>,
    pub invoke_ns: u64,
    /// `None` exactly for `info`.
    pub return_ns: Option<u64>,
    pub status: Status,
    /// For a `TXN`: null when EXEC answered nil, else `OK`; the replies stand in the micro-operations.
    #[serde(default)]
    pub result: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<u32>,
    #[serde(rename = "conn", default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<u64>,
    /// Number of the pipeline on its connection, and the place in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<u64>,
    #[serde(rename = "pos", default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_from: Option<ReadFrom>,
    /// Number of the loop that a SCAN is part of, over connections and nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<u64>,
    /// For `fail` and `info`: the error's code, or `timeout`, `reset`, `eof`, `cut`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Operation {
    pub fn is_transaction(&self) -> bool {
        self.command == "TXN"
    }

    /// Every key named, in the order of the command.
    pub fn keys(&self) -> Vec<&[u8]> {
        let mut keys: Vec<&[u8]> = self.key.iter().map(Vec::as_slice).collect();
        match self.command.as_str() {
            "TXN" => {
                keys.extend(self.watch.iter().map(Vec::as_slice));
                keys.extend(self.micro_operations.iter().filter_map(|micro| micro.key.as_deref()));
            }
            "WATCH" | "MGET" => keys.extend(self.args.iter().map(Vec::as_slice)),
            _ => {}
        }
        keys
    }
}

/// One line a person can read: `#7 p3 SET reg1 a -> OK [1.000 .. 2.000 ms]`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} p{} {}", self.id, self.process, self.command)?;
        for argument in self.key.iter().chain(&self.args) {
            write!(f, " {}", value::shown(argument))?;
        }
        if self.is_transaction() {
            if !self.watch.is_empty() {
                f.write_str(" watching")?;
                for key in &self.watch {
                    write!(f, " {}", key.escape_ascii())?;
                }
            }
            f.write_str(" (")?;
            for (index, micro) in self.micro_operations.iter().enumerate() {
                write!(f, "{}{}", if index == 0 { "" } else { "; " }, micro.command)?;
                for argument in micro.key.iter().chain(&micro.args) {
                    write!(f, " {}", value::shown(argument))?;
                }
                if self.status == Status::Ok && self.result != Value::Null {
                    write!(f, " -> {}", micro.result)?;
                }
            }
            f.write_str(")")?;
        }
        match self.status {
            Status::Ok => write!(f, " -> {}", self.result)?,
            Status::Fail => write!(f, " failed: {}", self.error.as_deref().unwrap_or("?"))?,
            Status::Info => write!(f, " unknown: {}", self.error.as_deref().unwrap_or("?"))?,
        }
        let ms = |ns: u64| ns as f64 / 1e6;
        match self.return_ns {
            Some(return_ns) => write!(f, " [{:.3} .. {:.3} ms]", ms(self.invoke_ns), ms(return_ns)),
            None => write!(f, " [{:.3} .. ms]", ms(self.invoke_ns)),
        }
    }
}

/// A fault, a change of role, the start of the final read. No checker of values looks at these, but
/// `durability` needs [`FINAL_READ`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub t_ns: u64,
    pub kind: String,
    #[serde(flatten)]
    pub details: BTreeMap<String, serde_json::Value>,
}

/// Kind of the event after which, all faults healed, every key is read once.
pub const FINAL_READ: &str = "final_read";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    Sim,
    Real,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockKind {
    Virtual,
    Monotonic,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    #[serde(rename = "v")]
    pub version: u32,
    pub run: String,
    pub source: Source,
    /// As text: a 64-bit seed does not fit a JSON number everywhere.
    pub seed: String,
    pub commit: String,
    pub config: BTreeMap<String, serde_json::Value>,
    pub clock: ClockKind,
    pub models: Vec<String>,
    /// A run with fewer `ok` of a command than stated here has not tested it and is a failed run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub minimum_ok: BTreeMap<String, u64>,
}

pub const VERSION: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footer {
    pub ops: u64,
    pub ok: u64,
    pub fail: u64,
    pub info: u64,
    pub faults: BTreeMap<String, u64>,
    pub final_read: bool,
    /// CRC-32C of every line before, line ends included, as eight hexadecimal digits.
    pub digest: String,
}

/// One whole run.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    pub header: Header,
    pub operations: Vec<Operation>,
    pub events: Vec<Event>,
}

/// What makes a history worthless as evidence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("operation id {0} stands twice")]
    Duplicate(u64),
    #[error("operation {0} returns before it is invoked")]
    Backwards(u64),
    #[error("operation {0}: `info` has no return time, all else has one")]
    ReturnTime(u64),
    #[error("process {process} opened operation {id} while another was open outside one pipeline")]
    Overlap { process: u64, id: u64 },
    #[error("process {process} was used again by operation {id} after an operation of unknown outcome")]
    Reused { process: u64, id: u64 },
    #[error("only {seen} of at least {wanted} `ok` operations {command}")]
    Idle { command: String, seen: u64, wanted: u64 },
}

impl History {
    /// Checks the rules of the format; a history that breaks one proves nothing.
    pub fn validate(&self) -> Result<(), Malformed> {
        let mut ids = BTreeSet::new();
        let mut processes: BTreeMap<u64, Vec<&Operation>> = BTreeMap::new();
        let mut ok: BTreeMap<&str, u64> = BTreeMap::new();
        for operation in &self.operations {
            if !ids.insert(operation.id) {
                return Err(Malformed::Duplicate(operation.id));
            }
            if operation.return_ns.is_some_and(|return_ns| return_ns < operation.invoke_ns) {
                return Err(Malformed::Backwards(operation.id));
            }
            if operation.return_ns.is_none() != (operation.status == Status::Info) {
                return Err(Malformed::ReturnTime(operation.id));
            }
            processes.entry(operation.process).or_default().push(operation);
            if operation.status == Status::Ok {
                *ok.entry(&operation.command).or_default() += 1;
                for micro in &operation.micro_operations {
                    *ok.entry(&micro.command).or_default() += 1;
                }
            }
        }
        processes.into_values().try_for_each(validate_process)?;
        for (command, &wanted) in &self.header.minimum_ok {
            let seen = ok.get(command.as_str()).copied().unwrap_or(0);
            if seen < wanted {
                return Err(Malformed::Idle { command: command.clone(), seen, wanted });
            }
        }
        Ok(())
    }

    /// The instant after which every key was read once more, if the run came that far.
    pub fn final_read_ns(&self) -> Option<u64> {
        self.events.iter().find(|event| event.kind == FINAL_READ).map(|event| event.t_ns)
    }

    pub fn count(&self, status: Status) -> u64 {
        self.operations.iter().filter(|operation| operation.status == status).count() as u64
    }
}

fn validate_process(mut operations: Vec<&Operation>) -> Result<(), Malformed> {
    operations.sort_by_key(|operation| operation.id);
    for pair in operations.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        let is_one_pipeline = before.pipeline.is_some()
            && before.pipeline == after.pipeline
            && before.connection == after.connection;
        if is_one_pipeline {
            continue;
        }
        if before.status == Status::Info {
            return Err(Malformed::Reused { process: after.process, id: after.id });
        }
        if before.return_ns.is_none_or(|return_ns| return_ns > after.invoke_ns) {
            return Err(Malformed::Overlap { process: after.process, id: after.id });
        }
    }
    Ok(())
}
