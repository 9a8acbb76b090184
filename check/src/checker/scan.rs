//! Does a SCAN loop return every key that was there all the while?
//!
//! Lives here: loops put together from their steps, over connections, nodes and primaries.
//! It would catch: a cursor that means something else on another node, keys skipped while a table grows or shrinks, keys
//! that come back from the dead.

use std::collections::{BTreeMap, BTreeSet};

use super::{Report, Violation};
use crate::history::{History, Operation, Status, Value};

/// What was done to one key.
#[derive(Default)]
struct Key<'h> {
    sets: Vec<&'h Operation>,
    deletes: Vec<&'h Operation>,
}

const PREFIX: &[u8] = b"scn";

pub fn check(history: &History, report: &mut Report) {
    let mut keys: BTreeMap<&[u8], Key<'_>> = BTreeMap::new();
    let mut loops: BTreeMap<u64, Vec<&Operation>> = BTreeMap::new();
    for operation in history.operations.iter().filter(|operation| operation.status != Status::Fail) {
        match (&operation.key, operation.scan) {
            (Some(key), _) if key.starts_with(PREFIX) => match operation.command.as_str() {
                "SET" => keys.entry(key).or_default().sets.push(operation),
                "DEL" => keys.entry(key).or_default().deletes.push(operation),
                _ => {}
            },
            (_, Some(number)) if operation.status == Status::Ok => {
                loops.entry(number).or_default().push(operation);
            }
            _ => {}
        }
    }
    for steps in loops.values() {
        if let Some(returned) = whole_loop(steps) {
            check_loop(steps, &returned, &keys, report);
        }
    }
}

/// All that a loop returned, if it came to its end.
fn whole_loop<'h>(steps: &[&'h Operation]) -> Option<BTreeSet<&'h [u8]>> {
    let mut returned = BTreeSet::new();
    for step in steps {
        let Value::Array(parts) = &step.result else { return None };
        if let [_, Value::Array(keys)] = &parts[..] {
            returned.extend(keys.iter().filter_map(|key| match key {
                Value::Bytes(bytes) => Some(bytes.as_slice()),
                _ => None,
            }));
        }
    }
    (next_cursor(steps.last()?)? == b"0").then_some(returned)
}

/// The cursor that a step gave.
fn next_cursor(step: &Operation) -> Option<&[u8]> {
    match &step.result {
        Value::Array(parts) => match parts.first() {
            Some(Value::Bytes(cursor)) => Some(cursor),
            _ => None,
        },
        _ => None,
    }
}

fn check_loop(
    steps: &[&Operation],
    returned: &BTreeSet<&[u8]>,
    keys: &BTreeMap<&[u8], Key<'_>>,
    report: &mut Report,
) {
    let (first, last) = (steps[0], steps[steps.len() - 1]);
    let (begun_ns, ended_ns) = (first.invoke_ns, last.return_ns.unwrap_or(u64::MAX));
    let mut wrong = |key: &[u8], what: &str, involved: &Operation| {
        let name = key.escape_ascii().to_string();
        report.violations.push(Violation {
            checker: "scan",
            place: name.clone(),
            operations: vec![involved.id, first.id, last.id],
            text: format!(
                "{name} {what}\n  {involved}\nthe loop's first and last steps are\n  {first}\n  {last}\n"
            ),
        });
    };
    for (key, done) in keys {
        let stayed = done.sets.iter().find(|set| was_there(set, &done.deletes, begun_ns, ended_ns));
        match stayed {
            Some(set) if !returned.contains(key) => {
                wrong(key, "was there all the while, and the loop did not return it", set);
            }
            _ => {}
        }
    }
    for key in returned {
        let none = Key::default();
        let done = keys.get(key).unwrap_or(&none);
        let gone = done.deletes.iter().find(|delete| is_gone(delete, &done.sets, begun_ns, ended_ns));
        let is_known = done.sets.iter().any(|set| set.invoke_ns < ended_ns);
        if !is_known {
            wrong(key, "was returned and never set", first);
        } else if let Some(delete) = gone {
            wrong(key, "was returned and had been deleted before", delete);
        }
    }
}

