//! Judges a history: did every client see what one correct, durable server could have answered?
//!
//! Lives here: splitting a history into independent parts, running every checker, and the report.
//! Not here: the search (`linearizable`), what servers may answer (`model`), the words (`explain`).
//!
//! Invariant: a report passes only when every part was decided. A check that gave up has failed.

mod bank;
pub mod bounds;
mod cycles;
pub mod durability;
mod explain;
pub mod linearizable;
pub mod list_append;
pub mod model;
pub mod reply_order;
mod scan;
mod write;

#[cfg(test)]
mod brute_force;
#[cfg(test)]
mod canaries;
#[cfg(test)]
mod list_canaries;
#[cfg(test)]
mod notation;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::history::{History, Operation, ReadFrom, Status};
use linearizable::{Search, Steps, search};
use model::expiry::{ClockError, ExpiryModel};
use model::key::KeyModel;
use model::transaction::TransactionModel;
use model::{Attempt, Model, ModelKind, hash_tag, is_read};

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// States tried for one part before its check gives up.
    pub steps_max: u64,
    /// How wrong the server's clock may have been, for deadlines.
    pub clock_error: ClockError,
}

/// Honest parts of a campaign take a few thousand states at most; every state tried is kept in memory.
const STEPS_MAX: u64 = 200_000;

impl Default for Limits {
    fn default() -> Limits {
        Limits { steps_max: STEPS_MAX, clock_error: ClockError::default() }
    }
}

/// One thing that no correct server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub checker: &'static str,
    /// The key, hash tag or connection it was found on.
    pub place: String,
    /// Ids of the operations involved, in the order of their invocation.
    pub operations: Vec<u64>,
    /// The whole story for a person.
    pub text: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Independent parts that were checked for linearizability.
    pub parts: u64,
    /// States tried over all parts.
    pub steps: u64,
    pub violations: Vec<Violation>,
    /// Parts that could not be decided, with the reason.
    pub undecided: Vec<String>,
}

impl Report {
    pub fn is_passed(&self) -> bool {
        self.violations.is_empty() && self.undecided.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_passed() { "passed" } else { "FAILED" };
        writeln!(f, "{verdict}: {} parts, {} states tried", self.parts, self.steps)?;
        for violation in &self.violations {
            writeln!(f, "{} on {}:\n{}", violation.checker, violation.place, violation.text)?;
        }
        for reason in &self.undecided {
            writeln!(f, "undecided: {reason}")?;
        }
        Ok(())
    }
}

/// Acknowledged changes of a history, each key or field of a command by itself.
pub fn count_writes(history: &History) -> u64 {
    let all = history.operations.iter().flat_map(write::writes);
    all.filter(|write| write.is_certain).count() as u64
}

/// Runs every checker over a history.
pub fn check(history: &History, limits: &Limits) -> Report {
    let mut report = Report::default();
    if let Err(error) = history.validate() {
        report.undecided.push(format!("malformed history: {error}"));
        return report;
    }
    check_linearizable(history, limits, &mut report);
    bounds::check(history, &mut report);
    durability::check(history, &mut report);
    reply_order::check(history, &mut report);
    list_append::check(history, &mut report);
    bank::check(history, &mut report);
    scan::check(history, &mut report);
    report
}

/// Checks each independent part for an order that explains it.
pub fn check_linearizable(history: &History, limits: &Limits, report: &mut Report) {
    let parts = match parts(history) {
        Ok(parts) => parts,
        Err(reason) => {
            report.undecided.push(reason);
            return;
        }
    };
    for (place, (kind, operations)) in parts {
        report.parts += 1;
        let place = place.escape_ascii().to_string();
        match kind {
            // Judged by a graph of its own (`list_append`).
            ModelKind::List => report.parts -= 1,
            ModelKind::Key => check_part(&KeyModel, place, &operations, limits, report),
            ModelKind::Transaction => check_part(&TransactionModel, place, &operations, limits, report),
            ModelKind::Expiry => {
                let model = ExpiryModel { clock_error: limits.clock_error };
                check_part(&model, place, &operations, limits, report);
            }
        }
    }
}

type Parts<'h> = BTreeMap<&'h [u8], (ModelKind, Vec<&'h Operation>)>;

/// Operations by key, or by hash tag for keys of transactions. Operations without a key (ECHO) belong to none.
fn parts(history: &History) -> Result<Parts<'_>, String> {
    let mut parts = Parts::new();
    for operation in &history.operations {
        let mut places = BTreeSet::new();
        for key in operation.keys() {
            let kind = ModelKind::of_key(key).ok_or_else(|| {
                format!("no model for key {} of operation {}", key.escape_ascii(), operation.id)
            })?;
            let is_single = matches!(kind, ModelKind::Key | ModelKind::Expiry);
            places.insert((if is_single { key } else { hash_tag(key) }, kind));
        }
        if places.len() > 1 {
            return Err(format!("operation {} joins keys that are checked apart", operation.id));
        }
        for (place, kind) in places {
            parts.entry(place).or_insert_with(|| (kind, Vec::new())).1.push(operation);
        }
    }
    Ok(parts)
}

/// What the search has to place: refused calls had no effect, a read of unknown outcome says nothing, and one at a
/// replica may be late.
fn attempts<'a>(operations: &[&'a Operation]) -> Vec<Attempt<'a>> {
    let mut attempts = Vec::new();
    for &operation in operations {
        if operation.read_from == Some(ReadFrom::Replica) {
            continue;
        }
        match operation.status {
            Status::Ok => attempts.push(Attempt::known(operation)),
            Status::Info if !is_read(operation) => attempts.push(Attempt::unknown(operation)),
            Status::Info | Status::Fail => {}
        }
    }
    attempts
}

fn check_part<M: Model>(
    model: &M,
    place: String,
    operations: &[&Operation],
    limits: &Limits,
    report: &mut Report,
) {
    let attempts = attempts(operations);
    let mut steps = Steps::default();
    match search(model, &attempts, limits.steps_max, &mut steps) {
        Ok(Search::Linearizable(_)) => {}
        Ok(Search::Undecided) => {
            let count = attempts.len();
            report.undecided.push(format!("{place}: gave up after {} states of {count} operations", steps.0));
        }
        Ok(Search::Impossible(furthest)) => {
            report.violations.push(explain::explain(model, place, operations, attempts, furthest));
        }
        Err(error) => report.undecided.push(format!("{place}: {error}")),
    }
    report.steps += steps.0;
}
