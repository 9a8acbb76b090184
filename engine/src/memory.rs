//! Memory against its limit.
//!
//! Lives here: what `maxmemory` is compared with, and making room before commands that may make memory grow.
//! Not here: which key goes (`data::eviction`), refusing commands (`execute`).
//!
//! Invariant: without a limit nothing here is asked for per command. Evictions come between commands, never inside one
//! or inside a transaction, and are bounded by a count each time.

use crate::Engine;
use crate::command::{Command, Flags};
use crate::config::EvictionPolicy;

/// Keys evicted before one command, unless the command itself brings more bytes than they gave back.
const EVICTED_PER_COMMAND: usize = 64;
/// Bytes of deletions recorded before one command: a turn must not outgrow the log's room by what it evicts.
const EFFECTS_PER_COMMAND_MAX: usize = 16 << 10;

/// How making room came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomMade {
    Enough,
    /// More is to go than may go at once.
    NotYet,
    /// The policy lets nothing go any more.
    Nothing,
}

impl Engine {
    /// Remembers the highest use of memory; gives the present one. Before every batch and with every tick.
    pub fn note_memory_peak(&mut self) -> u64 {
        let used = self.used_memory();
        self.stats.used_memory_peak = self.stats.used_memory_peak.max(used);
        used
    }

    /// Bytes of the data, and of what clients sent and are to be sent, as they were counted last: what `maxmemory` is
    /// compared with.
    pub fn used_memory(&self) -> u64 {
        self.data.used_memory() + self.clients_bytes
    }

    /// The clients' part of it.
    pub fn clients_bytes(&self) -> u64 {
        self.clients_bytes
    }

    /// So many bytes of what was counted are gone: written, executed, or their client left.
    #[inline]
    pub fn clients_released(&mut self, bytes: u64) {
        self.clients_bytes = self.clients_bytes.saturating_sub(bytes);
    }

    /// Sums up what clients hold: with every tick where a limit asks for it, and when somebody wants to know.
    pub fn count_clients(&mut self) -> u64 {
        self.clients_bytes = self.sessions.held_bytes();
        self.clients_bytes
    }

    /// Makes room before this command, if it is one that may make memory grow; notes whether memory is full.
    #[inline]
    pub(crate) fn make_room_for(&mut self, command: Option<&Command>, bytes: usize) {
        if self.memory_limit_bytes == 0 {
            return;
        }
        let may_grow = |command: &Command| command.flags.has(Flags::DENY_OOM) || command.name == "exec";
        if command.is_some_and(may_grow) {
            let outcome = self.evict_until(EVICTED_PER_COMMAND, bytes as u64, EFFECTS_PER_COMMAND_MAX);
            self.is_out_of_memory = outcome == RoomMade::Nothing;
        }
    }

    /// Evicts what is over the limit, at most so many keys: where commands alone do not do it. With every tick.
    pub fn evict_some(&mut self, count_max: usize) -> RoomMade {
        match self.memory_limit_bytes {
            0 => RoomMade::Enough,
            _ => self.evict_until(count_max, 0, usize::MAX),
        }
    }

