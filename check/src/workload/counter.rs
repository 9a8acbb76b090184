//! Numbers that are added to.
//!
//! It would catch: increments lost, applied twice, or seen before they are durable.

use super::{Call, Draw, Keys, Workload, single};
use crate::random::{between, pick_weighted};

#[derive(Debug)]
pub(super) struct Counter {
    pub(super) keys: Keys,
}

impl Counter {
    pub fn new(keys: u32) -> Counter {
        Counter { keys: Keys::new("ctr", keys) }
    }
}

impl Workload for Counter {
    fn next(&mut self, draw: &mut Draw<'_>, calls: &mut Vec<Call>) {
        for _ in 0..draw.depth {
            let number = self.keys.pick(draw.rng, 1);
            let key = self.keys.text(number);
            let delta = between(draw.rng, 1, 100).to_string();
            // Odd ones only grow, so that doubled and shrinking sums show.
            let weights = if number % 2 == 1 { [60, 0, 0, 40] } else { [30, 20, 20, 30] };
            calls.push(match pick_weighted(draw.rng, &weights) {
                0 => single("INCR", &key, &[]),
                1 => single("INCRBY", &key, &[delta.as_bytes()]),
                2 => single("DECRBY", &key, &[delta.as_bytes()]),
                _ => single("GET", &key, &[]),
            });
        }
    }

    fn final_reads(&self, reads: &mut Vec<Call>) {
        reads.extend(self.keys.all().map(|number| single("GET", &self.keys.text(number), &[])));
    }
}
