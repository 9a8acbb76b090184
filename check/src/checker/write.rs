//! What each operation certainly or possibly wrote, read off its answer.
//!
//! Lives here: the changes of keys and fields that the linear-time checkers count.
//! Not here: orders of operations (`linearizable`).

use super::model::commands::integer;
use crate::history::{Operation, Status, Value};

/// A key, or one field of a hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub key: Vec<u8>,
    pub field: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Set(Vec<u8>),
    Delete,
    /// With the sum that was answered, if one was.
    Add(i64, Option<i64>),
}

#[derive(Clone, Debug)]
pub struct Write<'a> {
    pub operation: &'a Operation,
    pub place: Place,
    pub change: Change,
    /// Its turn among the changes of the operation.
    pub turn: usize,
    /// True when the answer says that it happened.
    pub is_certain: bool,
}

/// Every change that `operation` made or may have made, in its order. Refused operations made none.
pub fn writes(operation: &Operation) -> Vec<Write<'_>> {
    let mut found = Vec::new();
    if operation.status == Status::Fail {
        return found;
    }
    let is_certain = operation.status == Status::Ok;
    let mut add = |command: &str, key: &Option<Vec<u8>>, args: &[Vec<u8>], result: &Value| {
        let Some(key) = key else { return };
        let answered = is_certain.then_some(result);
        for (field, change) in changes(command, args, answered) {
            let place = Place { key: key.clone(), field };
            let turn = found.len();
            found.push(Write { operation, place, change, turn, is_certain });
        }
    };
    if !operation.is_transaction() {
        add(&operation.command, &operation.key, &operation.args, &operation.result);
    } else if !is_certain || operation.result != Value::Null {
        for micro in &operation.micro_operations {
            add(&micro.command, &micro.key, &micro.args, &micro.result);
        }
    }
    found
}

/// Changes of one command by field. `answered` is its result, or `None` when it is unknown.
fn changes(command: &str, args: &[Vec<u8>], answered: Option<&Value>) -> Vec<(Option<Vec<u8>>, Change)> {
    if matches!(answered, Some(Value::Error(_))) {
        return Vec::new();
    }
    let is_one = answered.is_none_or(|answered| *answered == Value::Integer(1));
    let is_some = answered.is_none_or(|answered| *answered != Value::Null);
    let sum = match answered {
        Some(Value::Integer(sum)) => Some(*sum),
        _ => None,
    };
    let first = args.first().cloned();
    let number = |index: usize| args.get(index).and_then(|text| integer(text));
    let one = |change: Option<Change>| change.map(|change| (None, change)).into_iter().collect();
    match command {
        "SET" => {
            one(first.filter(|_| answered.is_none_or(|answered| was_set(args, answered))).map(Change::Set))
        }
        "SETNX" => one(first.filter(|_| is_one).map(Change::Set)),
        "GETSET" => one(first.map(Change::Set)),
        "GETDEL" => one(is_some.then_some(Change::Delete)),
        "DEL" | "UNLINK" => one(is_one.then_some(Change::Delete)),
        "INCR" => one(Some(Change::Add(1, sum))),
        "DECR" => one(Some(Change::Add(-1, sum))),
        "INCRBY" => one(number(0).map(|delta| Change::Add(delta, sum))),
        "DECRBY" => one(number(0).and_then(i64::checked_neg).map(|delta| Change::Add(delta, sum))),
        "HINCRBY" => number(1).map(|delta| (first, Change::Add(delta, sum))).into_iter().collect(),
        "HSETNX" if !is_one => Vec::new(),
        "HSET" | "HSETNX" => {
            let pairs = args.chunks_exact(2);
            pairs.map(|pair| (Some(pair[0].clone()), Change::Set(pair[1].clone()))).collect()
        }
        // Workloads delete one field at a time: of several the count would not say which.
        "HDEL" if is_one => args.iter().map(|field| (Some(field.clone()), Change::Delete)).collect(),
        _ => Vec::new(),
    }
}

/// SET's answer, with its options, says whether it wrote.
fn was_set(args: &[Vec<u8>], answered: &Value) -> bool {
    let has = |option: &[u8]| args.iter().skip(1).any(|argument| argument == option);
    match (has(b"GET"), has(b"NX"), has(b"XX")) {
        (true, true, _) => *answered == Value::Null,
        (true, false, true) => *answered != Value::Null,
        (true, false, false) => true,
        (false, ..) => *answered != Value::Null,
    }
}
