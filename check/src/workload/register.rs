//! Single strings: written, replaced on condition, deleted, read.
//!
//! It would catch: lost, stale, doubled and resurrected writes, and values of refused calls.

use super::{Call, Draw, Keys, Workload, single};
use crate::random::pick_weighted;

#[derive(Debug)]
pub(super) struct Register {
    pub(super) keys: Keys,
}

impl Register {
    pub fn new(keys: u32) -> Register {
        Register { keys: Keys::new("reg", keys) }
    }
}

impl Workload for Register {
    fn next(&mut self, draw: &mut Draw<'_>, calls: &mut Vec<Call>) {
        for _ in 0..draw.depth {
            let key = self.keys.pick_text(draw.rng);
            calls.push(match pick_weighted(draw.rng, &[35, 35, 5, 5, 4, 6, 4, 4, 2]) {
                0 => single("GET", &key, &[]),
                1 => single("SET", &key, &[&draw.value()]),
                2 => single("SETNX", &key, &[&draw.value()]),
                3 => single("GETSET", &key, &[&draw.value()]),
                4 => single("GETDEL", &key, &[]),
                5 => single("DEL", &key, &[]),
                6 => single("SET", &key, &[&draw.value(), b"XX"]),
                7 => single("SET", &key, &[&draw.value(), b"NX"]),
                _ => single("SET", &key, &[&draw.value(), b"GET"]),
            });
        }
    }

    fn final_reads(&self, reads: &mut Vec<Call>) {
        reads.extend(self.keys.all().map(|number| single("GET", &self.keys.text(number), &[])));
    }
}
