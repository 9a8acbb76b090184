//! Strings with deadlines: set, moved, taken away, asked for.
//!
//! It would catch: keys that go too early, stay too long, come back after a restart, or lose their deadline on the way
//! through the log.

use super::{Call, Draw, Keys, Workload, single};
use crate::random::{between, pick_weighted};

#[derive(Debug)]
pub(super) struct Expiry {
    pub(super) keys: Keys,
    ttl_ms_max: u64,
}

impl Expiry {
    pub fn new(keys: u32, ttl_ms_max: u64) -> Expiry {
        Expiry { keys: Keys::new("exp", keys), ttl_ms_max }
    }
}

impl Workload for Expiry {
    fn next(&mut self, draw: &mut Draw<'_>, calls: &mut Vec<Call>) {
        for _ in 0..draw.depth {
            let key = self.keys.pick_text(draw.rng);
            let ttl = between(draw.rng, 1, self.ttl_ms_max).to_string();
            let ttl = ttl.as_bytes();
            calls.push(match pick_weighted(draw.rng, &[25, 5, 35, 10, 5, 12, 4, 4]) {
                0 => single("SET", &key, &[&draw.value(), b"PX", ttl]),
                1 => single("SET", &key, &[&draw.value()]),
                2 => single("GET", &key, &[]),
                3 => single("PEXPIRE", &key, &[ttl]),
                4 => single("PERSIST", &key, &[]),
                5 => single("PTTL", &key, &[]),
                6 => single("DEL", &key, &[]),
                _ => single("SETNX", &key, &[&draw.value()]),
            });
        }
    }

    fn final_reads(&self, reads: &mut Vec<Call>) {
        reads.extend(self.keys.all().map(|number| single("GET", &self.keys.text(number), &[])));
    }
}
