//! What clients do: generators of calls, one file for each kind of data.
//!
//! Lives here: what all workloads share (unique values, keys that are retired in time) and the mix of them.
//! Not here: carrying calls to a server (`client`), judging answers (`checker`).
//!
//! Rules that keep histories checkable: every written value is new in the run (`<process>.<n>`), counters apart; a key
//! gets at most [`OPERATIONS_PER_KEY_MAX`] operations, then a new one takes its place; a transaction is the last call
//! of its pipeline; keys are named after their model.

mod append;
mod bank;
mod counter;
mod expiry;
mod hash;
#[cfg(test)]
mod loopback;
mod register;
mod scan;
mod transaction;

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;

use crate::call::{Call, MicroCall, Outcome};
use crate::history::Status;
use crate::random::{below, between, chance, pick_weighted};

pub use append::ELEMENT_BYTES;
pub use bank::is_whole_bank;

pub const OPERATIONS_PER_KEY_MAX: u32 = 300;

/// A key of which so many outcomes are unknown is retired: each may take effect at any later time.
const UNKNOWN_PER_KEY_MAX: u32 = 4;

/// Operations in flight on one key, above which another is used.
const OPEN_PER_KEY_MAX: u32 = 8;

/// A part may be searched for an order only while few operations overlap.
pub const PROCESSES_MAX: usize = 32;

/// One kind of calls.
trait Workload {
    /// Adds the next calls of a process, to be sent as one pipeline, at most about `draw.depth`.
    fn next(&mut self, draw: &mut Draw<'_>, calls: &mut Vec<Call>);

    /// One read for every key that was ever handed out.
    fn final_reads(&self, reads: &mut Vec<Call>);
}

/// What a generator may draw from.
struct Draw<'a> {
    rng: &'a mut ChaCha8Rng,
    process: u64,
    depth: u32,
    padded_per_mille: u32,
    written: &'a mut BTreeMap<u64, u64>,
}

impl Draw<'_> {
    fn tag(&mut self) -> Vec<u8> {
        format!("tag.{}", self.unique()).into_bytes()
    }

    /// `<process>.<n>`, given out once.
    fn unique(&mut self) -> String {
        let number = self.written.entry(self.process).or_default();
        *number += 1;
        format!("{}.{number}", self.process)
    }

    /// A value never written before. Some are padded, so that small and big ones meet the log.
    fn value(&mut self) -> Vec<u8> {
        let mut value = self.unique().into_bytes();
        if chance(self.rng, self.padded_per_mille) {
            let padding = between(self.rng, 1, PADDING_BYTES_MAX) as usize;
            value.push(b'.');
            value.resize(value.len() + padding, b'x');
        }
        value
    }
}

const PADDING_BYTES_MAX: u64 = 3000;

/// Keys of one model: a few in use at once, each retired in time.
#[derive(Debug)]
struct Keys {
    name: &'static str,
    in_use: Vec<KeyInUse>,
    next: u64,
}

#[derive(Clone, Copy, Debug)]
struct KeyInUse {
    number: u64,
    operations: u32,
    /// Operations without an outcome yet, and those whose outcome will never be known.
    open: u32,
    unknown: u32,
}

impl KeyInUse {
    fn new(number: u64) -> KeyInUse {
        KeyInUse { number, operations: 0, open: 0, unknown: 0 }
    }

    fn is_worn(&self, more: u32) -> bool {
        self.operations + more > OPERATIONS_PER_KEY_MAX || self.unknown >= UNKNOWN_PER_KEY_MAX
    }
}

impl Keys {
    fn new(name: &'static str, count: u32) -> Keys {
        let in_use = (0..u64::from(count)).map(KeyInUse::new).collect();
        Keys { name, next: u64::from(count), in_use }
    }

    /// The number of a key with room for `more` operations, which are counted at once.
    fn pick(&mut self, rng: &mut ChaCha8Rng, more: u32) -> u64 {
        assert!(more <= OPERATIONS_PER_KEY_MAX, "a fresh key has room");
        let mut chosen = below(rng, self.in_use.len() as u64) as usize;
        if self.in_use[chosen].open >= OPEN_PER_KEY_MAX {
            // Everybody waits on this key: others must not, or a crash would leave too much unknown of it.
            let free = self.in_use.iter().position(|key| key.open < OPEN_PER_KEY_MAX);
            chosen = free.unwrap_or_else(|| self.begin(self.in_use.len()));
        }
        if self.in_use[chosen].is_worn(more) {
            self.begin(chosen);
        }
        self.in_use[chosen].operations += more;
        self.in_use[chosen].number
    }

