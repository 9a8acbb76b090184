//! Histories written by hand, one operation a line, for tests.
//!
//! `p1 0..10 SET reg1 1.1 -> OK`: process, interval in milliseconds, command, key, arguments, result. An end of `?`
//! is an unknown outcome; a result of `fail` a refusal. `p1 0..9 TXN watching k (GET k -> nil; SET k 1.1 -> OK) -> OK`
//! is a transaction, `-> nil` one that WATCH turned away. Integers, `nil`, `(ERR text)`, `{f: v, g: w}` are results;
//! text in quotes stays text. `! 1000 final_read` is an event. Lines get ids from 1 in their order; overlapping lines
//! of one process make a pipeline.

use std::collections::BTreeMap;

use crate::history::{
    ClockKind, Event, Header, History, MicroOperation, Operation, Source, Status, VERSION, Value,
};

pub fn history(text: &str) -> History {
    let (mut operations, mut events) = (Vec::new(), Vec::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(event) = line.strip_prefix("! ") {
            let (at, kind) = event.split_once(' ').unwrap();
            events.push(Event { t_ns: ns(at), kind: kind.into(), details: BTreeMap::new() });
        } else {
            operations.push(operation(operations.len() as u64 + 1, line));
        }
    }
    let header = Header {
        version: VERSION,
        run: "by hand".into(),
        source: Source::Sim,
        seed: "0".into(),
        commit: String::new(),
        config: BTreeMap::new(),
        clock: ClockKind::Virtual,
        models: Vec::new(),
        minimum_ok: BTreeMap::new(),
    };
    History { header, operations, events }
}

fn ns(ms: &str) -> u64 {
    ms.parse::<u64>().unwrap() * 1_000_000
}

fn operation(id: u64, line: &str) -> Operation {
    let (process, rest) = line.strip_prefix('p').unwrap().split_once(' ').unwrap();
    let (interval, rest) = rest.split_once(' ').unwrap();
    let (invoke, end) = interval.split_once("..").unwrap();
    let is_transaction = rest.starts_with("TXN");
    let (call, result) = if is_transaction && !rest.contains(") ->") {
        (rest, "")
    } else {
        rest.rsplit_once("->").unwrap_or((rest, ""))
    };
    let result = result.trim();
    let (status, return_ns) = match (end, result) {
        ("?", _) => (Status::Info, None),
        (end, "fail") => (Status::Fail, Some(ns(end))),
        (end, _) => (Status::Ok, Some(ns(end))),
    };
    let mut operation = Operation {
        id,
        process: process.parse().unwrap(),
        command: String::new(),
        key: None,
        args: Vec::new(),
        micro_operations: Vec::new(),
        watch: Vec::new(),
        watch_id: None,
        invoke_ns: ns(invoke),
        return_ns,
        status,
        result: if status == Status::Ok { value(rest, result) } else { Value::Null },
        node: None,
        shard: None,
        connection: None,
        pipeline: Some(0),
        position: None,
        read_from: None,
        scan: None,
        error: (status != Status::Ok).then(|| "by hand".to_string()),
    };
    if is_transaction {
        let (head, micros) = call.split_once('(').unwrap();
        operation.command = "TXN".into();
        operation.watch = head.split_whitespace().skip(2).map(|key| key.as_bytes().to_vec()).collect();
        operation.micro_operations = micros.trim().trim_end_matches(')').split(';').map(micro).collect();
        return operation;
    }
    let mut words = call.split_whitespace().map(|word| word.as_bytes().to_vec());
    operation.command = String::from_utf8(words.next().unwrap()).unwrap();
    if !["ECHO", "WATCH", "MGET", "SCAN"].contains(&operation.command.as_str()) {
        operation.key = words.next();
    }
    operation.args = words.collect();
    operation
}

fn micro(text: &str) -> MicroOperation {
    let (call, result) = text.split_once("->").unwrap_or((text, "nil"));
    let mut words = call.split_whitespace();
    MicroOperation {
        command: words.next().unwrap().into(),
        key: words.next().map(|key| key.as_bytes().to_vec()),
        args: words.map(|word| word.as_bytes().to_vec()).collect(),
        result: value(call.trim(), result.trim()),
    }
}

/// Digits are an integer, except where the command answers with text.
fn value(call: &str, text: &str) -> Value {
    let is_text = ["GET", "GETSET", "GETDEL", "HGET"].contains(&call.split(' ').next().unwrap());
    if text == "nil" {
        Value::Null
    } else if let (Ok(number), false) = (text.parse(), is_text) {
        Value::Integer(number)
    } else if let Some(error) = text.strip_prefix('(') {
        Value::Error(error.trim_end_matches(')').into())
    } else if let Some(pairs) = text.strip_prefix('{') {
        let pairs = pairs.trim_end_matches('}').split(',').filter(|pair| !pair.trim().is_empty());
        let pairs = pairs.map(|pair| {
            let (field, value) = pair.split_once(':').unwrap();
            (field.trim().as_bytes().to_vec(), Value::Bytes(value.trim().as_bytes().to_vec()))
        });
        Value::Map(pairs.collect())
    } else {
        Value::Bytes(text.trim_matches('"').as_bytes().to_vec())
    }
}
