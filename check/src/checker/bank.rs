//! Does every look at a whole bank show the same sum?
//!
//! Lives here: reads of all accounts at one instant, at the primary or at a replica.
//! It would catch: half a transfer seen, by a reader or by a replica that applies an entry in pieces; a transfer of
//! which only one side survived.
//!
//! Accounts begin as nothing and only transfers touch them, so the sum is always 0.

use super::model::commands::integer;
use super::{Report, Violation};
use crate::history::{History, Operation, Status, Value};
use crate::workload::is_whole_bank;

pub fn check(history: &History, report: &mut Report) {
    for operation in history.operations.iter().filter(|operation| operation.status == Status::Ok) {
        let Some(values) = values(operation) else { continue };
        let sum: Option<i64> = values.iter().map(|value| balance(value)).sum();
        if sum != Some(0) {
            let told = sum.map_or("no number".to_string(), |sum| sum.to_string());
            report.violations.push(Violation {
                checker: "bank",
                place: operation.keys()[0].escape_ascii().to_string(),
                operations: vec![operation.id],
                text: format!(
                    "the accounts sum up to {told}, and always to 0 between transfers\n  {operation}\n"
                ),
            });
        }
    }
}

/// The balances, where the operation read all accounts of a bank and nothing else.
fn values(operation: &Operation) -> Option<Vec<&Value>> {
    match (operation.command.as_str(), &operation.result) {
        ("MGET", Value::Array(values)) if is_whole_bank(&operation.keys()) => Some(values.iter().collect()),
        ("TXN", result) if *result != Value::Null => {
            let micros = &operation.micro_operations;
            let keys: Vec<&[u8]> = micros.iter().filter_map(|micro| micro.key.as_deref()).collect();
            let is_look = micros.iter().all(|micro| micro.command == "GET") && is_whole_bank(&keys);
            is_look.then(|| micros.iter().map(|micro| &micro.result).collect())
        }
        _ => None,
    }
}

fn balance(value: &Value) -> Option<i64> {
    match value {
        Value::Null => Some(0),
        Value::Bytes(bytes) => integer(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::notation::history;
    use super::*;

    fn found(text: &str) -> usize {
        let mut report = Report::default();
        check(&history(text), &mut report);
        report.violations.len()
    }

    #[test]
    fn half_a_transfer_is_found() {
        let look = |[a, b]: [&str; 2]| {
            format!(
                "p1 0..5 TXN (GET {{bank1}}a -> {a}; GET {{bank1}}b -> {b}; GET {{bank1}}c -> nil; GET {{bank1}}d -> nil) -> OK"
            )
        };
        assert_eq!(found(&look(["nil", "nil"])), 0);
        assert_eq!(found(&look(["-5", "5"])), 0);
        assert_eq!(found(&look(["-5", "nil"])), 1);
        assert_eq!(found(&look(["-5", "x"])), 1);
        assert_eq!(
            found("p1 0..5 TXN (GET {bank1}a -> -5; GET {bank1}b -> nil) -> OK"),
            0,
            "not the whole bank"
        );
    }
}
