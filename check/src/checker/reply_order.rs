//! Does every reply belong to its request?
//!
//! Lives here: on each connection, replies in the order of the requests, without gaps, each of the shape its
//! command has, and every ECHO with its own tag.
//! It would catch: replies shifted by one after a refused command, or handed to another connection.

use std::collections::BTreeMap;

use super::{Report, Violation};
use crate::history::{History, Operation, Status, Value};

pub fn check(history: &History, report: &mut Report) {
    let mut connections: BTreeMap<u64, Vec<&Operation>> = BTreeMap::new();
    for operation in &history.operations {
        if let Some(connection) = operation.connection {
            connections.entry(connection).or_default().push(operation);
        }
        if operation.status == Status::Ok && !has_shape(operation) {
            let text = format!("not a reply to its command\n  {operation}\n");
            report.violations.push(violation(operation.connection, vec![operation.id], text));
        }
    }
    for (connection, mut operations) in connections {
        operations.sort_by_key(|operation| operation.id);
        for pair in operations.windows(2) {
            let [before, after] = [pair[0], pair[1]];
            let wrong = match (before.return_ns, after.return_ns) {
                (Some(before_ns), Some(after_ns)) if before_ns > after_ns => "replies out of order",
                (None, Some(_)) if after.status == Status::Ok => "a reply after one that never came",
                _ => continue,
            };
            let text = format!("{wrong}\n  {before}\n  {after}\n");
            report.violations.push(violation(Some(connection), vec![before.id, after.id], text));
        }
    }
}

fn violation(connection: Option<u64>, operations: Vec<u64>, text: String) -> Violation {
    let place =
        connection.map_or("a connection".to_string(), |connection| format!("connection {connection}"));
    Violation { checker: "misaligned reply", place, operations, text }
}

fn has_shape(operation: &Operation) -> bool {
    if operation.is_transaction() {
        let micros = &operation.micro_operations;
        return operation.result == Value::Null
            || micros.iter().all(|micro| command_shape(&micro.command, &micro.args, &micro.result));
    }
    if operation.command == "ECHO" {
        let tag = operation.args.first().cloned().unwrap_or_default();
        return operation.result == Value::Bytes(tag);
    }
    command_shape(&operation.command, &operation.args, &operation.result)
}

fn command_shape(command: &str, args: &[Vec<u8>], result: &Value) -> bool {
    // Whether an error is right is for the models to say.
    if matches!(result, Value::Error(_)) {
        return true;
    }
    let is_ok = *result == Value::ok();
    let is_text = matches!(result, Value::Bytes(_));
    let is_null = *result == Value::Null;
    match command {
        "SET" if args.iter().skip(1).any(|option| option == b"GET") => is_text || is_null,
        "SET" if args.iter().skip(1).any(|option| option == b"NX" || option == b"XX") => is_ok || is_null,
        "SET" | "WATCH" | "READONLY" => is_ok,
        "GET" | "GETSET" | "GETDEL" | "HGET" => is_text || is_null,
        "HGETALL" => matches!(result, Value::Map(_)),
        "MGET" => matches!(result, Value::Array(values) if values.len() == args.len()),
        "SCAN" => {
            matches!(result, Value::Array(parts) if matches!(parts[..], [Value::Bytes(_), Value::Array(_)]))
        }
        _ => matches!(result, Value::Integer(_)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::notation::history;
    use super::*;

    fn found(text: &str) -> usize {
        let mut history = history(text);
        for operation in &mut history.operations {
            operation.connection = Some(operation.process);
        }
        let mut report = Report::default();
        check(&history, &mut report);
        report.violations.len()
    }

    #[test]
    fn replies_in_order_with_their_own_tags_pass() {
        assert_eq!(found("p1 0..5 ECHO tag.1 -> tag.1\np1 0..5 SET reg1 1.1 -> OK\np1 0..? GET reg1"), 0);
    }

    #[test]
    fn shifted_replies_are_found() {
        assert_eq!(found("p1 0..5 ECHO tag.1 -> tag.2"), 1);
        assert_eq!(found("p1 0..5 SET reg1 1.1 -> 7"), 1);
        assert_eq!(found("p1 0..5 INCR ctr1 -> OK"), 1);
        assert_eq!(found("p1 0..5 HGETALL hash1 -> OK"), 1);
        assert_eq!(found("p1 0..5 TXN (INCR {txn1}a -> OK) -> OK"), 1);
    }

    #[test]
    fn gaps_and_swaps_are_found() {
        assert_eq!(found("p1 0..? SET reg1 1.1\np1 0..5 GET reg1 -> nil"), 1);
        assert_eq!(found("p1 0..9 SET reg1 1.1 -> OK\np1 0..5 GET reg1 -> nil"), 1);
    }
}