    /// Evicts until memory is below its limit; or `count_max` keys and `bytes_min` bytes are gone; or the deletions
    /// take `effects_max` bytes.
    fn evict_until(&mut self, count_max: usize, bytes_min: u64, effects_max: usize) -> RoomMade {
        let policy = self.config.settings().maxmemory_policy;
        let samples = self.config.settings().maxmemory_samples as usize;
        let used_before = self.used_memory();
        let effects_before = self.data.effects_bytes();
        let mut evicted = 0;
        loop {
            let used = self.used_memory();
            if used <= self.memory_limit_bytes {
                return RoomMade::Enough;
            }
            // Memory must not run away from the limit: what comes in pays for itself.
            let is_paid = evicted >= count_max && used_before.saturating_sub(used) >= bytes_min;
            if is_paid || self.data.effects_bytes() - effects_before >= effects_max {
                return RoomMade::NotYet;
            }
            if !self.data.evict(policy, samples, self.room_bytes, &mut self.random) {
                let is_held = policy != EvictionPolicy::NoEviction && !self.data.may_log;
                return if is_held { RoomMade::NotYet } else { RoomMade::Nothing };
            }
            evicted += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    const OUT_OF_MEMORY: &str = "(error) OOM command not allowed when used memory > 'maxmemory'.";

    #[test]
    fn without_eviction_what_may_grow_is_refused_and_the_rest_goes_on() {
        let mut bench = Bench::new();
        bench.check("> SET a 1\nOK\n> HSET h f v\n(integer) 1\n> CONFIG SET maxmemory 1\nOK");
        bench.check(&format!(
            "
            > SET a 2
            {OUT_OF_MEMORY}
            > HSET h f w
            {OUT_OF_MEMORY}
            > GET a
            \"1\"
            > EXPIRE a 100
            (integer) 1
            > MULTI
            OK
            > SET a 3
            {OUT_OF_MEMORY}
            > EXEC
            (error) EXECABORT Transaction discarded because of previous errors.
            > DEL a
            (integer) 1
            > DEL h
            (integer) 1
            > SET a 2
            OK
            > CONFIG SET maxmemory 0
            OK
            > SET a 3
            OK
            "
        ));
    }

    #[test]
    fn what_was_queued_while_there_was_room_is_refused_as_a_whole_when_there_is_none() {
        let mut bench = Bench::new();
        bench.check("> SET a 1\nOK\n> MULTI\nOK\n> SET a 2\nQUEUED\n1> CONFIG SET maxmemory 1\nOK");
        let refused = format!("(error) EXECABORT Transaction discarded because of: {}", &OUT_OF_MEMORY[8..]);
        bench.check(&format!("> EXEC\n{refused}\n> GET a\n\"1\""));
        bench.check("> MULTI\nOK\n> GET a\nQUEUED\n> EXEC\n1) \"1\"");
    }

    #[test]
    fn memory_stays_at_its_limit_under_every_policy_that_evicts() {
        for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-ttl"] {
            let mut bench = Bench::new();
            bench.check(&format!("> CONFIG SET maxmemory 2mb maxmemory-policy {policy}\nOK"));
            let value = "v".repeat(200);
            for number in 0..8000 {
                let key = format!("key:{number}");
                assert_eq!(bench.run_unchecked(0, &["SET", &key, &value, "EX", "1000"]), b"+OK\r\n");
                let used = bench.engine.data.used_memory();
                // One command's growth: the entry, and the tables of its slot.
                assert!(used < (2 << 20) + (8 << 10), "{policy}: {used} bytes after {number} keys");
            }
            assert!(bench.engine.data.stats.evicted_keys > 1000, "{policy}");
            bench.follow();
        }
    }

    #[test]
    fn a_volatile_policy_refuses_when_no_key_with_a_deadline_is_left() {
        let mut bench = Bench::new();
        bench.check("> SET stays v\nOK\n> SET goes v EX 100\nOK");
        bench.check("> CONFIG SET maxmemory 1 maxmemory-policy volatile-lru\nOK");
        bench.check(&format!("> SET new v\n{OUT_OF_MEMORY}\n> EXISTS goes\n(integer) 0\n> GET stays\n\"v\""));
    }

    #[test]
    fn far_over_the_limit_commands_go_on_while_a_bounded_count_goes_with_each() {
        let mut bench = Bench::new();
        for number in 0..2000 {
            bench.run_unchecked(0, &["SET", &format!("key:{number}"), "v"]);
        }
        bench.check("> CONFIG SET maxmemory-policy allkeys-random maxmemory 1\nOK");
        assert_eq!(bench.run_unchecked(0, &["SET", "new", "v"]), b"+OK\r\n");
        assert_eq!(bench.engine.data.stats.evicted_keys as usize, EVICTED_PER_COMMAND);
        assert_eq!(bench.engine.evict_some(100), RoomMade::NotYet);
        assert_eq!(bench.engine.evict_some(10_000), RoomMade::Enough);
        bench.follow();
    }

    #[test]
    fn an_evicted_key_breaks_its_watch() {
        let mut bench = Bench::new();
        bench.check("> SET k v\nOK\n> WATCH k\nOK\n> MULTI\nOK\n> PING\nQUEUED");
        bench.check("1> CONFIG SET maxmemory-policy allkeys-lru maxmemory 1\nOK\n1> SET other v\nOK");
        bench.check("> EXEC\n(nil)");
    }

    #[test]
    fn a_command_with_many_bytes_makes_room_for_as_many() {
        let mut bench = Bench::new();
        for number in 0..4000 {
            bench.run_unchecked(0, &["SET", &format!("key:{number}"), &"v".repeat(100)]);
        }
        let limit = bench.engine.data.used_memory();
        bench.check(&format!("> CONFIG SET maxmemory-policy allkeys-random maxmemory {limit}\nOK"));
        for number in 0..20 {
            bench.run_unchecked(0, &["SET", &format!("large:{number}"), &"v".repeat(20_000)]);
        }
        let used = bench.engine.data.used_memory();
        assert!(used < limit + 50_000, "{used} bytes of {limit}");
    }
}
