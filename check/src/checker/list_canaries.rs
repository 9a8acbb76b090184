//! Histories of lists of which a person knows the verdict, and random ones judged by trying every order.
//!
//! `<x>` is an element, `[xy]` a list of two, `APPEND … -> 2` answers with the place. Processes from 90 on read at a
//! replica, each on one connection.

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::list_append::check;
use super::{Report, notation};
use crate::history::{History, MicroOperation, Operation, ReadFrom, Status, Value};
use crate::random::{below, chance, pick};
use crate::workload::ELEMENT_BYTES;

fn element(name: char) -> String {
    format!("{name:0>ELEMENT_BYTES$}")
}

fn lists(text: &str) -> History {
    let (mut wire, mut rest) = (String::new(), text);
    while let Some(open) = rest.find(['<', '[']) {
        wire.push_str(&rest[..open]);
        let close = open + rest[open..].find(['>', ']']).unwrap();
        match &rest[open + 1..close] {
            "" => wire.push_str("nil"),
            names => wire.extend(names.chars().map(element)),
        }
        rest = &rest[close + 1..];
    }
    wire.push_str(rest);
    let mut history = notation::history(&wire);
    for operation in &mut history.operations {
        let widen = |command: &str, result: &mut Value| {
            if let ("APPEND", Value::Integer(place)) = (command, result) {
                *place *= ELEMENT_BYTES as i64;
            }
        };
        widen(&operation.command, &mut operation.result);
        operation.micro_operations.iter_mut().for_each(|micro| widen(&micro.command, &mut micro.result));
        if operation.process >= 90 {
            (operation.read_from, operation.connection) = (Some(ReadFrom::Replica), Some(operation.process));
        }
    }
    history
}

fn report(text: &str) -> Report {
    let mut report = Report::default();
    check(&lists(text), &mut report);
    assert_eq!(report.undecided, Vec::<String>::new());
    report
}

/// Rejected, first of all for this.
fn rejected(text: &str, name: &str) -> String {
    let report = report(text);
    let names: Vec<_> = report.violations.iter().map(|violation| violation.checker).collect();
    assert_eq!(names.first(), Some(&name), "{names:?}\n{report}");
    report.violations[0].text.clone()
}

fn accepted(text: &str) {
    let report = report(text);
    assert!(report.is_passed(), "{report}");
}

#[test]
fn bad_dirty_writes() {
    rejected(
        "
        p1 0..9 TXN (APPEND {lst1}a <x> -> 1; APPEND {lst1}b <y> -> 2) -> OK
        p2 0..9 TXN (APPEND {lst1}a <u> -> 2; APPEND {lst1}b <v> -> 1) -> OK
        ",
        "G0",
    );
}

#[test]
fn bad_reads_of_a_refused_append() {
    rejected("p1 0..9 APPEND {lst1}a <x> -> fail\np2 0..9 GET {lst1}a -> [x]", "G1a");
    rejected("p1 0..9 TXN watching {lst1}a (APPEND {lst1}a <x>) -> nil\np2 0..9 GET {lst1}a -> [x]", "G1a");
}

#[test]
fn bad_intermediate_read() {
    rejected(
        "p1 0..9 TXN (APPEND {lst1}a <x> -> 1; APPEND {lst1}a <y> -> 2) -> OK\np2 0..9 GET {lst1}a -> [x]",
        "G1b",
    );
}

#[test]
fn bad_circular_reads() {
    let story = rejected(
        "
        p1 0..9 TXN (APPEND {lst1}a <x> -> 1; GET {lst1}b -> [y]) -> OK
        p2 0..9 TXN (APPEND {lst1}b <y> -> 1; GET {lst1}a -> [x]) -> OK
        ",
        "G1c",
    );
    assert!(story.contains("#2 saw that #1 had appended 00000000000x to {lst1}a"), "{story}");
}

