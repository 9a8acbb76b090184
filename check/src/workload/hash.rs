//! Hashes of a few fields: text fields that are set and deleted, one number that is added to.
//!
//! It would catch: lost fields, effects that touch their neighbours, counts that do not agree with what is there.

use super::{Call, Draw, Keys, Workload, single};
use crate::random::{between, pick, pick_weighted};

#[derive(Debug)]
pub(super) struct Hash {
    pub(super) keys: Keys,
}

const FIELDS: &[&[u8]] = &[b"f1", b"f2", b"f3", b"f4"];

impl Hash {
    pub fn new(keys: u32) -> Hash {
        Hash { keys: Keys::new("hash", keys) }
    }
}

impl Workload for Hash {
    fn next(&mut self, draw: &mut Draw<'_>, calls: &mut Vec<Call>) {
        for _ in 0..draw.depth {
            let key = self.keys.pick_text(draw.rng);
            let field = *pick(draw.rng, FIELDS);
            calls.push(match pick_weighted(draw.rng, &[25, 8, 5, 20, 12, 12, 10, 6, 2]) {
                0 => single("HSET", &key, &[field, &draw.value()]),
                1 => single("HSET", &key, &[FIELDS[0], &draw.value(), FIELDS[1], &draw.value()]),
                2 => single("HSETNX", &key, &[field, &draw.value()]),
                3 => single("HGET", &key, &[field]),
                4 => single("HDEL", &key, &[field]),
                5 => single("HGETALL", &key, &[]),
                6 => single("HINCRBY", &key, &[b"n", between(draw.rng, 1, 9).to_string().as_bytes()]),
                7 => single("HLEN", &key, &[]),
                _ => single("DEL", &key, &[]),
            });
        }
    }

    fn final_reads(&self, reads: &mut Vec<Call>) {
        reads.extend(self.keys.all().map(|number| single("HGETALL", &self.keys.text(number), &[])));
    }
}