    /// Puts a fresh key at `place`, which is in the list or at its end.
    fn begin(&mut self, place: usize) -> usize {
        let key = KeyInUse::new(self.next);
        self.next += 1;
        match self.in_use.get_mut(place) {
            Some(old) => *old = key,
            None => self.in_use.push(key),
        }
        place
    }

    /// An operation on `key` was handed out. Keys of other models are none of ours.
    fn opened(&mut self, key: &[u8]) {
        if let Some(key) = self.find(key) {
            key.open += 1;
        }
    }

    fn closed(&mut self, key: &[u8], status: Status) {
        if let Some(key) = self.find(key) {
            key.open = key.open.saturating_sub(1);
            key.unknown += u32::from(status == Status::Info);
        }
    }

    /// By the number in its name; `None` when it is retired or another model's.
    fn find(&mut self, key: &[u8]) -> Option<&mut KeyInUse> {
        let key = key.strip_prefix(b"{").unwrap_or(key).strip_prefix(self.name.as_bytes())?;
        let digits = key.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number: u64 = std::str::from_utf8(&key[..digits]).ok()?.parse().ok()?;
        self.in_use.iter_mut().find(|key| key.number == number)
    }

    fn text(&self, number: u64) -> Vec<u8> {
        format!("{}{number}", self.name).into_bytes()
    }

    fn pick_text(&mut self, rng: &mut ChaCha8Rng) -> Vec<u8> {
        let number = self.pick(rng, 1);
        self.text(number)
    }

    /// Every number ever in use.
    fn all(&self) -> impl Iterator<Item = u64> {
        0..self.next
    }
}

fn single(command: &'static str, key: &[u8], args: &[&[u8]]) -> Call {
    Call::Single(MicroCall::new(command, key, args))
}

/// How often each kind of call is made, and over how many keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    pub register: u32,
    pub counter: u32,
    pub hash: u32,
    pub transaction: u32,
    pub expiry: u32,
    /// Transactions over lists.
    pub append: u32,
    /// Transfers between accounts.
    pub bank: u32,
    /// Loops over all keys.
    pub scan: u32,
    /// Pipelines that begin with a tag that must come back: a check of the replies' order.
    pub echo_per_mille: u32,
    /// Keys of each model in use at once: few make conflicts, many make spread.
    pub keys: u32,
    pub ttl_ms_max: u64,
    /// Values that are made longer, up to several sectors, so that a torn write can part what belongs together.
    pub padded_per_mille: u32,
}

/// All workloads of a run behind one door.
pub struct Workloads {
    mix: Mix,
    register: register::Register,
    counter: counter::Counter,
    hash: hash::Hash,
    transaction: transaction::Transaction,
    expiry: expiry::Expiry,
    append: append::Append,
    bank: bank::Bank,
    scan: scan::Scan,
    /// How many values each process has written.
    written: BTreeMap<u64, u64>,
}

impl Workloads {
    pub fn new(mix: Mix) -> Workloads {
        Workloads {
            mix,
            register: register::Register::new(mix.keys),
            counter: counter::Counter::new(mix.keys),
            hash: hash::Hash::new(mix.keys),
            transaction: transaction::Transaction::new(mix.keys),
            expiry: expiry::Expiry::new(mix.keys, mix.ttl_ms_max),
            append: append::Append::new(mix.keys),
            bank: bank::Bank::new(mix.keys),
            scan: scan::Scan::new(),
            written: BTreeMap::new(),
        }
    }

