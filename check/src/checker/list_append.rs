//! Anomalies of transactions that append to lists and read them: a graph of what came before what, searched for cycles.
//!
//! Lives here: the order of each list as reads and lengths show it, the edges that follow from it, values that no order
//! explains. Not here: the search for cycles (`cycles`), which calls are made (`workload::append`).
//!
//! A list tells its own history: whoever reads it sees every append before, in order. Lists are strings here, whose
//! elements all have [`ELEMENT_BYTES`] and are added by APPEND: what APPEND answers is the place of the element, as with
//! RPUSH. Single commands are transactions of one command.
//!
//! Reads at a replica may be late: nothing that returned before them must be in them. But they are prefixes of what was
//! committed, in one order with all else, and on one connection they never go back in time.

use std::collections::{BTreeMap, BTreeSet};

use super::cycles::{Cycle, Edge, Graph};
use super::model::ModelKind;
use super::{Report, Violation};
use crate::history::value::shown;
use crate::history::{History, Operation, ReadFrom, Status, Value};
use crate::workload::ELEMENT_BYTES;

/// One transaction of which something is known, or may have happened.
struct Transaction<'h> {
    operation: &'h Operation,
    micros: Vec<Micro>,
}

enum Micro {
    /// With its place, where one was answered.
    Append {
        key: usize,
        element: Vec<u8>,
        place: Option<usize>,
    },
    Read {
        key: usize,
        elements: Vec<Vec<u8>>,
    },
}

/// Who appended an element.
#[derive(Clone, Copy)]
struct Writer {
    transaction: usize,
    /// The transaction appends to the same list again.
    is_followed: bool,
}

/// What one transaction saw of a list before it appended to it itself.
struct Seen {
    transaction: usize,
    length: usize,
}

struct List<'h> {
    key: &'h [u8],
    writers: BTreeMap<Vec<u8>, Writer>,
    /// Elements by their place; a gap is an append that nobody was told of.
    places: BTreeMap<usize, Vec<u8>>,
    seen: Vec<Seen>,
    /// So many first places are known from a read.
    read: usize,
}

struct Analysis<'h> {
    transactions: Vec<Transaction<'h>>,
    lists: Vec<List<'h>>,
    /// Elements of transactions that certainly had no effect.
    refused: BTreeMap<Vec<u8>, &'h Operation>,
    violations: Vec<Violation>,
}

pub fn check(history: &History, report: &mut Report) {
    let mut analysis = Analysis {
        transactions: Vec::new(),
        lists: Vec::new(),
        refused: BTreeMap::new(),
        violations: Vec::new(),
    };
    if let Err(reason) = analysis.gather(history) {
        report.undecided.push(reason);
        return;
    }
    report.parts += u64::from(!analysis.transactions.is_empty());
    analysis.read_lists();
    let mut graph = Graph::new(analysis.transactions.len());
    for key in 0..analysis.lists.len() {
        analysis.look_for_gaps(key);
        analysis.add_edges(key, &mut graph);
    }
    analysis.add_orders(&mut graph);
    for cycle in graph.cycles() {
        let violation = analysis.explain_cycle(&cycle);
        analysis.violations.push(violation);
    }
    report.violations.append(&mut analysis.violations);
}

fn is_list(key: &[u8]) -> bool {
    ModelKind::of_key(key) == Some(ModelKind::List)
}

fn text(element: &[u8]) -> String {
    element.escape_ascii().to_string()
}

/// The elements of a list as it was answered; `None` when it is none.
fn elements(value: &Value) -> Option<Vec<Vec<u8>>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Bytes(bytes) if bytes.len() % ELEMENT_BYTES == 0 => {
            Some(bytes.chunks(ELEMENT_BYTES).map(<[u8]>::to_vec).collect())
        }
        _ => None,
    }
}

impl<'h> Analysis<'h> {
    fn gather(&mut self, history: &'h History) -> Result<(), String> {
        let mut keys: BTreeMap<&'h [u8], usize> = BTreeMap::new();
        for operation in &history.operations {
            if !operation.keys().into_iter().any(is_list) {
                continue;
            }
            let is_turned_away = operation.is_transaction() && operation.result == Value::Null;
            match operation.status {
                Status::Fail => self.note_refused(operation),
                Status::Ok if is_turned_away => self.note_refused(operation),
                Status::Ok | Status::Info => self.note(operation, &mut keys)?,
            }
        }
        Ok(())
    }

