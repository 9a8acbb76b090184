//! SCAN loops over everything, while keys come and go.
//!
//! A loop goes on wherever there is a primary, with whatever client: its cursor must be good on all of them. Of the keys
//! only two in three are ever deleted, so some stay for every loop.
//!
//! It would catch: see `checker::scan`.

use super::{Call, Draw, Keys, Workload, single};
use crate::call::{Outcome, Scan as Step};
use crate::history::Value;
use crate::random::{below, chance, pick};

/// Keys in use at once: enough for a loop to take many steps.
const KEYS: u32 = 40;
/// Loops under way at once.
const LOOPS_MAX: usize = 3;
const PATTERN: &str = "scn*";

#[derive(Debug)]
pub(super) struct Scan {
    pub(super) keys: Keys,
    /// Loops that nobody is just asking for: their next cursor.
    idle: Vec<(u64, Vec<u8>)>,
    under_way: usize,
    next_number: u64,
}

impl Scan {
    pub fn new() -> Scan {
        Scan { keys: Keys::new("scn", KEYS), idle: Vec::new(), under_way: 0, next_number: 1 }
    }

    pub fn learn(&mut self, call: &Call, outcome: &Outcome) {
        let Call::Scan(step) = call else { return };
        self.under_way -= 1;
        let next = match &outcome.result {
            Value::Array(parts) if outcome.is_ok() => parts.first(),
            _ => None,
        };
        match next {
            Some(Value::Bytes(cursor)) if cursor == b"0" => {}
            Some(Value::Bytes(cursor)) => self.idle.push((step.number, cursor.clone())),
            // Asked again: it only reads.
            _ => self.idle.push((step.number, step.cursor.clone())),
        }
    }

    fn step(&mut self, draw: &mut Draw<'_>) -> Option<Call> {
        if self.idle.len() + self.under_way < LOOPS_MAX {
            self.idle.push((self.next_number, b"0".to_vec()));
            self.next_number += 1;
        }
        if self.idle.is_empty() {
            return None;
        }
        let at = below(draw.rng, self.idle.len() as u64) as usize;
        let (number, cursor) = self.idle.swap_remove(at);
        self.under_way += 1;
        let count = *pick(draw.rng, &[1, 5, 10, 40]);
        Some(Call::Scan(Step { number, cursor, pattern: PATTERN, count }))
    }
}

impl Workload for Scan {
    fn next(&mut self, draw: &mut Draw<'_>, calls: &mut Vec<Call>) {
        if chance(draw.rng, 600)
            && let Some(step) = self.step(draw)
        {
            calls.push(step);
            return;
        }
        for _ in 0..draw.depth {
            let number = self.keys.pick(draw.rng, 1);
            let key = self.keys.text(number);
            let may_go = !number.is_multiple_of(3);
            calls.push(match may_go && chance(draw.rng, 400) {
                true => single("DEL", &key, &[]),
                false => single("SET", &key, &[&draw.value()]),
            });
        }
    }

    fn final_reads(&self, reads: &mut Vec<Call>) {
        reads.extend(self.keys.all().map(|number| single("GET", &self.keys.text(number), &[])));
    }
}