#[test]
fn bad_read_skew() {
    rejected(
        "
        p1 0..9 TXN (APPEND {lst1}a <x> -> 1; APPEND {lst1}b <y> -> 1) -> OK
        p2 0..9 TXN (GET {lst1}a -> [x]; GET {lst1}b -> []) -> OK
        ",
        "G-single",
    );
}

#[test]
fn bad_write_skew() {
    rejected(
        "
        p1 0..9 TXN (GET {lst1}a -> []; APPEND {lst1}b <y> -> 1) -> OK
        p2 0..9 TXN (GET {lst1}b -> []; APPEND {lst1}a <x> -> 1) -> OK
        ",
        "G2",
    );
}

#[test]
fn bad_stale_read() {
    let story = rejected("p1 0..1 APPEND {lst1}a <x> -> 1\np2 2..3 GET {lst1}a -> []", "G-single-realtime");
    assert!(story.contains("#1 had returned before #2 was invoked"), "{story}");
}

#[test]
fn bad_lost_append() {
    rejected(
        "p1 0..1 APPEND {lst1}a <x> -> 1\np2 2..3 APPEND {lst1}a <y> -> 1\np3 4..5 GET {lst1}a -> [y]",
        "incompatible order",
    );
}

#[test]
fn bad_reads_that_disagree() {
    rejected(
        "
        p1 0..9 APPEND {lst1}a <x> -> 1
        p2 0..9 APPEND {lst1}a <y> -> 2
        p3 0..9 GET {lst1}a -> [xy]
        p4 0..9 GET {lst1}a -> [yx]
        ",
        "incompatible order",
    );
}

#[test]
fn bad_append_done_twice() {
    rejected("p1 0..1 APPEND {lst1}a <x> -> 1\np3 4..5 GET {lst1}a -> [xx]", "duplicate");
}

#[test]
fn bad_transaction_that_does_not_see_itself() {
    rejected("p1 0..1 TXN (APPEND {lst1}a <x> -> 1; GET {lst1}a -> []) -> OK", "internal");
    rejected(
        "p2 0..9 APPEND {lst1}a <x> -> 1\np1 0..9 TXN (GET {lst1}a -> []; GET {lst1}a -> [x]) -> OK",
        "internal",
    );
}

#[test]
fn bad_values_from_nowhere() {
    rejected("p1 0..1 GET {lst1}a -> [x]", "invented element");
    rejected("p1 0..1 APPEND {lst1}a <x> -> 2", "invented element");
    rejected("p1 0..1 GET {lst1}a -> half", "garbled list");
}

#[test]
fn bad_pipeline_out_of_order() {
    rejected("p1 0..9 APPEND {lst1}a <x> -> 1\np1 0..9 GET {lst1}a -> []", "G-single-realtime");
}

#[test]
fn bad_replica_that_goes_back_in_time() {
    let appends = "p1 0..1 APPEND {lst1}a <x> -> 1\np1 2..3 APPEND {lst1}a <y> -> 2\n";
    rejected(
        &format!("{appends}p90 4..5 GET {{lst1}}a -> [xy]\np90 6..7 GET {{lst1}}a -> [x]"),
        "G-single-realtime",
    );
    accepted(&format!("{appends}p90 4..5 GET {{lst1}}a -> [xy]\np91 6..7 GET {{lst1}}a -> [x]"));
}

/// What it shows of two lists never was there at one instant.
#[test]
fn bad_replica_that_shows_no_prefix() {
    rejected(
        "
        p1 0..1 APPEND {lst1}a <x> -> 1
        p1 2..3 APPEND {lst2}a <y> -> 1
        p90 4..5 GET {lst2}a -> [y]
        p90 6..7 GET {lst1}a -> []
        ",
        "G-single-realtime",
    );
}

#[test]
fn bad_replica_that_shows_what_is_lost_later() {
    rejected(
        "p1 0..? APPEND {lst1}a <x>\np90 4..5 GET {lst1}a -> [x]\np2 6..7 GET {lst1}a -> []",
        "G-single-realtime",
    );
}

