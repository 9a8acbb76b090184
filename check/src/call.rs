//! One call of a client: what is sent, and what its replies say about its effect.
//!
//! Lives here: the wire form of calls and the only place that decides between `ok`, `fail` and `info`.
//! Not here: which calls are made (`workload`), bytes and connections (`client`).
//!
//! Invariant: `fail` only where the server certainly did and will do nothing; any error not known as a refusal before
//! execution is `info`.

use std::collections::BTreeMap;

use crate::history::{Status, Value};
use crate::reply::Reply;

/// A command on one key, alone or within a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MicroCall {
    pub command: &'static str,
    pub key: Vec<u8>,
    pub args: Vec<Vec<u8>>,
}

impl MicroCall {
    pub fn new(command: &'static str, key: &[u8], args: &[&[u8]]) -> MicroCall {
        MicroCall {
            command,
            key: key.to_vec(),
            args: args.iter().map(|argument| argument.to_vec()).collect(),
        }
    }

    fn wire(&self) -> Vec<Vec<u8>> {
        let mut words = vec![self.command.as_bytes().to_vec(), self.key.clone()];
        words.extend_from_slice(&self.args);
        words
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Single(MicroCall),
    /// Takes the place of any WATCH before: the wire form begins with UNWATCH.
    Watch(Vec<Vec<u8>>),
    /// MULTI … EXEC in one piece.
    Transaction {
        calls: Vec<MicroCall>,
        watch: Vec<Vec<u8>>,
        watch_id: Option<u64>,
    },
    /// A tag that must come back as it is.
    Echo(Vec<u8>),
    /// Several keys of one hash tag at one instant.
    MultiGet(Vec<Vec<u8>>),
    Scan(Scan),
    /// This connection reads at a replica from now on.
    ReadOnly,
    /// The same, and it sees everything that was acknowledged before.
    ReadLinearizably,
}

/// One step of a loop over all keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The loop, which may go on over other connections and nodes.
    pub number: u64,
    pub cursor: Vec<u8>,
    pub pattern: &'static str,
    pub count: u64,
}

impl Scan {
    pub(crate) fn args(&self) -> Vec<Vec<u8>> {
        let count = self.count.to_string().into_bytes();
        vec![
            self.cursor.clone(),
            b"MATCH".to_vec(),
            self.pattern.as_bytes().to_vec(),
            b"COUNT".to_vec(),
            count,
        ]
    }
}