/// Set before the loop began, and nobody can have deleted it until its end.
fn was_there(set: &Operation, deletes: &[&Operation], begun_ns: u64, ended_ns: u64) -> bool {
    let is_before = set.status == Status::Ok && set.return_ns.is_some_and(|return_ns| return_ns < begun_ns);
    is_before
        && !deletes.iter().any(|delete| {
            let is_over = delete.return_ns.is_some_and(|return_ns| return_ns < set.invoke_ns);
            !is_over && delete.invoke_ns <= ended_ns
        })
}

/// Deleted before the loop began, and nobody can have set it since.
fn is_gone(delete: &Operation, sets: &[&Operation], begun_ns: u64, ended_ns: u64) -> bool {
    let is_before =
        delete.status == Status::Ok && delete.return_ns.is_some_and(|return_ns| return_ns < begun_ns);
    is_before
        && !sets.iter().any(|set| {
            let is_over = set.return_ns.is_some_and(|return_ns| return_ns < delete.invoke_ns);
            !is_over && set.invoke_ns <= ended_ns
        })
}

#[cfg(test)]
mod tests {
    use super::super::notation::history;
    use super::*;

    /// `steps`: interval, cursor, keys of each.
    fn found(text: &str, steps: &[(u64, u64, &str, &[&str])]) -> Vec<String> {
        let mut history = history(text);
        for (index, (from, to, cursor, keys)) in steps.iter().enumerate() {
            let mut step =
                super::super::notation::history(&format!("p9 {from}..{to} SCAN 0 -> x")).operations.remove(0);
            step.id = 100 + index as u64;
            step.scan = Some(1);
            let keys = keys.iter().map(|key| Value::Bytes(key.as_bytes().to_vec())).collect();
            step.result = Value::Array(vec![Value::Bytes(cursor.as_bytes().to_vec()), Value::Array(keys)]);
            history.operations.push(step);
        }
        let mut report = Report::default();
        check(&history, &mut report);
        report.violations.into_iter().map(|violation| violation.text).collect()
    }

    #[test]
    fn keys_that_stayed_must_be_returned_by_some_step() {
        let set = "p1 0..1 SET scn1 1.1 -> OK\np1 2..3 SET scn2 1.2 -> OK";
        assert_eq!(found(set, &[(10, 11, "7", &["scn2"]), (20, 21, "0", &["scn1", "scn2"])]), [""; 0]);
        assert_eq!(found(set, &[(10, 11, "7", &["scn2"]), (20, 21, "0", &[])]).len(), 1);
        assert_eq!(found(set, &[(10, 11, "7", &["scn2"])]), [""; 0], "a loop without an end says nothing");
        assert_eq!(found(set, &[(1, 11, "0", &["scn2"])]), [""; 0], "set while the loop began");
    }

    #[test]
    fn keys_that_may_have_gone_may_be_missing() {
        let set = "p1 0..1 SET scn1 1.1 -> OK\n";
        for delete in ["p2 15..16 DEL scn1 -> 1", "p2 2..? DEL scn1", "p2 2..3 DEL scn1 -> 1"] {
            assert_eq!(found(&format!("{set}{delete}"), &[(10, 20, "0", &[])]), [""; 0], "{delete}");
        }
        for delete in ["p2 25..26 DEL scn1 -> 1", "p2 2..3 DEL scn1 -> fail"] {
            assert_eq!(found(&format!("{set}{delete}"), &[(10, 20, "0", &[])]).len(), 1, "{delete}");
        }
    }

    #[test]
    fn keys_that_were_gone_must_not_come_back() {
        let gone = "p1 0..1 SET scn1 1.1 -> OK\np1 2..3 DEL scn1 -> 1\n";
        assert!(found(gone, &[(10, 20, "0", &["scn1"])])[0].contains("deleted before"));
        assert_eq!(found(&format!("{gone}p2 0..? SET scn1 2.1"), &[(10, 20, "0", &["scn1"])]), [""; 0]);
        assert!(found("", &[(10, 20, "0", &["scn5"])])[0].contains("never set"));
    }
}
