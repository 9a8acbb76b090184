//! One key without a deadline: register, counter or hash, whatever its commands make of it.
//!
//! Lives here: the per-key model. Keys are independent, so each is explained alone.

use super::commands::{self, Cell};
use super::{Attempt, Model, ModelError};
use crate::history::Value;

#[derive(Clone, Copy, Debug, Default)]
pub struct KeyModel;

impl Model for KeyModel {
    type State = Option<Cell>;

    const IS_DETERMINISTIC: bool = true;

    fn initial(&self) -> Option<Cell> {
        None
    }

    fn step(
        &self,
        state: &Option<Cell>,
        attempt: &Attempt<'_>,
        next: &mut Vec<Option<Cell>>,
    ) -> Result<(), ModelError> {
        let mut after = state.clone();
        let ran = commands::run(&mut after, &attempt.operation.command, &attempt.operation.args)?;
        if attempt.result.is_none_or(|answered| commands::is_same(answered, &ran.result)) {
            next.push(after);
        }
        Ok(())
    }

    fn show(&self, state: &Option<Cell>) -> String {
        show_cell(state)
    }
}

pub fn show_cell(cell: &Option<Cell>) -> String {
    match cell {
        None => "nothing".to_string(),
        Some(Cell::String(bytes)) => Value::Bytes(bytes.clone()).to_string(),
        Some(Cell::Hash(map)) => {
            let pairs = map.iter().map(|(field, value)| (field.clone(), Value::Bytes(value.clone())));
            Value::Map(pairs.collect()).to_string()
        }
    }
}
