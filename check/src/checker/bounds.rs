//! Bounds of counters, in n·log n: for runs too long for a search.
//!
//! Lives here: every value seen of a counter lies between what must have been added and what may have been.
//! It finds lost and doubled increments; orders that only a search can refute pass.

use std::collections::BTreeMap;

use super::write::{Change, Place, Write, writes};
use super::{Report, Violation};
use crate::history::{History, Operation, Status, Value};

/// Everything known of one counter.
#[derive(Default)]
struct Counter<'a> {
    adds: Vec<(i64, Write<'a>)>,
    seen: Vec<(i64, &'a Operation)>,
    is_set: bool,
}

pub fn check(history: &History, report: &mut Report) {
    let mut counters: BTreeMap<Place, Counter<'_>> = BTreeMap::new();
    for operation in &history.operations {
        for write in writes(operation) {
            let counter = counters.entry(write.place.clone()).or_default();
            match write.change {
                Change::Add(delta, sum) => {
                    counter.seen.extend(sum.map(|sum| (sum, operation)));
                    counter.adds.push((delta, write));
                }
                Change::Set(_) | Change::Delete => counter.is_set = true,
            }
        }
        if let (Status::Ok, "GET", Some(key)) = (operation.status, operation.command.as_str(), &operation.key)
        {
            let place = Place { key: key.clone(), field: None };
            if let Some(value) = number(&operation.result) {
                counters.entry(place).or_default().seen.push((value, operation));
            }
        }
    }
    for (place, counter) in &counters {
        // Deleting a hash sets all its fields back.
        let whole = Place { key: place.key.clone(), field: None };
        let is_set = counter.is_set || counters.get(&whole).is_some_and(|whole| whole.is_set);
        if !is_set && !counter.adds.is_empty() {
            report.violations.extend(check_counter(place, counter));
        }
    }
}

fn number(result: &Value) -> Option<i64> {
    match result {
        Value::Null => Some(0),
        Value::Bytes(bytes) => super::model::commands::integer(bytes),
        _ => None,
    }
}

/// Sums over time: what had been added by all events up to an instant.
struct Sums(Vec<(u64, i128)>);

impl Sums {
    fn new(mut events: Vec<(u64, i64)>) -> Sums {
        events.sort_unstable();
        let mut sum = 0;
        Sums(
            events
                .into_iter()
                .map(|(at_ns, delta)| {
                    sum += i128::from(delta);
                    (at_ns, sum)
                })
                .collect(),
        )
    }

    /// Of events strictly before `end_ns`.
    fn before(&self, end_ns: u64) -> i128 {
        let count = self.0.partition_point(|&(at_ns, _)| at_ns < end_ns);
        count.checked_sub(1).map_or(0, |last| self.0[last].1)
    }

    fn until(&self, end_ns: u64) -> i128 {
        let count = self.0.partition_point(|&(at_ns, _)| at_ns <= end_ns);
        count.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

fn check_counter(place: &Place, counter: &Counter<'_>) -> Option<Violation> {
    // Ups push the lower bound when they returned, the upper when they were invoked; downs the other way round.
    let events = |is_up: bool, is_returned: bool| {
        let chosen = counter.adds.iter().filter(|(delta, _)| (*delta > 0) == is_up);
        let dated = chosen.filter_map(|(delta, write)| {
            let at_ns = if is_returned { write.operation.return_ns } else { Some(write.operation.invoke_ns) };
            at_ns.map(|at_ns| (at_ns, *delta))
        });
        Sums::new(dated.collect())
    };
    let (up_done, up_begun) = (events(true, true), events(true, false));
    let (down_done, down_begun) = (events(false, true), events(false, false));
    let name = place_name(place);
    let mut seen: Vec<&(i64, &Operation)> = counter.seen.iter().collect();
    seen.sort_by_key(|(_, operation)| (operation.return_ns, operation.id));
    for (value, operation) in seen {
        let end_ns = operation.return_ns.unwrap_or(u64::MAX);
        let low = up_done.before(operation.invoke_ns) + down_begun.until(end_ns);
        let high = up_begun.until(end_ns) + down_done.before(operation.invoke_ns);
        if !(low..=high).contains(&i128::from(*value)) {
            let text = format!(
                "{name}: answered {value}, but what was acknowledged before and begun until then allows only \
                 {low} ..= {high}\n  {operation}\n"
            );
            return Some(violation(name, vec![operation.id], text));
        }
    }
    doubled(name, counter)
}

/// With increments only, each sum is answered at most once, and what was seen never shrinks.
fn doubled(name: String, counter: &Counter<'_>) -> Option<Violation> {
    if counter.adds.iter().any(|(delta, _)| *delta <= 0) {
        return None;
    }
    let mut sums: BTreeMap<i64, &Operation> = BTreeMap::new();
    for (_, write) in &counter.adds {
        let Change::Add(_, Some(sum)) = write.change else { continue };
        if let Some(other) = sums.insert(sum, write.operation) {
            let text = format!(
                "{name}: two increments answered the same sum {sum}\n  {other}\n  {}\n",
                write.operation
            );
            return Some(violation(name, vec![other.id, write.operation.id], text));
        }
    }
    let mut by_invoke: Vec<&(i64, &Operation)> = counter.seen.iter().collect();
    by_invoke.sort_by_key(|(_, operation)| operation.invoke_ns);
    let mut by_return = by_invoke.clone();
    by_return.sort_by_key(|(_, operation)| operation.return_ns);
    let (mut returned, mut largest) = (0, None::<&(i64, &Operation)>);
    for later in by_invoke {
        while by_return[returned].1.return_ns.is_some_and(|return_ns| return_ns < later.1.invoke_ns) {
            if largest.is_none_or(|largest| largest.0 < by_return[returned].0) {
                largest = Some(by_return[returned]);
            }
            returned += 1;
        }
        if let Some(earlier) = largest.filter(|earlier| earlier.0 > later.0) {
            let text = format!("{name}: ran backwards\n  {}\n  {}\n", earlier.1, later.1);
            return Some(violation(name, vec![earlier.1.id, later.1.id], text));
        }
    }
    None
}

pub(super) fn place_name(place: &Place) -> String {
    match &place.field {
        None => place.key.escape_ascii().to_string(),
        Some(field) => format!("{} field {}", place.key.escape_ascii(), field.escape_ascii()),
    }
}

fn violation(place: String, operations: Vec<u64>, text: String) -> Violation {
    Violation { checker: "counter out of bounds", place, operations, text }
}

#[cfg(test)]
mod tests {
    use super::super::notation::history;
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let mut report = Report::default();
        check(&history(text), &mut report);
        report.violations.into_iter().map(|violation| violation.text).collect()
    }

    #[test]
    fn a_lost_increment_is_below_the_bound() {
        let texts = found("p1 0..1 INCR ctr1 -> 1\np2 0..2 INCR ctr1 -> 2\np1 3..4 GET ctr1 -> 1");
        assert!(texts[0].contains("answered 1") && texts[0].contains("2 ..= 2"), "{texts:?}");
    }

    #[test]
    fn increments_of_unknown_outcome_widen_the_bound() {
        let text =
            "p1 0..1 INCR ctr1 -> 1\np2 0..? INCRBY ctr1 5\np3 0..? DECRBY ctr1 2\np1 3..4 GET ctr1 -> ";
        for value in -1..=6 {
            assert_eq!(found(&format!("{text}{value}")), Vec::<String>::new());
        }
        assert_eq!(found(&format!("{text}-2")).len(), 1);
        assert_eq!(found(&format!("{text}7")).len(), 1);
    }

    #[test]
    fn doubled_and_shrinking_sums_are_found() {
        assert!(found("p1 0..9 INCR ctr1 -> 1\np2 0..9 INCR ctr1 -> 1")[0].contains("same sum"));
        let text = "p1 0..99 INCR ctr1 -> 1\np2 1..2 GET ctr1 -> 1\np3 3..4 GET ctr1 -> nil";
        assert!(found(text)[0].contains("backwards"));
    }

    #[test]
    fn fields_of_hashes_are_counters_too() {
        assert_eq!(
            found("p1 0..1 HINCRBY hash1 n 2 -> 2\np1 2..3 HINCRBY hash1 n 2 -> 4"),
            Vec::<String>::new()
        );
        assert_eq!(found("p1 0..1 HINCRBY hash1 n 2 -> 2\np1 2..3 HINCRBY hash1 n 2 -> 2").len(), 1);
        let deleted =
            "p1 0..1 HINCRBY hash1 n 2 -> 2\np1 2..3 DEL hash1 -> 1\np1 4..5 HINCRBY hash1 n 2 -> 2";
        assert_eq!(found(deleted), Vec::<String>::new());
    }

    #[test]
    fn a_hundred_thousand_increments_take_a_moment() {
        let mut history = history("p1 0..1 INCR ctr1 -> 1");
        let first = history.operations[0].clone();
        for index in 1..100_000_u64 {
            let mut next = first.clone();
            next.id += index;
            (next.invoke_ns, next.return_ns) = (index * 10, Some(index * 10 + 25));
            next.process = index % 8;
            next.result = Value::Integer(index as i64 + 1);
            history.operations.push(next);
        }
        let mut report = Report::default();
        check(&history, &mut report);
        assert!(report.is_passed());
        history.operations[70_000].result = Value::Integer(5);
        check(&history, &mut report);
        assert_eq!(report.violations.len(), 1);
    }
}
