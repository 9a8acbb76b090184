//! What goes when memory is full.
//!
//! Lives here: drawing candidates, the best ones seen so far, and deleting one through the log.
//! Not here: when memory is full (`crate::memory`), what the marks of keys mean (`access`).
//!
//! Invariant: an eviction is a deletion like any other: it is recorded, so replicas and a replay never choose. While
//! the policy lets any key go, one goes.

use super::{DATABASE_COUNT, Data};
use crate::config::EvictionPolicy;
use crate::hash::KeyHash;
use crate::keyspace::{Entry, Keyspace, below};
use rand_core::RngCore;

/// Candidates kept from one draw to the next: so the choice is better than the draw's size.
const POOL_MAX: usize = 16;
/// Room that a deletion takes in the log besides its key.
const EFFECT_BYTES_MAX: usize = 16;

/// A key that may go, and how little it would have been missed when it was drawn.
#[derive(Debug)]
struct Candidate {
    database: u8,
    key: Box<[u8]>,
    dispensability: u64,
}

/// The best candidates drawn, the one that goes first at the end.
#[derive(Debug, Default)]
pub(super) struct EvictionPool {
    policy: Option<EvictionPolicy>,
    candidates: Vec<Candidate>,
}

impl EvictionPool {
    /// Keeps what another policy drew from being chosen by this one.
    fn follow(&mut self, policy: EvictionPolicy) {
        if self.policy.replace(policy) != Some(policy) {
            self.candidates.clear();
        }
    }

    fn offer(&mut self, database: u8, key: &[u8], dispensability: u64) {
        let is_same = |known: &Candidate| known.database == database && *known.key == *key;
        if self.candidates.iter().any(is_same) {
            return;
        }
        let at = self.candidates.partition_point(|known| known.dispensability <= dispensability);
        self.candidates.insert(at, Candidate { database, key: key.into(), dispensability });
        if self.candidates.len() > POOL_MAX {
            self.candidates.remove(0);
        }
    }
}

impl Data {
    /// Deletes one key that `policy` lets go, through the log; gives false when there is none, or when it may not be
    /// logged now. `samples` keys are drawn where the policy compares; `room_bytes` is what the log takes.
    pub fn evict(
        &mut self,
        policy: EvictionPolicy,
        samples: usize,
        room_bytes: u64,
        random: &mut impl RngCore,
    ) -> bool {
        if !self.may_log {
            return false;
        }
        let Some((database, key)) = self.choose(policy, samples, random) else { return false };
        if (self.effects_bytes() + key.len() + EFFECT_BYTES_MAX) as u64 > room_bytes {
            return false;
        }
        let current = std::mem::replace(&mut self.database, database);
        let at = self.hash_key.locate(&key);
        let is_deleted = self.handle(at, &key).delete();
        assert!(is_deleted, "what was chosen is there");
        self.database = current;
        self.stats.evicted_keys += 1;
        true
    }

    fn choose(
        &mut self,
        policy: EvictionPolicy,
        samples: usize,
        random: &mut impl RngCore,
    ) -> Option<(u8, Box<[u8]>)> {
        match policy {
            EvictionPolicy::NoEviction => None,
            EvictionPolicy::VolatileTtl => self.earliest(),
            EvictionPolicy::AllKeysRandom | EvictionPolicy::VolatileRandom => {
                self.drawn(policy, random).map(|(database, entry)| (database, entry.key().into()))
            }
            EvictionPolicy::VolatileLru
            | EvictionPolicy::VolatileLfu
            | EvictionPolicy::AllKeysLru
            | EvictionPolicy::AllKeysLfu => self.least_missed(policy, samples, random),
        }
    }

    /// The key whose deadline comes first.
    fn earliest(&self) -> Option<(u8, Box<[u8]>)> {
        let first = |(number, database): (usize, &Keyspace)| {
            let (_, entry) = database.next_due(i64::MAX)?;
            Some((entry.expiry_ms(), number, Box::from(entry.key())))
        };
        let found = self.databases.iter().enumerate().filter_map(first).min();
        found.map(|(_, number, key)| (number as u8, key))
    }

    /// A key that the policy lets go, drawn over all databases.
    fn drawn(&self, policy: EvictionPolicy, random: &mut impl RngCore) -> Option<(u8, &Entry)> {
        let count = |database: &Keyspace| match policy.spares_lasting() {
            true => database.expires_len(),
            false => database.len(),
        };
        let total = self.databases.iter().map(count).sum();
        if total == 0 {
            return None;
        }
        let mut rank = below(random, total);
        let mut number = 0;
        while rank >= count(&self.databases[number]) {
            rank -= count(&self.databases[number]);
            number += 1;
        }
        let database = &self.databases[number];
        let entry = match policy.spares_lasting() {
            true => database.random_with_deadline(random),
            false => database.random(random),
        };
        entry.map(|entry| (number as u8, entry))
    }

    /// The best of a draw and of the draws before.
    fn least_missed(
        &mut self,
        policy: EvictionPolicy,
        samples: usize,
        random: &mut impl RngCore,
    ) -> Option<(u8, Box<[u8]>)> {
        let mut pool = std::mem::take(&mut self.eviction_pool);
        pool.follow(policy);
        let mut chosen = None;
        // The pool may hold nothing but keys that are gone or were used meanwhile: it is empty the second time.
        for _ in 0..2 {
            for _ in 0..samples.max(1) {
                let Some((database, entry)) = self.drawn(policy, random) else { break };
                pool.offer(database, entry.key(), self.access.dispensability(entry.access()));
            }
            while let Some(candidate) = pool.candidates.pop() {
                if self.may_still_go(policy, &candidate) {
                    chosen = Some((candidate.database, candidate.key));
                    break;
                }
            }
            if chosen.is_some() {
                break;
            }
        }
        self.eviction_pool = pool;
        chosen
    }

