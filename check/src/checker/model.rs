//! What a correct server may answer: sequential models of small parts of the keyspace.
//!
//! Lives here: the interface between a model and the search, and the choice of a model by the name of a key.
//! Not here: the search for an order (`linearizable`).
//!
//! Invariant: a model never guesses. A command it does not know makes the check undecided, which counts as failed.

pub mod commands;
pub mod expiry;
pub mod key;
pub mod transaction;

use std::fmt::Debug;
use std::hash::Hash;

use crate::history::{Operation, Value};

/// One operation as the search tries it: its interval, and its result if that is to be explained.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    pub operation: &'a Operation,
    pub invoke_ns: u64,
    /// `None`: it may take effect at any later time, or never.
    pub return_ns: Option<u64>,
    /// `None`: any result fits.
    pub result: Option<&'a Value>,
    /// True when the results of a transaction's commands are to be explained too.
    pub is_known: bool,
}

impl<'a> Attempt<'a> {
    pub fn known(operation: &'a Operation) -> Attempt<'a> {
        let (invoke_ns, return_ns) = (operation.invoke_ns, operation.return_ns);
        Attempt { operation, invoke_ns, return_ns, result: Some(&operation.result), is_known: true }
    }

    /// The same operation, of which nothing is believed but that it may have happened.
    pub fn unknown(operation: &'a Operation) -> Attempt<'a> {
        let invoke_ns = operation.invoke_ns;
        Attempt { operation, invoke_ns, return_ns: None, result: None, is_known: false }
    }

    /// True when it must be in the order.
    pub fn is_firm(&self) -> bool {
        self.return_ns.is_some()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    #[error("the model knows no command {0}")]
    Command(String),
    #[error("operation {0} has arguments that the model cannot read")]
    Arguments(u64),
    #[error("operation {0} executes under WATCH, but no WATCH of its process is in the history")]
    Watch(u64),
}

pub trait Model {
    type State: Clone + Eq + Hash + Debug;

    /// True when `step` never gives two states. The search then takes a read that fits at once,
    /// without coming back to it: reading later could not open anything that reading now closes.
    const IS_DETERMINISTIC: bool;

    fn initial(&self) -> Self::State;

    /// Adds to `next` every state that may follow when `attempt` takes effect in `state` with its result.
    /// None added: it cannot take effect here.
    fn step(
        &self,
        state: &Self::State,
        attempt: &Attempt<'_>,
        next: &mut Vec<Self::State>,
    ) -> Result<(), ModelError>;

    /// The state for a reader of an explanation.
    fn show(&self, state: &Self::State) -> String;
}

/// The part of the keyspace that must be explained as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ModelKind {
    /// One key of any type without a deadline: registers, counters, hashes.
    Key,
    /// One string with a deadline.
    Expiry,
    /// All keys of one hash tag.
    Transaction,
    /// Lists of one hash tag, which are judged together with all others.
    List,
}

impl ModelKind {
    /// By the letters a key begins with; `None` for a key that no workload here writes.
    pub fn of_key(key: &[u8]) -> Option<ModelKind> {
        if key.starts_with(b"{txn") || key.starts_with(b"{bank") {
            return Some(ModelKind::Transaction);
        }
        if key.starts_with(b"{lst") {
            return Some(ModelKind::List);
        }
        let letters = key.iter().take_while(|byte| byte.is_ascii_lowercase()).count();
        match &key[..letters] {
            b"reg" | b"ctr" | b"hash" | b"scn" => Some(ModelKind::Key),
            b"exp" => Some(ModelKind::Expiry),
            _ => None,
        }
    }
}

/// The part between the first `{` and the next `}`, braces included, if not empty; else the whole key.
pub fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&byte| byte == b'{') else { return key };
    match key[open..].iter().position(|&byte| byte == b'}') {
        Some(length) if length > 1 => &key[open..=open + length],
        _ => key,
    }
}

/// True for commands that change nothing: of unknown outcome they say nothing and are dropped.
pub fn is_read(operation: &Operation) -> bool {
    match operation.command.as_str() {
        "TXN" => operation.micro_operations.iter().all(|micro| commands::is_read(&micro.command)),
        command => commands::is_read(command),
    }
}
