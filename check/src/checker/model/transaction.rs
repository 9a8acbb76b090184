//! All keys of one hash tag as one state: MULTI/EXEC, WATCH, and single commands among them.
//!
//! Lives here: atomicity, isolation and what WATCH promises.
//!
//! WATCH is an operation of its own: it puts a mark on its keys for its process, and any change of such a key
//! dirties the mark. EXEC with replies says the mark was clean, EXEC answered nil that it was dirty. A WATCH takes
//! the place of the process's mark before, if there is one: the harness never adds to a WATCH.

use std::collections::BTreeMap;

use super::commands::{self, Cell};
use super::key::show_cell;
use super::{Attempt, Model, ModelError};
use crate::history::{Operation, Value};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    cells: BTreeMap<Vec<u8>, Cell>,
    marks: BTreeMap<u64, Mark>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Mark {
    keys: Vec<Vec<u8>>,
    is_dirty: bool,
}

impl State {
    fn run(&mut self, command: &str, key: &[u8], args: &[Vec<u8>]) -> Result<Value, ModelError> {
        let mut cell = self.cells.remove(key);
        let ran = commands::run(&mut cell, command, args);
        if let Some(cell) = cell {
            self.cells.insert(key.to_vec(), cell);
        }
        let ran = ran?;
        if ran.is_changed {
            for mark in self.marks.values_mut() {
                mark.is_dirty |= mark.keys.iter().any(|watched| watched == key);
            }
        }
        Ok(ran.result)
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct TransactionModel;

impl Model for TransactionModel {
    type State = State;

    const IS_DETERMINISTIC: bool = true;

    fn initial(&self) -> State {
        State::default()
    }

    fn step(&self, state: &State, attempt: &Attempt<'_>, next: &mut Vec<State>) -> Result<(), ModelError> {
        let operation = attempt.operation;
        let mut after = state.clone();
        let fits = match operation.command.as_str() {
            "WATCH" => {
                after.marks.insert(operation.process, Mark { keys: operation.args.clone(), is_dirty: false });
                true
            }
            "TXN" => transaction(&mut after, attempt)?,
            "MGET" => {
                let values = operation.args.iter().map(|key| after.run("GET", key, &[]));
                let values = Value::Array(values.collect::<Result<_, _>>()?);
                attempt.result.is_none_or(|answered| *answered == values)
            }
            command => {
                let key = operation.key.as_deref().ok_or(ModelError::Arguments(operation.id))?;
                let result = after.run(command, key, &operation.args)?;
                attempt.result.is_none_or(|answered| commands::is_same(answered, &result))
            }
        };
        if fits {
            next.push(after);
        }
        Ok(())
    }

    fn show(&self, state: &State) -> String {
        let cells = state
            .cells
            .iter()
            .map(|(key, cell)| format!("{} = {}", key.escape_ascii(), show_cell(&Some(cell.clone()))));
        let marks = state.marks.iter().map(|(process, mark)| {
            let word = if mark.is_dirty { "dirty" } else { "clean" };
            format!("WATCH of p{process} {word}")
        });
        let parts: Vec<String> = cells.chain(marks).collect();
        if parts.is_empty() { "nothing".to_string() } else { parts.join(", ") }
    }
}

/// Runs MULTI … EXEC; false when its results do not fit.
fn transaction(state: &mut State, attempt: &Attempt<'_>) -> Result<bool, ModelError> {
    let operation = attempt.operation;
    if is_dirty(state, operation)? {
        return Ok(attempt.result.is_none_or(|answered| *answered == Value::Null));
    }
    if attempt.result.is_some_and(|answered| *answered == Value::Null) {
        return Ok(false);
    }
    for micro in &operation.micro_operations {
        let key = micro.key.as_deref().ok_or(ModelError::Arguments(operation.id))?;
        let result = state.run(&micro.command, key, &micro.args)?;
        if attempt.is_known && !commands::is_same(&micro.result, &result) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes the process's mark away: EXEC ends every WATCH.
fn is_dirty(state: &mut State, operation: &Operation) -> Result<bool, ModelError> {
    let mark = state.marks.remove(&operation.process);
    if operation.watch.is_empty() {
        return Ok(false);
    }
    mark.map(|mark| mark.is_dirty).ok_or(ModelError::Watch(operation.id))
}