    /// Whether the key is there, is one the policy lets go, and was not used since it was drawn.
    fn may_still_go(&self, policy: EvictionPolicy, candidate: &Candidate) -> bool {
        let at: KeyHash = self.hash_key.locate(&candidate.key);
        let entry = self.databases[usize::from(candidate.database)].get(at, &candidate.key);
        entry.is_some_and(|entry| {
            (!policy.spares_lasting() || entry.expiry_ms().is_some())
                && self.access.dispensability(entry.access()) >= candidate.dispensability
        })
    }
}

const _: () = assert!(DATABASE_COUNT <= u8::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    const POLICIES: [(EvictionPolicy, &str); 7] = [
        (EvictionPolicy::AllKeysLru, "allkeys-lru"),
        (EvictionPolicy::AllKeysLfu, "allkeys-lfu"),
        (EvictionPolicy::AllKeysRandom, "allkeys-random"),
        (EvictionPolicy::VolatileLru, "volatile-lru"),
        (EvictionPolicy::VolatileLfu, "volatile-lfu"),
        (EvictionPolicy::VolatileRandom, "volatile-random"),
        (EvictionPolicy::VolatileTtl, "volatile-ttl"),
    ];

    /// Evicts one key and has the bench's replica follow.
    fn evict(bench: &mut Bench, policy: EvictionPolicy, random: &mut ChaCha8Rng) -> bool {
        let is_evicted = bench.engine.data.evict(policy, 5, u64::MAX, random);
        bench.follow();
        is_evicted
    }

    fn count(bench: &mut Bench) -> usize {
        bench.engine.data.databases().iter().map(Keyspace::len).sum()
    }

    #[test]
    fn every_key_a_policy_lets_go_goes_and_no_other() {
        for (policy, name) in POLICIES {
            let mut bench = Bench::new();
            let mut random = ChaCha8Rng::seed_from_u64(4);
            bench.check(&format!("> CONFIG SET maxmemory-policy {name}\nOK"));
            for number in 0..300 {
                bench.check(&format!("> SELECT {}\nOK", number % 3 * 7));
                let expiry = if number % 10 == 0 { format!("PX {}", 1000 + number) } else { "".into() };
                bench.check(&format!("> SET k{number} v {expiry}\nOK"));
            }
            let goes = if policy.spares_lasting() { 30 } else { 300 };
            for left in (300 - goes..300).rev() {
                assert!(evict(&mut bench, policy, &mut random), "{name}");
                assert_eq!(count(&mut bench), left, "{name}");
            }
            assert!(!evict(&mut bench, policy, &mut random), "{name}");
            assert_eq!(bench.engine.data.stats.evicted_keys, goes as u64);
        }
    }

    #[test]
    fn the_nearest_deadline_goes_first() {
        let mut bench = Bench::new();
        let mut random = ChaCha8Rng::seed_from_u64(4);
        bench.check("> SET a v EX 30\nOK\n> SELECT 3\nOK\n> SET b v EX 10\nOK\n> SET c v EX 20\nOK");
        for gone in ["b", "c"] {
            assert!(evict(&mut bench, EvictionPolicy::VolatileTtl, &mut random));
            bench.check(&format!("> EXISTS {gone}\n(integer) 0"));
        }
        bench.check("> SELECT 0\nOK\n> EXISTS a\n(integer) 1");
    }

    /// Of two thousand keys a tenth is used again and again: of the half that goes, few may be of those.
    #[test]
    fn what_is_used_stays() {
        for (policy, name) in POLICIES {
            if !(name.ends_with("lru") || name.ends_with("lfu")) {
                continue;
            }
            let mut bench = Bench::new();
            let mut random = ChaCha8Rng::seed_from_u64(4);
            bench.check(&format!("> CONFIG SET maxmemory-policy {name}\nOK"));
            for number in 0..2000 {
                bench.run_unchecked(0, &["SET", &format!("k{number}"), "v", "EX", "100000"]);
                if number % 100 == 0 {
                    bench.advance_ms(1000);
                }
            }
            for _ in 0..10 {
                bench.advance_ms(1000);
                (0..2000).step_by(10).for_each(|number| {
                    bench.run_unchecked(0, &["GET", &format!("k{number}")]);
                });
            }
            for _ in 0..1000 {
                assert!(bench.engine.data.evict(policy, 5, u64::MAX, &mut random));
            }
            bench.follow();
            let is_there = |bench: &mut Bench, number: usize| {
                bench.run_unchecked(0, &["EXISTS", &format!("k{number}")]) == b":1\r\n"
            };
            let kept = (0..2000).step_by(10).filter(|number| is_there(&mut bench, *number)).count();
            assert!(kept > 190, "{name}: {kept} of 200 used keys are left");
        }
    }

    #[test]
    fn nothing_goes_that_cannot_be_logged() {
        let mut bench = Bench::new();
        let mut random = ChaCha8Rng::seed_from_u64(4);
        bench.check("> SET k v\nOK");
        assert!(!bench.engine.data.evict(EvictionPolicy::AllKeysRandom, 5, 8, &mut random));
        bench.engine.data.may_log = false;
        assert!(!bench.engine.data.evict(EvictionPolicy::AllKeysRandom, 5, u64::MAX, &mut random));
        bench.engine.data.may_log = true;
        bench.check("> GET k\n\"v\"");
    }
}
