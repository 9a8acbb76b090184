//! The search against something too simple to be wrong: every order of at most seven operations.

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::linearizable::{Search, Steps, search};
use super::model::expiry::{ClockError, ExpiryModel};
use super::model::key::KeyModel;
use super::model::transaction::TransactionModel;
use super::model::{Attempt, Model};
use super::{attempts, notation};
use crate::history::{Operation, Status, Value};
use crate::random::{below, chance, pick};

/// Tries every order that keeps real time and program order, with and without each unknown operation.
fn has_order<M: Model>(
    model: &M,
    attempts: &[Attempt<'_>],
    taken: &mut Vec<usize>,
    state: &M::State,
) -> bool {
    let is_complete = (0..attempts.len()).all(|index| !attempts[index].is_firm() || taken.contains(&index));
    if is_complete {
        return true;
    }
    for index in 0..attempts.len() {
        let candidate = &attempts[index];
        let is_too_late = taken.iter().any(|&before| {
            let before = &attempts[before];
            let (late, early) = (candidate.operation, before.operation);
            candidate.return_ns.is_some_and(|return_ns| return_ns < before.invoke_ns)
                || (late.process == early.process && late.id < early.id)
        });
        if taken.contains(&index) || is_too_late {
            continue;
        }
        let mut next = Vec::new();
        model.step(state, candidate, &mut next).unwrap();
        taken.push(index);
        if next.iter().any(|after| has_order(model, attempts, taken, after)) {
            return true;
        }
        taken.pop();
    }
    false
}

/// A kind of history: its calls, and the results they might have.
struct Kind {
    calls: &'static [&'static str],
    results: fn(&Operation) -> Vec<Value>,
}

/// Executes random calls in one true order, then changes a result here and there.
fn random_operations<M: Model>(model: &M, kind: &Kind, rng: &mut ChaCha8Rng) -> Vec<Operation> {
    let count = 1 + below(rng, 7);
    let mut operations: Vec<(u64, Operation)> = Vec::new();
    for index in 0..count {
        let invoke = below(rng, 30);
        let end = invoke + below(rng, 15);
        let call = pick(rng, kind.calls);
        // Mostly one process each; sometimes a pipeline.
        let process = if chance(rng, 300) { 100 } else { index };
        let line = format!("p{process} {invoke}..{end} {call} -> nil");
        let mut operation = notation::history(&line).operations.remove(0);
        operation.id = index + 1;
        operations.push((between_ns(rng, &operation), operation));
    }
    // A pipeline takes effect as it was sent.
    let mut turns: Vec<u64> =
        operations.iter().filter(|(_, operation)| operation.process == 100).map(|(at, _)| *at).collect();
    turns.sort_unstable();
    let mut turns = turns.into_iter();
    for (at, _) in operations.iter_mut().filter(|(_, operation)| operation.process == 100) {
        *at = turns.next().expect("as many as counted");
    }
    operations.sort_by_key(|(at, operation)| (*at, operation.id));
    let mut state = model.initial();
    for (_, operation) in &mut operations {
        execute(model, kind, operation, &mut state, rng);
        if chance(rng, 120) {
            (operation.status, operation.return_ns) = (Status::Info, None);
        }
    }
    if chance(rng, 500) {
        let index = below(rng, count) as usize;
        let operation = &mut operations[index].1;
        let wrong = pick(rng, &(kind.results)(operation)).clone();
        set_result(operation, wrong);
    }
    operations.into_iter().map(|(_, operation)| operation).collect()
}

fn between_ns(rng: &mut ChaCha8Rng, operation: &Operation) -> u64 {
    let end_ns = operation.return_ns.expect("written with an end");
    crate::random::between(rng, operation.invoke_ns, end_ns)
}

/// Gives the operation the first result, in random order, that the model takes in this state.
fn execute<M: Model>(
    model: &M,
    kind: &Kind,
    operation: &mut Operation,
    state: &mut M::State,
    rng: &mut ChaCha8Rng,
) {
    let mut results = (kind.results)(operation);
    while !results.is_empty() {
        let result = results.swap_remove(below(rng, results.len() as u64) as usize);
        set_result(operation, result);
        let mut next = Vec::new();
        model.step(state, &Attempt::known(operation), &mut next).unwrap();
        if let Some(after) = next.pop() {
            *state = after;
            return;
        }
    }
}

/// An array is the results of a transaction's commands.
fn set_result(operation: &mut Operation, result: Value) {
    match result {
        Value::Array(items) => {
            for (micro, item) in operation.micro_operations.iter_mut().zip(items) {
                micro.result = item;
            }
            operation.result = Value::ok();
        }
        result => operation.result = result,
    }
}

