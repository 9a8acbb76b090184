//! Says what is wrong, to a person.
//!
//! Lives here: cutting a part that has no order down to few operations, and telling them in time order.
//! Not here: finding that there is none (`linearizable`).
//!
//! Invariant: what is told is itself impossible. Every reduction only forgets: the end of the history, a read, or the
//! outcome of a write (which may then stand anywhere later, or nowhere). Whatever remains impossible after forgetting
//! was impossible before.

use std::fmt::Write as _;

use super::Violation;
use super::linearizable::{Furthest, Search, Steps, search};
use super::model::{Attempt, Model, is_read};
use crate::history::value::shown;
use crate::history::{Operation, Status, Value};

/// States tried for one reduction; one that takes longer is not made.
const REDUCTION_STEPS_MAX: u64 = 5_000;

/// States tried for all reductions of one violation.
const REDUCTION_STEPS_TOTAL_MAX: u64 = 60_000;

const OTHERS_SHOWN_MAX: usize = 8;

pub fn explain<M: Model>(
    model: &M,
    place: String,
    operations: &[&Operation],
    attempts: Vec<Attempt<'_>>,
    furthest: Furthest<M::State>,
) -> Violation {
    let mut reduction = Reduction { model, attempts, furthest, steps_left: REDUCTION_STEPS_TOTAL_MAX };
    reduction.cut_end();
    reduction.drop_reads();
    reduction.forget_writes();
    let Reduction { attempts, furthest, .. } = reduction;
    let text = story(model, &place, operations, &attempts, &furthest);
    let mut involved: Vec<&Operation> =
        attempts.iter().filter(|attempt| attempt.is_firm()).map(|attempt| attempt.operation).collect();
    involved.sort_by_key(|operation| (operation.invoke_ns, operation.id));
    let operations = involved.iter().map(|operation| operation.id).collect();
    Violation { checker: "not linearizable", place, operations, text }
}

struct Reduction<'m, 'a, M: Model> {
    model: &'m M,
    attempts: Vec<Attempt<'a>>,
    furthest: Furthest<M::State>,
    steps_left: u64,
}

impl<'a, M: Model> Reduction<'_, 'a, M> {
    /// Keeps `fewer` if it is still impossible.
    fn keep(&mut self, fewer: Vec<Attempt<'a>>) -> bool {
        let mut steps = Steps::default();
        let steps_max = REDUCTION_STEPS_MAX.min(self.steps_left);
        let found = search(self.model, &fewer, steps_max, &mut steps);
        self.steps_left = self.steps_left.saturating_sub(steps.0);
        match found {
            Ok(Search::Impossible(furthest)) => {
                (self.attempts, self.furthest) = (fewer, furthest);
                true
            }
            // A model error says that something needed was forgotten.
            Ok(Search::Linearizable(_) | Search::Undecided) | Err(_) => false,
        }
    }

    /// The shortest beginning that is impossible. Every beginning of a possible history is possible, so halving works.
    fn cut_end(&mut self) {
        let mut ends: Vec<u64> = self.attempts.iter().filter_map(|attempt| attempt.return_ns).collect();
        ends.sort_unstable();
        ends.dedup();
        let whole = self.attempts.clone();
        let (mut low, mut high) = (0, ends.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.keep(until(&whole, ends[middle])) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
    }

    fn drop_reads(&mut self) {
        self.forget(|attempt| is_read(attempt.operation), |_| None);
    }

    fn forget_writes(&mut self) {
        let is_write = |attempt: &Attempt<'_>| attempt.is_firm() && !is_read(attempt.operation);
        self.forget(is_write, |attempt| Some(Attempt::unknown(attempt.operation)));
    }

    /// Puts less in the place of what is `chosen`: first of all of it, then of halves, quarters, … and single ones.
    fn forget(
        &mut self,
        chosen: impl Fn(&Attempt<'_>) -> bool,
        less: impl Fn(&Attempt<'a>) -> Option<Attempt<'a>>,
    ) {
        let mut width = self.attempts.iter().filter(|attempt| chosen(attempt)).count();
        while width > 0 {
            let mut skipped = 0;
            loop {
                let (mut seen, mut replaced, mut fewer) = (0, 0, Vec::new());
                for attempt in &self.attempts {
                    let is_in = chosen(attempt) && seen >= skipped && replaced < width;
                    seen += usize::from(chosen(attempt));
                    replaced += usize::from(is_in);
                    if is_in { fewer.extend(less(attempt)) } else { fewer.push(*attempt) }
                }
                if replaced == 0 || self.steps_left == 0 {
                    break;
                }
                if !self.keep(fewer) {
                    skipped += width;
                }
            }
            width /= 2;
        }
    }
}

/// What was known at one instant: open writes may still happen, open reads have told nothing.
fn until<'a>(attempts: &[Attempt<'a>], end_ns: u64) -> Vec<Attempt<'a>> {
    let mut beginning = Vec::new();
    for attempt in attempts.iter().filter(|attempt| attempt.invoke_ns <= end_ns) {
        if attempt.return_ns.is_none_or(|return_ns| return_ns <= end_ns) {
            beginning.push(*attempt);
        } else if !is_read(attempt.operation) {
            beginning.push(Attempt::unknown(attempt.operation));
        }
    }
    beginning
}