/// How the exchange of one call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Every command was answered.
    Replies(Vec<Reply>),
    /// The last byte never left: a server cannot have executed it.
    Cut(&'static str),
    /// Sent, but not answered in full.
    Unknown(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: Status,
    pub result: Value,
    /// Results of a transaction's commands.
    pub micro_results: Vec<Value>,
    pub error: Option<String>,
    /// Commands of a transaction, by index, that ran alone because MULTI had been refused.
    pub strays: Vec<(usize, Outcome)>,
}

impl Outcome {
    pub fn ok(result: Value) -> Outcome {
        Outcome { status: Status::Ok, result, micro_results: Vec::new(), error: None, strays: Vec::new() }
    }

    fn without_result(status: Status, error: &str) -> Outcome {
        Outcome { status, error: Some(error.to_string()), ..Outcome::ok(Value::Null) }
    }

    pub fn is_ok(&self) -> bool {
        self.status == Status::Ok
    }
}

/// Error codes of refusals before anything is executed or logged.
const REFUSALS: &[&str] = &[
    "ASK",
    "BUSY",
    "CROSSSLOT",
    "DENIED",
    "EXECABORT",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED",
    "NOAUTH",
    "NODATA",
    "NOPERM",
    "NOPROTO",
    "NOQUORUM",
    "NOREPLICAS",
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "WRONGPASS",
    "WRONGTYPE",
];

/// Beginnings of plain `ERR` texts that speak of the request or of the value found, before any change.
const REFUSED_TEXTS: &[&str] = &[
    "ERR syntax error",
    "ERR value is not",
    "ERR hash value is not",
    "ERR increment or decrement would overflow",
    "ERR invalid expire time",
    "ERR unknown command",
    "ERR unknown subcommand",
    "ERR wrong number of arguments",
    "ERR max number of clients reached",
    "ERR DB index is out of range",
    "ERR EXEC without MULTI",
    "ERR DISCARD without MULTI",
    "ERR WATCH inside MULTI is not allowed",
    "ERR MULTI calls can not be nested",
    "ERR Protocol error",
    "ERR string exceeds maximum allowed size",
];

/// True when an error says that nothing was and will be done.
pub fn is_refusal(error: &str) -> bool {
    let code = error.split(' ').next().unwrap_or("");
    REFUSALS.contains(&code) || REFUSED_TEXTS.iter().any(|text| error.starts_with(text))
}

/// Errors that answer the question what the key holds, so that they are results and not refusals.
fn is_answer(error: &str) -> bool {
    ["WRONGTYPE", "ERR value is not", "ERR hash value is not", "ERR increment or decrement"]
        .iter()
        .any(|text| error.starts_with(text))
}

impl Call {
    /// One of its keys; all of them share a hash tag.
    pub fn first_key(&self) -> Option<&[u8]> {
        match self {
            Call::Single(call) => Some(&call.key),
            Call::Watch(keys) | Call::MultiGet(keys) => keys.first().map(Vec::as_slice),
            Call::Transaction { calls, .. } => calls.first().map(|call| call.key.as_slice()),
            Call::Echo(_) | Call::Scan(_) | Call::ReadOnly | Call::ReadLinearizably => None,
        }
    }

    /// The commands to send, each as its words.
    pub fn wire(&self) -> Vec<Vec<Vec<u8>>> {
        match self {
            Call::Single(call) => vec![call.wire()],
            Call::Echo(tag) => vec![vec![b"ECHO".to_vec(), tag.clone()]],
            Call::MultiGet(keys) => vec![[&[b"MGET".to_vec()], keys.as_slice()].concat()],
            Call::Scan(scan) => vec![[vec![b"SCAN".to_vec()], scan.args()].concat()],
            Call::ReadOnly => vec![vec![b"READONLY".to_vec()]],
            Call::ReadLinearizably => {
                let consistency = [&b"CLIENT"[..], b"READ-CONSISTENCY", b"LINEARIZABLE"];
                vec![vec![b"READONLY".to_vec()], consistency.map(<[u8]>::to_vec).to_vec()]
            }
            Call::Watch(keys) => {
                let mut watch = vec![b"WATCH".to_vec()];
                watch.extend_from_slice(keys);
                vec![vec![b"UNWATCH".to_vec()], watch]
            }
            Call::Transaction { calls, .. } => {
                let mut commands = vec![vec![b"MULTI".to_vec()]];
                commands.extend(calls.iter().map(MicroCall::wire));
                commands.push(vec![b"EXEC".to_vec()]);
                commands
            }
        }
    }

    /// What the end of the exchange says about the effect.
    pub fn outcome(&self, end: &End) -> Outcome {
        let replies = match end {
            End::Replies(replies) => replies,
            End::Cut(reason) => return Outcome::without_result(Status::Fail, reason),
            End::Unknown(reason) => return Outcome::without_result(Status::Info, reason),
        };
        let Some(last) = replies.last() else { return Outcome::without_result(Status::Info, "no reply") };
        match self {
            Call::Single(call) => single(call.command, last),
            Call::Echo(_) => single("ECHO", last),
            Call::Watch(_) => single("WATCH", last),
            Call::MultiGet(_) => single("MGET", last),
            Call::Scan(_) => single("SCAN", last),
            Call::ReadOnly | Call::ReadLinearizably => {
                match replies.iter().find(|it| matches!(it, Reply::Error(_))) {
                    Some(refusal) => single("READONLY", refusal),
                    None => single("READONLY", last),
                }
            }
            Call::Transaction { calls, .. } => transaction(calls, replies, last),
        }
    }
}

fn single(command: &str, reply: &Reply) -> Outcome {
    match reply {
        Reply::Error(text) if is_answer(text) => Outcome::ok(Value::Error(text.clone())),
        Reply::Error(text) => {
            let status = if is_refusal(text) { Status::Fail } else { Status::Info };
            Outcome::without_result(status, text)
        }
        reply => Outcome::ok(recorded(command, reply)),
    }
}

fn transaction(calls: &[MicroCall], replies: &[Reply], exec: &Reply) -> Outcome {
    let is_open = matches!(replies.first(), Some(Reply::Simple(text)) if text == "OK");
    if !is_open {
        // MULTI was refused, so each command stood for itself.
        let mut outcome = Outcome::without_result(Status::Fail, "MULTI refused");
        let alone = calls.iter().zip(&replies[1..]).enumerate();
        outcome.strays = alone.map(|(index, (call, reply))| (index, single(call.command, reply))).collect();
        return outcome;
    }
    match exec {
        Reply::Null => Outcome::ok(Value::Null),
        Reply::Array(items) if items.len() == calls.len() => {
            let results = calls.iter().zip(items).map(|(call, item)| recorded(call.command, item));
            Outcome { micro_results: results.collect(), ..Outcome::ok(Value::ok()) }
        }
        Reply::Error(text) if is_refusal(text) => Outcome::without_result(Status::Fail, text),
        Reply::Error(text) => Outcome::without_result(Status::Info, text),
        // A reply that EXEC never gives: kept as it is, for the checker of shapes to name.
        other => Outcome::ok(recorded("EXEC", other)),
    }
}

/// The reply as a history keeps it. HGETALL's pairs become a map.
pub fn recorded(command: &str, reply: &Reply) -> Value {
    match reply {
        Reply::Null => Value::Null,
        Reply::Integer(number) => Value::Integer(*number),
        Reply::Simple(text) => Value::Bytes(text.as_bytes().to_vec()),
        Reply::Bulk(bytes) => Value::Bytes(bytes.clone()),
        Reply::Error(text) => Value::Error(text.clone()),
        Reply::Array(items) if command == "HGETALL" => {
            let mut map = BTreeMap::new();
            for pair in items.chunks(2) {
                if let [Reply::Bulk(field), value] = pair
                    && map.insert(field.clone(), recorded("HGET", value)).is_none()
                {
                    continue;
                }
                // Not a list of pairs with distinct fields: kept as it came, which no model explains.
                return Value::Array(items.iter().map(|item| recorded("", item)).collect());
            }
            Value::Map(map)
        }
        Reply::Array(items) => Value::Array(items.iter().map(|item| recorded("", item)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> Reply {
        Reply::Error(text.to_string())
    }

    fn set() -> MicroCall {
        MicroCall::new("SET", b"k", &[b"v"])
    }

    fn transaction_call() -> Call {
        Call::Transaction { calls: vec![set(), set()], watch: Vec::new(), watch_id: None }
    }

    #[test]
    fn only_refusals_before_execution_are_failures() {
        let status = |text: &str| Call::Single(set()).outcome(&End::Replies(vec![error(text)])).status;
        for text in
            ["NOQUORUM no primary", "MISCONF disk full", "LOADING", "OOM x", "ERR syntax error", "NOAUTH a"]
        {
            assert_eq!(status(text), Status::Fail, "{text}");
        }
        for text in ["CLUSTERDOWN", "UNKNOWN outcome", "ERR something else", "IOERR", "ERR"] {
            assert_eq!(status(text), Status::Info, "{text}");
        }
        assert_eq!(status("WRONGTYPE Operation"), Status::Ok);
        assert_eq!(Call::Single(set()).outcome(&End::Unknown("timeout")).status, Status::Info);
        assert_eq!(Call::Single(set()).outcome(&End::Cut("cut")).status, Status::Fail);
    }

    #[test]
    fn exec_tells_for_the_whole_transaction() {
        let (ok, queued) = (Reply::Simple("OK".into()), Reply::Simple("QUEUED".into()));
        let outcome = |multi: &Reply, micro: &Reply, exec: Reply| {
            transaction_call().outcome(&End::Replies(vec![multi.clone(), micro.clone(), micro.clone(), exec]))
        };
        let both = outcome(&ok, &queued, Reply::Array(vec![ok.clone(), error("WRONGTYPE x")]));
        assert_eq!(both.micro_results, [Value::ok(), Value::Error("WRONGTYPE x".into())]);
        assert_eq!(outcome(&ok, &queued, Reply::Null), Outcome::ok(Value::Null));
        assert_eq!(outcome(&ok, &error("OOM"), error("EXECABORT x")).status, Status::Fail);
        assert_eq!(outcome(&ok, &queued, error("ERR odd")).status, Status::Info);
        let strays = outcome(&error("LOADING x"), &ok, error("ERR EXEC without MULTI"));
        assert_eq!((strays.status, strays.strays.len()), (Status::Fail, 2));
        assert!(strays.strays.iter().all(|(_, stray)| stray.is_ok()));
    }

    #[test]
    fn hgetall_becomes_a_map_or_stays_what_no_model_explains() {
        let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
        let map = recorded("HGETALL", &Reply::Array(vec![bulk("f"), bulk("1")]));
        assert_eq!(map.to_string(), "{f: 1}");
        let twice = Reply::Array(vec![bulk("f"), bulk("1"), bulk("f"), bulk("2")]);
        assert!(matches!(recorded("HGETALL", &twice), Value::Array(_)));
        assert!(matches!(recorded("HGETALL", &Reply::Array(vec![bulk("f")])), Value::Array(_)));
    }
}
