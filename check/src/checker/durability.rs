//! Is every acknowledged write still there after the last fault?
//!
//! Lives here: the comparison of the final read of every key with all writes of the run, in linear time.
//! It would catch: a server that forgets, resurrects, or lets refused writes through, also where so many outcomes are
//! unknown that a search would be lenient or give up.
//!
//! The last write of a key is one that no later acknowledged write followed in real time (or in the same pipeline); a
//! write of unknown outcome may always be the last. The final read must show one of those.

use std::collections::{BTreeMap, BTreeSet};

use super::bounds::place_name;
use super::write::{Change, Place, Write, writes};
use super::{Report, Violation};
use crate::history::value::shown;
use crate::history::{History, Operation, Status, Value};

pub fn check(history: &History, report: &mut Report) {
    let Some(final_read_ns) = history.final_read_ns() else { return };
    let mut by_place: BTreeMap<Place, Vec<Write<'_>>> = BTreeMap::new();
    let mut with_deadline: BTreeSet<&[u8]> = BTreeSet::new();
    let mut finals: BTreeMap<&[u8], Vec<&Operation>> = BTreeMap::new();
    for operation in &history.operations {
        for write in writes(operation) {
            by_place.entry(write.place.clone()).or_default().push(write);
        }
        let Some(key) = &operation.key else { continue };
        if sets_deadline(operation) {
            with_deadline.insert(key);
        }
        let is_whole_read = matches!(operation.command.as_str(), "GET" | "HGETALL");
        if is_whole_read && operation.status == Status::Ok && operation.invoke_ns >= final_read_ns {
            finals.entry(key).or_default().push(operation);
        }
    }
    let mut unread: BTreeSet<&[u8]> = BTreeSet::new();
    for (place, writes) in &by_place {
        let Some(reads) = finals.get(place.key.as_slice()) else {
            unread.insert(&place.key);
            continue;
        };
        // Deleting a hash deletes each of its fields.
        let whole = Place { key: place.key.clone(), field: None };
        let deletes = if place.field.is_some() { by_place.get(&whole) } else { None };
        let all: Vec<&Write<'_>> = writes.iter().chain(deletes.into_iter().flatten()).collect();
        for read in reads {
            let Some(value) = value_at(read, place) else { continue };
            let may_be_gone = with_deadline.contains(place.key.as_slice());
            report.violations.extend(check_place(history, place, &all, read, value, may_be_gone));
        }
    }
    for key in unread {
        report.undecided.push(format!("{}: written, but not in the final read", key.escape_ascii()));
    }
}

fn sets_deadline(operation: &Operation) -> bool {
    let has_option = operation.args.iter().skip(1).any(|option| option == b"PX" || option == b"EX");
    match operation.command.as_str() {
        "SET" => has_option,
        "PEXPIRE" | "EXPIRE" => true,
        _ => false,
    }
}

/// What a final read says of one place; `None` when it is the wrong kind of read for it.
fn value_at<'r>(read: &'r Operation, place: &Place) -> Option<Option<&'r [u8]>> {
    match (&read.result, &place.field) {
        (Value::Null, None) => Some(None),
        (Value::Bytes(bytes), None) => Some(Some(bytes)),
        (Value::Map(map), Some(field)) => match map.get(field) {
            Some(Value::Bytes(bytes)) => Some(Some(bytes)),
            _ => Some(None),
        },
        // The deletes of a hash are judged with each of its fields.
        _ => None,
    }
}

