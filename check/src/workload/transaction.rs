//! MULTI/EXEC over the keys of one hash tag, with and without WATCH, among single commands on the same keys.
//!
//! It would catch: transactions seen in part, split by a crash, or let through by WATCH although a key had changed;
//! write skew above all, where two processes watch the same keys and write different ones.

use std::collections::BTreeMap;

use super::{Call, Draw, Keys, Workload, single};
use crate::call::{MicroCall, Outcome};
use crate::random::{between, chance, pick, pick_weighted};

#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) tags: Keys,
    /// Processes between WATCH and EXEC.
    midway: BTreeMap<u64, Watched>,
}

#[derive(Debug)]
struct Watched {
    tag: u64,
    keys: Vec<Vec<u8>>,
    /// The first read after the WATCH.
    read_id: Option<u64>,
}

/// Keys of a tag: strings, a number, a hash.
const STRINGS: &[&str] = &["a", "b", "c"];
const NUMBER: &str = "n";
const HASH: &str = "h";

const CALLS_MAX: u64 = 4;

impl Transaction {
    pub fn new(tags: u32) -> Transaction {
        Transaction { tags: Keys::new("txn", tags), midway: BTreeMap::new() }
    }

    pub fn is_midway(&self, process: u64) -> bool {
        self.midway.contains_key(&process)
    }

    pub fn learn(&mut self, process: u64, id: u64, call: &Call, outcome: &Outcome) {
        match call {
            Call::Watch(_) if !outcome.is_ok() => self.forget(process),
            Call::Single(MicroCall { command: "GET", key, .. }) if outcome.is_ok() => {
                if let Some(watched) = self.midway.get_mut(&process)
                    && watched.read_id.is_none()
                    && watched.keys.contains(key)
                {
                    watched.read_id = Some(id);
                }
            }
            _ => {}
        }
    }

    /// A WATCH ends with its connection.
    pub fn forget(&mut self, process: u64) {
        self.midway.remove(&process);
    }

    fn key(&self, tag: u64, name: &str) -> Vec<u8> {
        format!("{{{}{tag}}}{name}", self.tags.name).into_bytes()
    }

    /// One command on one of the tag's keys.
    fn micro(&self, draw: &mut Draw<'_>, tag: u64) -> MicroCall {
        let name = pick(draw.rng, STRINGS);
        let string = self.key(tag, name);
        let (number, hash) = (self.key(tag, NUMBER), self.key(tag, HASH));
        match pick_weighted(draw.rng, &[30, 30, 5, 15, 5, 8, 7]) {
            0 => MicroCall::new("GET", &string, &[]),
            1 => MicroCall::new("SET", &string, &[&draw.value()]),
            2 => MicroCall::new("DEL", &string, &[]),
            3 => MicroCall::new("INCR", &number, &[]),
            4 => MicroCall::new("GET", &number, &[]),
            5 => MicroCall::new("HSET", &hash, &[b"f", &draw.value()]),
            _ => MicroCall::new("HGETALL", &hash, &[]),
        }
    }

    fn micros(&self, draw: &mut Draw<'_>, tag: u64) -> Vec<MicroCall> {
        (0..between(draw.rng, 2, CALLS_MAX)).map(|_| self.micro(draw, tag)).collect()
    }

    fn begin_watch(&mut self, draw: &mut Draw<'_>, calls: &mut Vec<Call>) {
        // The WATCH, its reads and the transaction.
        let tag = self.tags.pick(draw.rng, 4);
        let mut keys = vec![self.key(tag, "a"), self.key(tag, "b")];
        keys.truncate(if chance(draw.rng, 300) { 1 } else { 2 });
        calls.push(Call::Watch(keys.clone()));
        calls.extend(keys.iter().map(|key| single("GET", key, &[])));
        self.midway.insert(draw.process, Watched { tag, keys, read_id: None });
    }

    fn end_watch(&mut self, draw: &mut Draw<'_>, watched: Watched, calls: &mut Vec<Call>) {
        let written = pick(draw.rng, &watched.keys).clone();
        let mut micros = vec![MicroCall::new("SET", &written, &[&draw.value()])];
        if chance(draw.rng, 500) {
            micros.push(self.micro(draw, watched.tag));
        }
        calls.push(Call::Transaction { calls: micros, watch: watched.keys, watch_id: watched.read_id });
    }
}

impl Workload for Transaction {
    fn next(&mut self, draw: &mut Draw<'_>, calls: &mut Vec<Call>) {
        if let Some(watched) = self.midway.remove(&draw.process) {
            self.end_watch(draw, watched, calls);
            return;
        }
        match pick_weighted(draw.rng, &[40, 30, 30]) {
            0 => {
                for _ in 0..draw.depth {
                    let tag = self.tags.pick(draw.rng, 1);
                    calls.push(Call::Single(self.micro(draw, tag)));
                }
            }
            1 => {
                let tag = self.tags.pick(draw.rng, 1);
                calls.push(Call::Transaction {
                    calls: self.micros(draw, tag),
                    watch: Vec::new(),
                    watch_id: None,
                });
            }
            _ => self.begin_watch(draw, calls),
        }
    }

    fn final_reads(&self, reads: &mut Vec<Call>) {
        for tag in self.tags.all() {
            let strings = STRINGS.iter().chain([&NUMBER]);
            reads.extend(strings.map(|name| single("GET", &self.key(tag, name), &[])));
            reads.push(single("HGETALL", &self.key(tag, HASH), &[]));
        }
    }
}