fn story<M: Model>(
    model: &M,
    place: &str,
    operations: &[&Operation],
    attempts: &[Attempt<'_>],
    furthest: &Furthest<M::State>,
) -> String {
    let mut firm: Vec<&Operation> =
        attempts.iter().filter(|attempt| attempt.is_firm()).map(|attempt| attempt.operation).collect();
    firm.sort_by_key(|operation| (operation.invoke_ns, operation.id));
    let mut text = format!("{place}: no order of these operations explains their answers\n");
    for operation in &firm {
        let _ = writeln!(text, "  {operation}");
    }
    let mut others: Vec<&Operation> =
        attempts.iter().filter(|attempt| !attempt.is_firm()).map(|attempt| attempt.operation).collect();
    others.sort_by_key(|operation| (operation.invoke_ns, operation.id));
    if !others.is_empty() {
        let _ =
            writeln!(text, "wherever these {} writes took effect after their start, if at all", others.len());
    }
    for operation in others.iter().take(OTHERS_SHOWN_MAX) {
        let _ = writeln!(text, "  {operation}");
    }
    if others.len() > OTHERS_SHOWN_MAX {
        let _ = writeln!(text, "  … {} more", others.len() - OTHERS_SHOWN_MAX);
    }
    let placed: Vec<String> =
        furthest.order.iter().map(|&index| format!("#{}", attempts[index].operation.id)).collect();
    let missing: Vec<String> = (0..attempts.len())
        .filter(|index| attempts[*index].is_firm() && !furthest.order.contains(index))
        .map(|index| format!("#{}", attempts[index].operation.id))
        .collect();
    let placed = if placed.is_empty() { "none".to_string() } else { placed.join(" ") };
    let _ = writeln!(
        text,
        "the longest order that fits: {placed}; then the state is {}, and {} cannot follow",
        model.show(&furthest.state),
        missing.join(" ")
    );
    for operation in operations.iter().filter(|operation| operation.status == Status::Fail) {
        if let Some(value) = value_seen(operation, &firm) {
            let value = shown(value);
            let _ = writeln!(text, "the value {value} was written by the refused {operation}");
        }
    }
    text
}

/// A value that the operation wrote and one of `readers` answered.
fn value_seen<'o>(operation: &'o Operation, readers: &[&Operation]) -> Option<&'o [u8]> {
    if is_read(operation) {
        return None;
    }
    let micro_args = operation.micro_operations.iter().flat_map(|micro| &micro.args);
    let values = operation.args.iter().chain(micro_args);
    // Short values are options, field names and small numbers.
    values.map(Vec::as_slice).filter(|value| value.contains(&b'.')).find(|value| {
        readers.iter().any(|reader| {
            holds(&reader.result, value)
                || reader.micro_operations.iter().any(|micro| holds(&micro.result, value))
        })
    })
}

fn holds(result: &Value, value: &[u8]) -> bool {
    match result {
        Value::Bytes(bytes) => bytes == value,
        Value::Array(items) => items.iter().any(|item| holds(item, value)),
        Value::Map(map) => map.values().any(|item| holds(item, value)),
        Value::Null | Value::Integer(_) | Value::Error(_) => false,
    }
}