/// Runs `count` histories through both and wants both verdicts often.
fn compare<M: Model>(model: &M, kind: &Kind, count: u64) {
    let mut good = 0;
    for seed in 0..count {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let operations = random_operations(model, kind, &mut rng);
        let references: Vec<&Operation> = operations.iter().collect();
        let attempts = attempts(&references);
        let expected = has_order(model, &attempts, &mut Vec::new(), &model.initial());
        let found = search(model, &attempts, u64::MAX, &mut Steps::default()).unwrap();
        let is_found = matches!(found, Search::Linearizable(_));
        let lines: Vec<String> = operations.iter().map(Operation::to_string).collect();
        assert_eq!(is_found, expected, "seed {seed}:\n{}\n{found:?}", lines.join("\n"));
        good += u64::from(expected);
    }
    assert!(good > count / 10 && good < count * 9 / 10, "{good} of {count} have an order");
}

fn text(words: &[&str]) -> Vec<Value> {
    let texts = words.iter().map(|word| Value::Bytes(word.as_bytes().to_vec()));
    texts.chain([Value::Null]).collect()
}

fn integers(numbers: std::ops::RangeInclusive<i64>) -> Vec<Value> {
    numbers.map(Value::Integer).collect()
}

#[test]
fn registers_agree_with_every_order() {
    let calls = &[
        "SET reg1 a",
        "SET reg1 b",
        "GET reg1",
        "GET reg1",
        "SETNX reg1 c",
        "GETSET reg1 a",
        "GETDEL reg1",
        "DEL reg1",
        "SET reg1 b XX",
        "SET reg1 c NX",
    ];
    let results = |operation: &Operation| match operation.command.as_str() {
        "SET" => text(&["OK"]),
        "SETNX" | "DEL" => integers(0..=1),
        _ => text(&["a", "b", "c"]),
    };
    compare(&KeyModel, &Kind { calls, results }, 6000);
}

#[test]
fn counters_agree_with_every_order() {
    let calls = &["INCR ctr1", "INCR ctr1", "DECRBY ctr1 2", "INCRBY ctr1 3", "GET ctr1"];
    let results = |operation: &Operation| match operation.command.as_str() {
        "GET" => text(&["-2", "-1", "0", "1", "2", "3", "4", "5", "6"]),
        _ => integers(-14..=21),
    };
    compare(&KeyModel, &Kind { calls, results }, 4000);
}

#[test]
fn hashes_agree_with_every_order() {
    let calls = &[
        "HSET hash1 f a",
        "HSET hash1 g b",
        "HSET hash1 f c g d",
        "HGET hash1 f",
        "HDEL hash1 f",
        "HDEL hash1 g",
        "HLEN hash1",
        "HGETALL hash1",
    ];
    let results = |operation: &Operation| match operation.command.as_str() {
        "HGET" => text(&["a", "c"]),
        "HGETALL" => {
            let mut maps = Vec::new();
            for f in [None, Some("a"), Some("c")] {
                for g in [None, Some("b"), Some("d")] {
                    let fields = [("f", f), ("g", g)].into_iter();
                    let pairs = fields.filter_map(|(field, value)| {
                        Some((field.as_bytes().to_vec(), Value::Bytes(value?.as_bytes().to_vec())))
                    });
                    maps.push(Value::Map(pairs.collect()));
                }
            }
            maps
        }
        _ => integers(0..=2),
    };
    compare(&KeyModel, &Kind { calls, results }, 4000);
}

#[test]
fn transactions_agree_with_every_order() {
    let calls = &[
        "SET {txn1}a x",
        "GET {txn1}a",
        "GET {txn1}b",
        "TXN (SET {txn1}a y; SET {txn1}b y)",
        "TXN (GET {txn1}a; GET {txn1}b)",
        "TXN (GET {txn1}a; SET {txn1}b z)",
    ];
    let results = |operation: &Operation| match operation.command.as_str() {
        "GET" => text(&["x", "y", "z"]),
        "SET" => text(&["OK"]),
        _ => {
            let choices = |index: usize| match operation.micro_operations[index].command.as_str() {
                "SET" => vec![Value::ok()],
                _ => text(&["x", "y", "z"]),
            };
            let pairs = choices(0).into_iter().flat_map(|first| {
                choices(1).into_iter().map(move |second| Value::Array(vec![first.clone(), second]))
            });
            pairs.chain([Value::Null]).collect()
        }
    };
    compare(&TransactionModel, &Kind { calls, results }, 4000);
}

#[test]
fn keys_with_deadlines_agree_with_every_order() {
    let calls = &[
        "SET exp1 a PX 10",
        "SET exp1 b PX 20",
        "SET exp1 c",
        "GET exp1",
        "GET exp1",
        "PEXPIRE exp1 5",
        "PERSIST exp1",
        "PTTL exp1",
        "DEL exp1",
    ];
    let results = |operation: &Operation| match operation.command.as_str() {
        "SET" => text(&["OK"]),
        "GET" => text(&["a", "b", "c"]),
        "PTTL" => integers(-2..=20),
        _ => integers(0..=1),
    };
    for early_ns in [0, 5_000_000] {
        let clock_error = ClockError { early_ns, late_ns: 0 };
        compare(&ExpiryModel { clock_error }, &Kind { calls, results }, 3000);
    }
}