    fn note_refused(&mut self, operation: &'h Operation) {
        let single = operation.args.iter().filter(|_| operation.command == "APPEND");
        let micros = operation.micro_operations.iter().filter(|micro| micro.command == "APPEND");
        for element in single.chain(micros.flat_map(|micro| &micro.args)) {
            self.refused.insert(element.clone(), operation);
        }
    }

    fn note(&mut self, operation: &'h Operation, keys: &mut BTreeMap<&'h [u8], usize>) -> Result<(), String> {
        let mut micros = Vec::new();
        let mut note =
            |analysis: &mut Self, command: &str, key: &'h [u8], args: &[Vec<u8>], result: &Value| {
                let key = *keys.entry(key).or_insert_with(|| {
                    let (writers, places) = (BTreeMap::new(), BTreeMap::new());
                    analysis.lists.push(List { key, writers, places, seen: Vec::new(), read: 0 });
                    analysis.lists.len() - 1
                });
                micros.extend(analysis.micro(operation, command, key, args, result)?);
                Ok::<(), String>(())
            };
        match operation.command.as_str() {
            "TXN" => {
                for micro in &operation.micro_operations {
                    let key = micro.key.as_deref().ok_or("a command without a key")?;
                    note(self, &micro.command, key, &micro.args, &micro.result)?;
                }
            }
            "MGET" if operation.status == Status::Ok => {
                let Value::Array(values) = &operation.result else {
                    self.violate("garbled list", vec![operation], "not an answer of MGET".into());
                    return Ok(());
                };
                for (key, value) in operation.args.iter().zip(values) {
                    note(self, "GET", key, &[], value)?;
                }
            }
            "WATCH" | "MGET" => return Ok(()),
            command => {
                let key = operation.key.as_deref().ok_or("a command without a key")?;
                note(self, command, key, &operation.args, &operation.result)?;
            }
        }
        if !micros.is_empty() {
            self.transactions.push(Transaction { operation, micros });
        }
        Ok(())
    }

    fn micro(
        &mut self,
        operation: &'h Operation,
        command: &str,
        key: usize,
        args: &[Vec<u8>],
        result: &Value,
    ) -> Result<Option<Micro>, String> {
        let is_known = operation.status == Status::Ok;
        match (command, args) {
            ("GET", []) if !is_known => Ok(None),
            ("GET", []) => match elements(result) {
                Some(elements) => Ok(Some(Micro::Read { key, elements })),
                None => {
                    self.violate("garbled list", vec![operation], format!("{result} is no list of elements"));
                    Ok(None)
                }
            },
            ("APPEND", [element]) if element.len() == ELEMENT_BYTES => {
                let bytes = match result {
                    Value::Integer(bytes) => usize::try_from(*bytes).unwrap_or(0),
                    _ => 0,
                };
                if is_known && (bytes == 0 || bytes % ELEMENT_BYTES != 0) {
                    let why = format!("{result} after an append are no whole elements");
                    self.violate("garbled list", vec![operation], why);
                }
                let place = if is_known { (bytes / ELEMENT_BYTES).checked_sub(1) } else { None };
                Ok(Some(Micro::Append { key, element: element.clone(), place }))
            }
            _ => Err(format!("lists: operation {} is of no known form: {command}", operation.id)),
        }
    }

    fn violate(&mut self, checker: &'static str, mut involved: Vec<&'h Operation>, why: String) {
        involved.sort_by_key(|operation| operation.id);
        involved.dedup_by_key(|operation| operation.id);
        let lines: String = involved.iter().map(|operation| format!("  {operation}\n")).collect();
        self.violations.push(Violation {
            checker,
            place: "lists".into(),
            operations: involved.iter().map(|operation| operation.id).collect(),
            text: format!("{why}\n{lines}"),
        });
    }

    /// Finds out who appended what and where, and what each read saw from outside.
    fn read_lists(&mut self) {
        for index in 0..self.transactions.len() {
            let transaction = &self.transactions[index];
            let mut last: BTreeMap<usize, &Vec<u8>> = BTreeMap::new();
            for micro in &transaction.micros {
                let Micro::Append { key, element, .. } = micro else { continue };
                let writers = &mut self.lists[*key].writers;
                if let Some(before) = last.insert(*key, element) {
                    writers.get_mut(before).expect("just noted").is_followed = true;
                }
                writers.insert(element.clone(), Writer { transaction: index, is_followed: false });
            }
        }
        for index in 0..self.transactions.len() {
            self.look_at_reads(index);
        }
        for index in 0..self.transactions.len() {
            self.look_at_places(index);
        }
    }

    fn look_at_reads(&mut self, index: usize) {
        let operation = self.transactions[index].operation;
        let micros = std::mem::take(&mut self.transactions[index].micros);
        // For each list: what was there before the transaction, once it is known, and its own appends since.
        let mut known: BTreeMap<usize, usize> = BTreeMap::new();
        let mut own: BTreeMap<usize, Vec<&Vec<u8>>> = BTreeMap::new();
        for micro in &micros {
            match micro {
                Micro::Append { key, element, .. } => own.entry(*key).or_default().push(element),
                Micro::Read { key, elements } => {
                    let mine = own.get(key).map_or(&[][..], Vec::as_slice);
                    let length = elements.len().checked_sub(mine.len());
                    let is_own = length
                        .is_some_and(|length| elements[length..].iter().eq(mine.iter().copied()))
                        && known.get(key).is_none_or(|before| Some(*before) == length);
                    let Some(length) = length.filter(|_| is_own) else {
                        let why = "a read does not show what its own transaction had done or seen".into();
                        self.violate("internal", vec![operation], why);
                        continue;
                    };
                    let is_first = known.insert(*key, length).is_none();
                    self.look_at_read(index, *key, elements);
                    if is_first {
                        self.lists[*key].seen.push(Seen { transaction: index, length });
                    }
                }
            }
        }
        self.transactions[index].micros = micros;
    }

    /// Compares one read with all that is known of the list's order.
    fn look_at_read(&mut self, index: usize, key: usize, elements: &[Vec<u8>]) {
        let operation = self.transactions[index].operation;
        let name = self.lists[key].key.escape_ascii().to_string();
        for (place, element) in elements.iter().enumerate() {
            let Some(writer) = self.lists[key].writers.get(element).copied() else {
                let (checker, involved, whose) = match self.refused.get(element) {
                    Some(refused) => ("G1a", vec![operation, refused], "a transaction that had no effect"),
                    None => ("invented element", vec![operation], "nobody"),
                };
                self.violate(
                    checker,
                    involved,
                    format!("{name} shows {}, appended by {whose}", text(element)),
                );
                return;
            };
            if elements[..place].contains(element) {
                let involved = vec![operation, self.transactions[writer.transaction].operation];
                self.violate("duplicate", involved, format!("{name} shows {} twice", text(element)));
                return;
            }
            if place + 1 == elements.len() && writer.is_followed && writer.transaction != index {
                let involved = vec![operation, self.transactions[writer.transaction].operation];
                let why = format!("{name} shows {} without what followed it at once", text(element));
                self.violate("G1b", involved, why);
            }
            let list = &mut self.lists[key];
            let there = list.places.entry(place).or_insert_with(|| element.clone());
            if there != element {
                let why = format!("{name} holds at place {place} both {} and {}", text(there), text(element));
                let other = list.writers[&there.clone()].transaction;
                let involved = vec![
                    operation,
                    self.transactions[other].operation,
                    self.transactions[writer.transaction].operation,
                ];
                self.violate("incompatible order", involved, why);
                return;
            }
        }
        let list = &mut self.lists[key];
        list.read = list.read.max(elements.len());
    }

    /// Places that appends were told, beyond what was read.
    fn look_at_places(&mut self, index: usize) {
        let operation = self.transactions[index].operation;
        let micros = std::mem::take(&mut self.transactions[index].micros);
        for micro in &micros {
            let Micro::Append { key, element, place: Some(place) } = micro else { continue };
            let list = &mut self.lists[*key];
            let there = list.places.entry(*place).or_insert_with(|| element.clone()).clone();
            if there != *element {
                let other = self.transactions[list.writers[&there].transaction].operation;
                let name = list.key.escape_ascii();
                let why =
                    format!("{name} holds at place {place} both {} and {}", text(&there), text(element));
                self.violate("incompatible order", vec![operation, other], why);
            }
        }
        self.transactions[index].micros = micros;
    }

    /// A place before one that is filled was filled by somebody, if only by one who never learned of it.
    fn look_for_gaps(&mut self, key: usize) {
        let list = &self.lists[key];
        let Some((last, element)) = list.places.last_key_value() else { return };
        let gaps = last + 1 - list.places.len();
        let unplaced = list.writers.len().saturating_sub(list.places.len());
        if gaps > unplaced {
            let name = list.key.escape_ascii();
            let why =
                format!("{name} has {gaps} elements before {} that nobody can have appended", text(element));
            let operation = self.transactions[list.writers[element].transaction].operation;
            self.violate("invented element", vec![operation], why);
        }
    }

    fn add_edges(&self, key: usize, graph: &mut Graph) {
        let list = &self.lists[key];
        let of = |element: &Vec<u8>| list.writers[element].transaction;
        let places: Vec<(usize, &Vec<u8>)> =
            list.places.iter().map(|(place, element)| (*place, element)).collect();
        for pair in places.windows(2) {
            graph.add(of(pair[0].1), of(pair[1].1), Edge::WriteWrite { key, index: pair[1].0 });
        }
        // Appends of which nobody knows the place came after all that was read, if at all.
        let placed: BTreeSet<&Vec<u8>> = list.places.values().collect();
        let unplaced: Vec<usize> = list
            .writers
            .iter()
            .filter(|(element, _)| !placed.contains(element))
            .map(|(_, writer)| writer.transaction)
            .collect();
        if let Some(last) = list.read.checked_sub(1).and_then(|last| list.places.get(&last)) {
            for writer in &unplaced {
                graph.add(of(last), *writer, Edge::WriteWrite { key, index: list.read });
            }
        }
        for seen in &list.seen {
            let before = seen.length.checked_sub(1).and_then(|last| list.places.get(&last));
            if let Some(element) = before {
                graph.add(of(element), seen.transaction, Edge::WriteRead { key, index: seen.length - 1 });
            }
            let next = list.places.range(seen.length..).next();
            if let Some((place, element)) = next {
                graph.add(seen.transaction, of(element), Edge::ReadWrite { key, index: *place });
            }
            if seen.length == list.read {
                for writer in &unplaced {
                    graph.add(seen.transaction, *writer, Edge::ReadWrite { key, index: list.read });
                }
            }
        }
    }

    /// Real time and program order.
    fn add_orders(&self, graph: &mut Graph) {
        let (mut returns, mut invocations) = (Vec::new(), Vec::new());
        let mut lines: BTreeMap<(bool, u64), Vec<usize>> = BTreeMap::new();
        for (index, transaction) in self.transactions.iter().enumerate() {
            let operation = transaction.operation;
            let is_replica = operation.read_from == Some(ReadFrom::Replica);
            returns.extend(operation.return_ns.map(|return_ns| (return_ns, index)));
            if !is_replica {
                invocations.push((operation.invoke_ns, index));
            }
            let line = if is_replica { operation.connection } else { Some(operation.process) };
            lines.entry((is_replica, line.unwrap_or(operation.process))).or_default().push(index);
        }
        graph.add_real_time(returns, &invocations);
        for mut line in lines.into_values() {
            line.sort_by_key(|index| self.transactions[*index].operation.id);
            for pair in line.windows(2) {
                // What may never have happened orders nothing.
                if self.transactions[pair[0]].operation.status == Status::Ok {
                    graph.add(pair[0], pair[1], Edge::Program);
                }
            }
        }
    }

    fn explain_cycle(&self, cycle: &Cycle) -> Violation {
        let operation = |index: usize| self.transactions[index].operation;
        let mut story = format!("a cycle of {} transactions, each before the next:\n", cycle.steps.len());
        let mut places = Vec::new();
        for (at, (index, edge)) in cycle.steps.iter().enumerate() {
            let next = operation(cycle.steps[(at + 1) % cycle.steps.len()].0).id;
            let id = operation(*index).id;
            let element = |key: &usize, place: &usize| {
                let list = &self.lists[*key];
                let shown_element =
                    list.places.get(place).map_or("one more".into(), |element| shown(element));
                format!("{shown_element} to {}", list.key.escape_ascii())
            };
            let why = match edge {
                Edge::WriteWrite { key, index } => {
                    format!("#{id} appended before #{next} appended {}", element(key, index))
                }
                Edge::WriteRead { key, index } => {
                    format!("#{next} saw that #{id} had appended {}", element(key, index))
                }
                Edge::ReadWrite { key, index } => {
                    format!("#{id} did not see that #{next} had appended {}", element(key, index))
                }
                Edge::Program => format!("#{next} followed #{id} on the same client"),
                Edge::RealTime => format!("#{id} had returned before #{next} was invoked"),
            };
            if let Edge::WriteWrite { key, .. } | Edge::WriteRead { key, .. } | Edge::ReadWrite { key, .. } =
                edge
            {
                places.push(self.lists[*key].key.escape_ascii().to_string());
            }
            story.push_str(&format!("  {}\n    {why}\n", operation(*index)));
        }
        places.sort();
        places.dedup();
        let mut operations: Vec<u64> = cycle.steps.iter().map(|(index, _)| operation(*index).id).collect();
        operations.sort_unstable();
        Violation { checker: cycle.name, place: places.join(", "), operations, text: story }
    }
}