#[test]
fn good_late_replica() {
    accepted(
        "
        p1 0..1 APPEND {lst1}a <x> -> 1
        p90 4..5 GET {lst1}a -> []
        p90 6..7 GET {lst1}a -> [x]
        ",
    );
}

#[test]
fn good_append_of_unknown_outcome() {
    accepted("p1 0..? APPEND {lst1}a <x>\np2 5..6 GET {lst1}a -> []\np2 90..91 GET {lst1}a -> [x]");
    accepted("p1 0..? APPEND {lst1}a <x>\np2 5..6 APPEND {lst1}a <y> -> 1\np2 90..91 GET {lst1}a -> [y]");
    accepted("p1 0..? APPEND {lst1}a <x>\np2 5..6 APPEND {lst1}a <y> -> 2");
}

#[test]
fn good_appends_in_the_order_opposite_to_their_replies() {
    accepted(
        "p1 0..9 APPEND {lst1}a <x> -> 2\np2 0..5 APPEND {lst1}a <y> -> 1\np3 10..11 GET {lst1}a -> [yx]",
    );
}

#[test]
fn good_transaction_that_sees_itself() {
    accepted(
        "
        p2 0..9 APPEND {lst1}a <y> -> 1
        p1 0..9 TXN (GET {lst1}a -> [y]; APPEND {lst1}a <x> -> 2; GET {lst1}a -> [yx]; APPEND {lst1}a <z> -> 3) -> OK
        ",
    );
}

#[test]
fn good_refusal_by_watch() {
    accepted("p1 0..9 TXN watching {lst1}a (APPEND {lst1}a <x>) -> nil\np2 0..9 GET {lst1}a -> []");
}

#[test]
fn good_transactions_that_interleave_over_lists() {
    accepted(
        "
        p1 0..9 TXN (APPEND {lst1}a <x> -> 1; APPEND {lst1}b <y> -> 1) -> OK
        p2 0..9 TXN (GET {lst1}a -> [x]; APPEND {lst1}b <z> -> 2) -> OK
        p3 0..9 TXN (GET {lst1}b -> [y]; GET {lst1}a -> [x]) -> OK
        p4 10..11 GET {lst1}b -> [yz]
        ",
    );
}

#[test]
fn good_equal_instants_overlap() {
    accepted("p1 0..5 APPEND {lst1}a <x> -> 1\np2 5..6 GET {lst1}a -> []");
}

// ---- every order of a few transactions -----------------------------------------------------------------------

type State = [Vec<String>; 2];

fn list_of(key: &[u8]) -> usize {
    usize::from(key.ends_with(b"b"))
}

/// Runs the commands; `None` where an answer that is known does not fit.
fn run(state: &State, operation: &Operation) -> Option<State> {
    let mut after = state.clone();
    for micro in &operation.micro_operations {
        let list = &mut after[list_of(micro.key.as_deref().unwrap())];
        let answer = answer(list, micro);
        if operation.status == Status::Ok && answer != micro.result {
            return None;
        }
    }
    Some(after)
}

fn answer(list: &mut Vec<String>, micro: &MicroOperation) -> Value {
    if micro.command == "APPEND" {
        list.push(String::from_utf8(micro.args[0].clone()).unwrap());
        return Value::Integer((list.len() * ELEMENT_BYTES) as i64);
    }
    if list.is_empty() { Value::Null } else { Value::Bytes(list.concat().into_bytes()) }
}

fn must_precede(before: &Operation, after: &Operation) -> bool {
    let is_late = after.read_from == Some(ReadFrom::Replica);
    let is_one_line = before.process == after.process && before.id < after.id;
    let is_earlier = before.return_ns.is_some_and(|return_ns| return_ns < after.invoke_ns);
    (is_one_line && before.status == Status::Ok) || (is_earlier && !is_late)
}

