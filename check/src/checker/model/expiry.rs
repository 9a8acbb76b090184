//! One string with a deadline.
//!
//! Lives here: when a key may vanish, when it must be gone, and that it never comes back.
//!
//! The client does not know the instant at which the server set a deadline, only that it lies between the
//! call's invocation and its return. So a deadline is an interval, widened by what the server's wall clock may be
//! wrong. A key may vanish once its earliest deadline can have passed, and must not be seen by a call that begins
//! after the latest.

use super::commands::{self, Cell};
use super::key::show_cell;
use super::{Attempt, Model, ModelError};
use crate::history::Value;

/// How far the server's idea of elapsed time may be off over the life of a key, faults included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockError {
    /// The clock ran ahead: keys go this much too early.
    pub early_ns: u64,
    /// The clock stood or ran back: keys stay this much too long.
    pub late_ns: u64,
}

/// Deadlines are kept in whole milliseconds, and a key lives through its last one.
const GRANULARITY_NS: u64 = 2_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Deadline {
    earliest_ns: u64,
    latest_ns: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    value: Vec<u8>,
    deadline: Option<Deadline>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct ExpiryModel {
    pub clock_error: ClockError,
}

impl Model for ExpiryModel {
    type State = Option<Held>;

    /// A nil may mean that the deadline passed just now, or be explained by something else.
    const IS_DETERMINISTIC: bool = false;

    fn initial(&self) -> Option<Held> {
        None
    }

    fn step(
        &self,
        state: &Option<Held>,
        attempt: &Attempt<'_>,
        next: &mut Vec<Option<Held>>,
    ) -> Result<(), ModelError> {
        let deadline = state.as_ref().and_then(|held| held.deadline);
        let may_be_there = deadline.is_none_or(|deadline| attempt.invoke_ns <= deadline.latest_ns);
        let may_be_gone = deadline.is_some_and(|deadline| {
            attempt.return_ns.is_none_or(|return_ns| return_ns >= deadline.earliest_ns)
        });
        if may_be_there {
            self.run(state.clone(), attempt, next)?;
        }
        if may_be_gone {
            self.run(None, attempt, next)?;
        }
        next.dedup();
        Ok(())
    }

    fn show(&self, state: &Option<Held>) -> String {
        let Some(held) = state else { return "nothing".to_string() };
        let value = Value::Bytes(held.value.clone());
        match held.deadline {
            None => format!("{value} without a deadline"),
            Some(Deadline { earliest_ns, latest_ns: u64::MAX }) => {
                format!("{value}, due at {:.3} ms or later", earliest_ns as f64 / 1e6)
            }
            Some(Deadline { earliest_ns, latest_ns }) => {
                format!("{value}, due in {:.3} .. {:.3} ms", earliest_ns as f64 / 1e6, latest_ns as f64 / 1e6)
            }
        }
    }
}

impl ExpiryModel {
    fn run(
        &self,
        mut held: Option<Held>,
        attempt: &Attempt<'_>,
        next: &mut Vec<Option<Held>>,
    ) -> Result<(), ModelError> {
        let operation = attempt.operation;
        let args = &operation.args;
        let result = match operation.command.as_str() {
            "SET" if args.len() == 3 => {
                let ttl_ns = ttl_ns(&args[1], &args[2]).ok_or(ModelError::Arguments(operation.id))?;
                held = Some(Held { value: args[0].clone(), deadline: Some(self.deadline(attempt, ttl_ns)) });
                Value::ok()
            }
            "PEXPIRE" | "EXPIRE" => {
                let unit = if operation.command == "EXPIRE" { &b"EX"[..] } else { b"PX" };
                let ttl = args.first().and_then(|ttl| ttl_ns(unit, ttl));
                let ttl_ns = ttl.ok_or(ModelError::Arguments(operation.id))?;
                if let Some(held) = &mut held {
                    held.deadline = Some(self.deadline(attempt, ttl_ns));
                }
                Value::Integer(i64::from(held.is_some()))
            }
            "PERSIST" => {
                let deadline = held.as_mut().and_then(|held| held.deadline.take());
                Value::Integer(i64::from(deadline.is_some()))
            }
            "PTTL" => {
                if attempt.result.is_none_or(|answered| fits_pttl(&held, attempt, answered)) {
                    next.push(held);
                }
                return Ok(());
            }
            "SET" | "GET" | "DEL" | "EXISTS" | "GETDEL" | "GETSET" | "SETNX" => {
                return self.run_plain(held, attempt, next);
            }
            command => return Err(ModelError::Command(command.to_string())),
        };
        if attempt.result.is_none_or(|answered| commands::is_same(answered, &result)) {
            next.push(held);
        }
        Ok(())
    }

    /// Commands that know no deadlines: a written value has none, anything else leaves it.
    fn run_plain(
        &self,
        held: Option<Held>,
        attempt: &Attempt<'_>,
        next: &mut Vec<Option<Held>>,
    ) -> Result<(), ModelError> {
        let operation = attempt.operation;
        let deadline = held.as_ref().and_then(|held| held.deadline);
        let mut cell = held.map(|held| Cell::String(held.value));
        let ran = commands::run(&mut cell, &operation.command, &operation.args)?;
        if attempt.result.is_some_and(|answered| !commands::is_same(answered, &ran.result)) {
            return Ok(());
        }
        let deadline = if ran.is_changed { None } else { deadline };
        next.push(match cell {
            None => None,
            Some(Cell::String(value)) => Some(Held { value, deadline }),
            Some(cell) => unreachable!("no command here makes {}", show_cell(&Some(cell))),
        });
        Ok(())
    }

    fn deadline(&self, attempt: &Attempt<'_>, ttl_ns: u64) -> Deadline {
        let early_ns = self.clock_error.early_ns + GRANULARITY_NS;
        let late_ns = self.clock_error.late_ns + GRANULARITY_NS;
        let end_ns = |return_ns: u64| return_ns.saturating_add(ttl_ns).saturating_add(late_ns);
        Deadline {
            earliest_ns: attempt.invoke_ns.saturating_add(ttl_ns).saturating_sub(early_ns),
            latest_ns: attempt.return_ns.map_or(u64::MAX, end_ns),
        }
    }
}

fn ttl_ns(unit: &[u8], text: &[u8]) -> Option<u64> {
    let number = u64::try_from(commands::integer(text)?).ok()?;
    match unit {
        b"PX" => number.checked_mul(1_000_000),
        b"EX" => number.checked_mul(1_000_000_000),
        _ => None,
    }
}

/// The time left, added to an instant within the call, must be able to meet the deadline.
fn fits_pttl(held: &Option<Held>, attempt: &Attempt<'_>, answered: &Value) -> bool {
    let Value::Integer(left_ms) = *answered else { return false };
    match held {
        None => left_ms == -2,
        Some(Held { deadline: None, .. }) => left_ms == -1,
        Some(Held { deadline: Some(deadline), .. }) => {
            let Ok(left_ms) = u64::try_from(left_ms) else { return false };
            let left_ns = left_ms.saturating_mul(1_000_000);
            let first_ns = attempt.invoke_ns.saturating_add(left_ns);
            let last_ns = attempt.return_ns.unwrap_or(u64::MAX).saturating_add(left_ns);
            first_ns <= deadline.latest_ns && last_ns.saturating_add(GRANULARITY_NS) >= deadline.earliest_ns
        }
    }
}