fn check_place(
    history: &History,
    place: &Place,
    writes: &[&Write<'_>],
    read: &Operation,
    value: Option<&[u8]>,
    may_be_gone: bool,
) -> Option<Violation> {
    let is_counter = writes.iter().all(|write| matches!(write.change, Change::Add(..)));
    if is_counter {
        return check_sum(place, writes, read, value);
    }
    let is_last = |write: &Write<'_>| !writes.iter().any(|other| is_overwritten_by(write, other));
    let candidates: Vec<&&Write<'_>> = writes.iter().filter(|write| is_last(write)).collect();
    let is_untouched = value.is_none() && !writes.iter().any(|write| write.is_certain);
    let is_explained = is_untouched
        || (value.is_none() && may_be_gone)
        || candidates.iter().any(|write| match (&write.change, value) {
            (Change::Set(written), Some(value)) => written == value,
            (Change::Delete, value) => value.is_none(),
            (Change::Add(_, Some(sum)), Some(value)) => sum.to_string().as_bytes() == value,
            // A sum that nobody was told may be anything.
            (Change::Add(_, None), value) => value.is_some(),
            (Change::Set(_) | Change::Add(_, Some(_)), None) => false,
        });
    if is_explained {
        return None;
    }
    let name = place_name(place);
    let told = value.map_or("nil".to_string(), shown);
    let origin = origin(history, writes, value);
    let mut text = format!("{name}: the final read shows {told}{origin}\n  {read}\nthe last writes are\n");
    let mut involved = vec![read.id];
    for write in candidates {
        text.push_str(&format!("  {}\n", write.operation));
        involved.insert(0, write.operation.id);
    }
    Some(Violation { checker: "lost or invented write", place: name, operations: involved, text })
}

fn is_overwritten_by(write: &Write<'_>, other: &Write<'_>) -> bool {
    if !other.is_certain {
        return false;
    }
    let (before, after) = (write.operation, other.operation);
    if before.id == after.id {
        return write.turn < other.turn;
    }
    let is_program_order = write.is_certain && before.process == after.process && before.id < after.id;
    is_program_order || before.return_ns.is_some_and(|return_ns| return_ns < after.invoke_ns)
}

fn origin(history: &History, writes: &[&Write<'_>], value: Option<&[u8]>) -> String {
    let Some(value) = value else { return ", as if the key had not been written".to_string() };
    let written = |write: &&&Write<'_>| matches!(&write.change, Change::Set(written) if written == value);
    if let Some(write) = writes.iter().find(written) {
        return format!(", written by #{} and overwritten since", write.operation.id);
    }
    let is_refused = |operation: &&Operation| {
        operation.status == Status::Fail && operation.args.iter().any(|argument| argument == value)
    };
    match history.operations.iter().find(is_refused) {
        Some(operation) => format!(", written only by the refused #{}", operation.id),
        None => ", written by nobody".to_string(),
    }
}

/// A counter holds every acknowledged addition, and any of those of unknown outcome.
fn check_sum(
    place: &Place,
    writes: &[&Write<'_>],
    read: &Operation,
    value: Option<&[u8]>,
) -> Option<Violation> {
    let (mut low, mut high) = (0_i128, 0_i128);
    for write in writes {
        let Change::Add(delta, _) = write.change else { unreachable!("only additions come here") };
        let delta = i128::from(delta);
        low += if write.is_certain { delta } else { delta.min(0) };
        high += if write.is_certain { delta } else { delta.max(0) };
    }
    let told = value.map_or("nil".to_string(), shown);
    let number = value.map_or(Some(0), super::model::commands::integer);
    if number.is_some_and(|number| (low..=high).contains(&i128::from(number))) {
        return None;
    }
    let name = place_name(place);
    let acknowledged = writes.iter().filter(|write| write.is_certain).count();
    let text = format!(
        "{name}: the final read shows {told}, but {acknowledged} acknowledged additions and {} of unknown outcome \
         allow only {low} ..= {high}\n  {read}\n",
        writes.len() - acknowledged
    );
    Some(Violation { checker: "lost or invented write", place: name, operations: vec![read.id], text })
}

#[cfg(test)]
mod tests {
    use super::super::notation::history;
    use super::*;

    /// Every history ends with a final read from 1000 ms on.
    fn found(text: &str) -> Vec<String> {
        let mut report = Report::default();
        check(&history(&format!("{text}\n! 1000 final_read")), &mut report);
        let texts = report.violations.into_iter().map(|violation| violation.text);
        texts.chain(report.undecided).collect()
    }

    fn passes(text: &str) {
        assert_eq!(found(text), Vec::<String>::new());
    }

    #[test]
    fn an_acknowledged_write_must_be_there() {
        passes("p1 0..1 SET reg1 1.1 -> OK\np9 1001..1002 GET reg1 -> 1.1");
        let lost = found("p1 0..1 SET reg1 1.1 -> OK\np9 1001..1002 GET reg1 -> nil");
        assert!(lost[0].contains("as if the key had not been written"), "{lost:?}");
        let stale = "p1 0..1 SET reg1 1.1 -> OK\np1 2..3 SET reg1 1.2 -> OK\np9 1001..1002 GET reg1 -> 1.1";
        assert!(found(stale)[0].contains("written by #1 and overwritten since"));
    }

    #[test]
    fn concurrent_and_unknown_writes_may_be_the_last() {
        let writes =
            "p1 0..5 SET reg1 1.1 -> OK\np2 4..9 SET reg1 2.1 -> OK\np3 0..? SET reg1 3.1\np4 0..? DEL reg1";
        for value in ["1.1", "2.1", "3.1", "nil"] {
            passes(&format!("{writes}\np9 1001..1002 GET reg1 -> {value}"));
        }
        assert!(found(&format!("{writes}\np9 1001..1002 GET reg1 -> 4.1"))[0].contains("by nobody"));
    }

    #[test]
    fn a_refused_write_must_not_be_seen() {
        let text = "p1 0..1 SET reg1 1.1 -> fail\np2 0..1 SET reg1 2.1 -> OK\np9 1001..1002 GET reg1 -> 1.1";
        assert!(found(text)[0].contains("only by the refused #1"));
        passes("p1 0..1 SET reg1 1.1 -> fail\np2 0..1 SETNX reg1 2.1 -> 0\np9 1001..1002 GET reg1 -> nil");
    }

    #[test]
    fn counters_and_fields_hold_what_was_added() {
        let adds = "p1 0..1 INCR ctr1 -> 1\np1 2..3 INCRBY ctr1 4 -> 5\np2 0..? DECRBY ctr1 2";
        passes(&format!("{adds}\np9 1001..1002 GET ctr1 -> 5"));
        passes(&format!("{adds}\np9 1001..1002 GET ctr1 -> 3"));
        assert!(found(&format!("{adds}\np9 1001..1002 GET ctr1 -> 2"))[0].contains("3 ..= 5"));
        let fields =
            "p1 0..1 HSET hash1 f 1.1 g 1.2 -> 2\np1 2..3 HINCRBY hash1 n 2 -> 2\np1 4..5 HDEL hash1 g -> 1";
        passes(&format!("{fields}\np9 1001..1002 HGETALL hash1 -> {{f: 1.1, n: 2}}"));
        assert_eq!(found(&format!("{fields}\np9 1001..1002 HGETALL hash1 -> {{f: 1.1, g: 1.2}}")).len(), 2);
    }

    #[test]
    fn transactions_and_pipelines_keep_their_own_order() {
        let both = "p1 0..9 TXN (SET {txn1}a 1.1 -> OK; SET {txn1}a 1.2 -> OK) -> OK";
        passes(&format!("{both}\np9 1001..1002 GET {{txn1}}a -> 1.2"));
        assert_eq!(found(&format!("{both}\np9 1001..1002 GET {{txn1}}a -> 1.1")).len(), 1);
        let refused = "p1 0..9 TXN (SET {txn1}a 1.1) -> nil";
        assert_eq!(
            found(&format!("p2 0..1 SET {{txn1}}a 2.1 -> OK\n{refused}\np9 1001..1002 GET {{txn1}}a -> 1.1"))
                .len(),
            1
        );
        let pipeline = "p1 0..9 SET reg1 1.1 -> OK\np1 0..9 SET reg1 1.2 -> OK";
        passes(&format!("{pipeline}\np9 1001..1002 GET reg1 -> 1.2"));
        assert_eq!(found(&format!("{pipeline}\np9 1001..1002 GET reg1 -> 1.1")).len(), 1);
    }

    #[test]
    fn a_key_with_a_deadline_may_be_gone_but_not_be_older() {
        let text = "p1 0..1 SET exp1 1.1 -> OK\np1 2..3 SET exp1 1.2 PX 50 -> OK\np9 1001..1002 GET exp1 -> ";
        passes(&format!("{text}nil"));
        passes(&format!("{text}1.2"));
        assert_eq!(found(&format!("{text}1.1")).len(), 1);
    }

    #[test]
    fn a_key_left_out_of_the_final_read_is_reported() {
        assert!(found("p1 0..1 SET reg1 1.1 -> OK")[0].contains("not in the final read"));
    }
}
