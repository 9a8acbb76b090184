//! Money that moves between accounts, by MULTI or by WATCH and compare: the sum of all accounts never changes.
//!
//! It would catch: half a transfer seen or kept, a transfer done twice, one let through by WATCH although a balance had
//! changed.

use std::collections::BTreeMap;

use super::{Call, Draw, Keys, Workload, single};
use crate::call::{MicroCall, Outcome};
use crate::checker::model::commands::integer;
use crate::history::Value;
use crate::random::{below, between, pick_weighted};

const ACCOUNTS: [&str; 4] = ["a", "b", "c", "d"];
const AMOUNT_MAX: u64 = 100;

/// Whether these are all the accounts of one bank.
pub fn is_whole_bank(keys: &[&[u8]]) -> bool {
    let names = ACCOUNTS.iter().zip(keys).filter(|(name, key)| key.ends_with(name.as_bytes()));
    keys.len() == ACCOUNTS.len() && keys[0].starts_with(b"{bank") && names.count() == ACCOUNTS.len()
}

#[derive(Debug)]
pub(super) struct Bank {
    pub(super) tags: Keys,
    /// Processes between WATCH and EXEC.
    midway: BTreeMap<u64, Midway>,
}

#[derive(Debug)]
struct Midway {
    from: Vec<u8>,
    to: Vec<u8>,
    /// What was read of each since WATCH, and by which call first.
    balances: BTreeMap<Vec<u8>, i64>,
    read_id: Option<u64>,
}

impl Bank {
    pub fn new(tags: u32) -> Bank {
        Bank { tags: Keys::new("bank", tags), midway: BTreeMap::new() }
    }

    pub fn is_midway(&self, process: u64) -> bool {
        self.midway.contains_key(&process)
    }

    pub fn learn(&mut self, process: u64, id: u64, call: &Call, outcome: &Outcome) {
        let Some(midway) = self.midway.get_mut(&process) else { return };
        let Call::Single(MicroCall { command: "GET", key, .. }) = call else {
            if !outcome.is_ok() {
                self.forget(process);
            }
            return;
        };
        let balance = match &outcome.result {
            Value::Null if outcome.is_ok() => Some(0),
            Value::Bytes(bytes) => integer(bytes),
            _ => None,
        };
        if let Some(balance) = balance.filter(|_| *key == midway.from || *key == midway.to) {
            midway.balances.insert(key.clone(), balance);
            midway.read_id.get_or_insert(id);
        }
    }

    pub fn forget(&mut self, process: u64) {
        self.midway.remove(&process);
    }

    fn all(&self, tag: u64) -> Vec<Vec<u8>> {
        ACCOUNTS.iter().map(|name| format!("{{{}{tag}}}{name}", self.tags.name).into_bytes()).collect()
    }

    /// Two different accounts.
    fn pair(&self, draw: &mut Draw<'_>, tag: u64) -> (Vec<u8>, Vec<u8>) {
        let all = self.all(tag);
        let from = below(draw.rng, all.len() as u64) as usize;
        let to = (from + 1 + below(draw.rng, all.len() as u64 - 1) as usize) % all.len();
        (all[from].clone(), all[to].clone())
    }

    /// All accounts at once.
    pub fn look(&mut self, draw: &mut Draw<'_>) -> Call {
        let tag = self.tags.pick(draw.rng, 1);
        let keys = self.all(tag);
        match pick_weighted(draw.rng, &[50, 50]) {
            0 => Call::MultiGet(keys),
            _ => {
                let calls = keys.iter().map(|key| MicroCall::new("GET", key, &[])).collect();
                Call::Transaction { calls, watch: Vec::new(), watch_id: None }
            }
        }
    }

    fn transfer(&mut self, draw: &mut Draw<'_>) -> Call {
        let tag = self.tags.pick(draw.rng, 1);
        let (from, to) = self.pair(draw, tag);
        let amount = between(draw.rng, 1, AMOUNT_MAX).to_string().into_bytes();
        let calls =
            vec![MicroCall::new("DECRBY", &from, &[&amount]), MicroCall::new("INCRBY", &to, &[&amount])];
        Call::Transaction { calls, watch: Vec::new(), watch_id: None }
    }

    fn begin_watch(&mut self, draw: &mut Draw<'_>, calls: &mut Vec<Call>) {
        let tag = self.tags.pick(draw.rng, 4);
        let (from, to) = self.pair(draw, tag);
        calls.push(Call::Watch(vec![from.clone(), to.clone()]));
        calls.extend([&from, &to].map(|key| single("GET", key, &[])));
        let midway = Midway { from, to, balances: BTreeMap::new(), read_id: None };
        self.midway.insert(draw.process, midway);
    }

    /// `None` where what is needed could not be read.
    fn end_watch(draw: &mut Draw<'_>, midway: Midway) -> Option<Call> {
        let amount = between(draw.rng, 1, AMOUNT_MAX).cast_signed();
        let (from, to) = (midway.balances.get(&midway.from)?, midway.balances.get(&midway.to)?);
        let after = |balance: i64| balance.to_string().into_bytes();
        let calls = vec![
            MicroCall::new("SET", &midway.from, &[&after(from - amount)]),
            MicroCall::new("SET", &midway.to, &[&after(to + amount)]),
        ];
        Some(Call::Transaction { calls, watch: vec![midway.from, midway.to], watch_id: midway.read_id })
    }
}

impl Workload for Bank {
    fn next(&mut self, draw: &mut Draw<'_>, calls: &mut Vec<Call>) {
        if let Some(midway) = self.midway.remove(&draw.process)
            && let Some(call) = Bank::end_watch(draw, midway)
        {
            calls.push(call);
            return;
        }
        match pick_weighted(draw.rng, &[45, 25, 30]) {
            0 => calls.push(self.transfer(draw)),
            1 => calls.push(self.look(draw)),
            _ => self.begin_watch(draw, calls),
        }
    }

    fn final_reads(&self, reads: &mut Vec<Call>) {
        for tag in self.tags.all() {
            reads.extend(self.all(tag).iter().map(|key| single("GET", key, &[])));
            reads.push(Call::MultiGet(self.all(tag)));
        }
    }
}
