//! Lists that transactions append to and read, several of one hash tag at once.
//!
//! It would catch: whatever tears a transaction apart, loses an append, doubles one or shows it too early; the order of
//! each list tells on all of them.
//!
//! Lists are strings for now: elements of one width, added by APPEND.

use super::{Call, Draw, Keys, Workload, single};
use crate::call::MicroCall;
use crate::random::{between, chance, pick, pick_weighted};

/// Width of an element: `<process>.<n>`, filled up with zeros in front.
pub const ELEMENT_BYTES: usize = 12;

const LISTS: &[&str] = &["a", "b", "c"];
const CALLS_MAX: u64 = 4;
/// An operation on a list counts so many times: lists stay short, since each read shows all of it.
const WEAR: u32 = 2;

#[derive(Debug)]
pub(super) struct Append {
    pub(super) tags: Keys,
}

impl Append {
    pub fn new(tags: u32) -> Append {
        Append { tags: Keys::new("lst", tags) }
    }

    fn key(&self, tag: u64, name: &str) -> Vec<u8> {
        format!("{{{}{tag}}}{name}", self.tags.name).into_bytes()
    }

    fn micro(&self, draw: &mut Draw<'_>, tag: u64) -> MicroCall {
        let name = pick(draw.rng, LISTS);
        let key = self.key(tag, name);
        match pick_weighted(draw.rng, &[50, 50]) {
            0 => MicroCall::new("APPEND", &key, &[&element(&draw.unique())]),
            _ => MicroCall::new("GET", &key, &[]),
        }
    }

    fn all(&self, tag: u64) -> Vec<Vec<u8>> {
        LISTS.iter().map(|name| self.key(tag, name)).collect()
    }

    /// One look at lists that others write: alone, at several at once, or by a transaction.
    pub fn look(&mut self, draw: &mut Draw<'_>) -> Call {
        let tag = self.tags.pick(draw.rng, 1);
        let keys = self.all(tag);
        match pick_weighted(draw.rng, &[40, 40, 20]) {
            0 => {
                let key = pick(draw.rng, &keys);
                single("GET", key, &[])
            }
            1 => Call::MultiGet(keys),
            _ => {
                let calls = keys.iter().map(|key| MicroCall::new("GET", key, &[])).collect();
                Call::Transaction { calls, watch: Vec::new(), watch_id: None }
            }
        }
    }
}

fn element(unique: &str) -> Vec<u8> {
    assert!(unique.len() <= ELEMENT_BYTES, "so many processes and values are in no run");
    format!("{unique:0>ELEMENT_BYTES$}").into_bytes()
}

impl Workload for Append {
    fn next(&mut self, draw: &mut Draw<'_>, calls: &mut Vec<Call>) {
        if chance(draw.rng, 500) {
            for _ in 0..draw.depth {
                let tag = self.tags.pick(draw.rng, WEAR);
                calls.push(Call::Single(self.micro(draw, tag)));
            }
            return;
        }
        let tag = self.tags.pick(draw.rng, WEAR);
        let micros = (0..between(draw.rng, 2, CALLS_MAX)).map(|_| self.micro(draw, tag)).collect();
        calls.push(Call::Transaction { calls: micros, watch: Vec::new(), watch_id: None });
    }

    fn final_reads(&self, reads: &mut Vec<Call>) {
        for tag in self.tags.all() {
            reads.push(Call::MultiGet(self.all(tag)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_have_one_width() {
        assert_eq!(element("3.17"), b"000000003.17");
        assert_eq!(element("99999.123456").len(), ELEMENT_BYTES);
    }
}