    /// The next calls of a process, to be sent together: at least one, about `depth` at most.
    pub fn next(&mut self, rng: &mut ChaCha8Rng, process: u64, depth: u32) -> Vec<Call> {
        let mix = self.mix;
        let depth = between(rng, 1, u64::from(depth.max(1))) as u32;
        let has_echo = chance(rng, mix.echo_per_mille);
        let mut calls = Vec::new();
        let padded_per_mille = mix.padded_per_mille;
        let mut draw = Draw { rng, process, depth, padded_per_mille, written: &mut self.written };
        if has_echo {
            calls.push(Call::Echo(draw.tag()));
        }
        let weights = [
            mix.register,
            mix.counter,
            mix.hash,
            mix.transaction,
            mix.expiry,
            mix.append,
            mix.bank,
            mix.scan,
        ];
        // Between WATCH and EXEC a process stays with its transaction.
        let part = match (self.transaction.is_midway(process), self.bank.is_midway(process)) {
            (true, _) => 3,
            (_, true) => 6,
            _ => pick_weighted(draw.rng, &weights),
        };
        match part {
            0 => self.register.next(&mut draw, &mut calls),
            1 => self.counter.next(&mut draw, &mut calls),
            2 => self.hash.next(&mut draw, &mut calls),
            3 => self.transaction.next(&mut draw, &mut calls),
            4 => self.expiry.next(&mut draw, &mut calls),
            5 => self.append.next(&mut draw, &mut calls),
            6 => self.bank.next(&mut draw, &mut calls),
            _ => self.scan.next(&mut draw, &mut calls),
        }
        self.open(&calls);
        calls
    }

    fn open(&mut self, calls: &[Call]) {
        for key in calls.iter().filter_map(Call::first_key) {
            self.all_keys().into_iter().for_each(|keys| keys.opened(key));
        }
    }

    /// A look at what others write, for a process that reads at a replica. `None` when nothing of this mix is judged
    /// there.
    pub fn next_look(&mut self, rng: &mut ChaCha8Rng, process: u64) -> Option<Call> {
        let weights = [self.mix.append, self.mix.bank];
        if weights.iter().all(|weight| *weight == 0) {
            return None;
        }
        let mut draw = Draw { rng, process, depth: 1, padded_per_mille: 0, written: &mut self.written };
        let call = match pick_weighted(draw.rng, &weights) {
            0 => self.append.look(&mut draw),
            _ => self.bank.look(&mut draw),
        };
        self.open(std::slice::from_ref(&call));
        Some(call)
    }

    /// A question whose answer is known: is anybody there?
    pub fn next_nudge(&mut self, rng: &mut ChaCha8Rng, process: u64) -> Call {
        let mut draw = Draw { rng, process, depth: 1, padded_per_mille: 0, written: &mut self.written };
        Call::Echo(draw.tag())
    }

    /// A read of a key that others write, for a process that never waits for a write of its own. `None` when no key of
    /// this mix can be read alone.
    pub fn next_read(&mut self, rng: &mut ChaCha8Rng) -> Option<Call> {
        let weights = [self.mix.register, self.mix.counter, self.mix.expiry];
        if weights.iter().all(|weight| *weight == 0) {
            return None;
        }
        let key = match pick_weighted(rng, &weights) {
            0 => self.register.keys.pick_text(rng),
            1 => self.counter.keys.pick_text(rng),
            _ => self.expiry.keys.pick_text(rng),
        };
        let call = single("GET", &key, &[]);
        self.open(std::slice::from_ref(&call));
        Some(call)
    }

    fn all_keys(&mut self) -> [&mut Keys; 8] {
        [
            &mut self.register.keys,
            &mut self.counter.keys,
            &mut self.hash.keys,
            &mut self.transaction.tags,
            &mut self.expiry.keys,
            &mut self.append.tags,
            &mut self.bank.tags,
            &mut self.scan.keys,
        ]
    }

    /// Tells what became of a call; to be called once for each that was handed out.
    pub fn learn(&mut self, process: u64, id: u64, call: &Call, outcome: &Outcome) {
        if let Some(key) = call.first_key() {
            self.all_keys().into_iter().for_each(|keys| keys.closed(key, outcome.status));
        }
        self.transaction.learn(process, id, call, outcome);
        self.bank.learn(process, id, call, outcome);
        self.scan.learn(call, outcome);
    }

    /// To be called whenever a connection ends: the server then knows nothing more of its process.
    pub fn forget(&mut self, process: u64) {
        self.transaction.forget(process);
        self.bank.forget(process);
    }

    /// One read of every key of the run.
    pub fn final_reads(&self) -> Vec<Call> {
        let mut reads = Vec::new();
        self.register.final_reads(&mut reads);
        self.counter.final_reads(&mut reads);
        self.hash.final_reads(&mut reads);
        self.transaction.final_reads(&mut reads);
        self.expiry.final_reads(&mut reads);
        self.append.final_reads(&mut reads);
        self.bank.final_reads(&mut reads);
        self.scan.final_reads(&mut reads);
        reads
    }
}