fn has_order(operations: &[Operation], taken: &mut Vec<usize>, state: &State) -> bool {
    let is_left = |index: &usize| !taken.contains(index);
    let left: Vec<usize> = (0..operations.len()).filter(is_left).collect();
    if left.iter().all(|index| operations[*index].status == Status::Info) {
        return true;
    }
    for &index in &left {
        let is_next = left.iter().all(|other| {
            let is_free = operations[*other].status == Status::Info && operations[*other].return_ns.is_none();
            *other == index || is_free || !must_precede(&operations[*other], &operations[index])
        });
        let is_too_late = taken.iter().any(|other| must_precede(&operations[index], &operations[*other]));
        if !is_next || is_too_late {
            continue;
        }
        if let Some(after) = run(state, &operations[index]) {
            taken.push(index);
            if has_order(operations, taken, &after) {
                return true;
            }
            taken.pop();
        }
    }
    false
}

/// A few transactions executed in some order, with answers that are now and then those of another moment.
fn random_history(rng: &mut ChaCha8Rng) -> History {
    let mut history = notation::history("");
    let (mut state, mut states) = (State::default(), vec![State::default()]);
    let mut now_ns = 0;
    for id in 1..=between_2_and_6(rng) {
        let is_replica = chance(rng, 250);
        let mut operation = notation::history("p1 0..1 TXN (GET {lst1}a -> nil) -> OK").operations.remove(0);
        operation.id = id;
        operation.process = if is_replica { 90 + below(rng, 2) } else { below(rng, 3) };
        operation.connection = Some(operation.process);
        operation.read_from = is_replica.then_some(ReadFrom::Replica);
        operation.invoke_ns = now_ns + below(rng, 3);
        operation.return_ns = Some(operation.invoke_ns + below(rng, 6));
        now_ns += below(rng, 5);
        if is_replica || chance(rng, 250) {
            state = pick(rng, &states).clone();
        }
        operation.micro_operations.clear();
        for number in 0..1 + below(rng, 3) {
            let key = pick(rng, &[b"{lst1}a", b"{lst1}b"]).to_vec();
            let is_append = !is_replica && chance(rng, 500);
            let args = is_append.then(|| format!("{:0>ELEMENT_BYTES$}", id * 10 + number).into_bytes());
            let command = if is_append { "APPEND" } else { "GET" }.to_string();
            let mut micro = MicroOperation {
                command,
                key: Some(key.clone()),
                args: args.into_iter().collect(),
                result: Value::Null,
            };
            micro.result = answer(&mut state[list_of(&key)], &micro);
            operation.micro_operations.push(micro);
        }
        if !is_replica {
            states.push(state.clone());
        }
        state = states.last().unwrap().clone();
        // An unknown one ends its process.
        if !is_replica && chance(rng, 150) {
            (operation.status, operation.return_ns, operation.process) = (Status::Info, None, 10 + id);
            operation.micro_operations.iter_mut().for_each(|micro| micro.result = Value::Null);
            if chance(rng, 500) {
                states.pop();
                state = states.last().unwrap().clone();
            }
        }
        history.operations.push(operation);
    }
    // Shuffled ids would not matter; instants do.
    history
}

fn between_2_and_6(rng: &mut ChaCha8Rng) -> u64 {
    2 + below(rng, 5)
}

/// What it rejects no order explains; and where all outcomes are known, what it accepts some order does.
#[test]
fn the_verdict_is_that_of_trying_every_order() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (mut good, mut bad) = (0, 0);
    for number in 0..20_000 {
        let history = random_history(&mut rng);
        let is_explained = has_order(&history.operations, &mut Vec::new(), &State::default());
        let mut report = Report::default();
        check(&history, &mut report);
        let all_known = history.operations.iter().all(|operation| operation.status == Status::Ok);
        let agrees = report.is_passed() == is_explained || (report.is_passed() && !all_known);
        if !agrees {
            let lines: Vec<String> = history.operations.iter().map(ToString::to_string).collect();
            panic!("history {number}: an order {is_explained}\n{}\n{report}", lines.join("\n"));
        }
        *(if is_explained { &mut good } else { &mut bad }) += 1;
    }
    assert!(good > 2_000 && bad > 2_000, "{good} good, {bad} bad");
}
