//! Shard time: what deadlines are compared with.
//!
//! Lives here: the primary's wall clock, never behind the time stamped in the last entry. While the
//! wall clock is behind, shard time runs on at half rate until they meet, so that deadlines neither
//! run back nor freeze. Not here: reading clocks (`net`), deciding what is due (`engine::data`).

use ramkeep_engine::time::Now;

#[derive(Clone, Copy, Debug, Default)]
pub struct ShardClock {
    /// Shard time in milliseconds at `at_ns`.
    last_ms: i64,
    at_ns: u64,
}

const NS_PER_MS: u64 = 1_000_000;

impl ShardClock {
    /// An entry carries this time: shard time never falls behind it.
    pub fn observe(&mut self, stamped_ms: i64, now: Now) {
        if stamped_ms > self.last_ms {
            *self = ShardClock { last_ms: stamped_ms, at_ns: now.monotonic_ns };
        }
    }

    /// Shard time as it was last read or stamped.
    pub fn last_ms(&self) -> i64 {
        self.last_ms
    }

    /// Shard time now, in milliseconds since 1970.
    pub fn now_ms(&mut self, now: Now) -> i64 {
        let wall_ms = now.wall_ms();
        if wall_ms >= self.last_ms {
            *self = ShardClock { last_ms: wall_ms, at_ns: now.monotonic_ns };
        } else {
            let elapsed_ms = now.monotonic_ns.saturating_sub(self.at_ns) / NS_PER_MS;
            let steps = elapsed_ms / 2;
            if steps > 0 {
                self.last_ms += steps.cast_signed();
                self.at_ns += steps * 2 * NS_PER_MS;
            }
        }
        self.last_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(monotonic_ms: u64, wall_ms: u64) -> Now {
        Now { monotonic_ns: monotonic_ms * NS_PER_MS, wall_us: wall_ms * 1000 }
    }

    #[test]
    fn shard_time_is_the_wall_clock_while_that_runs_forward() {
        let mut clock = ShardClock::default();
        assert_eq!(clock.now_ms(at(0, 1_000)), 1_000);
        assert_eq!(clock.now_ms(at(5, 1_005)), 1_005);
        assert_eq!(clock.now_ms(at(6, 9_000)), 9_000);
    }

    #[test]
    fn a_wall_clock_set_back_makes_shard_time_run_at_half_rate_until_they_meet() {
        let mut clock = ShardClock::default();
        clock.now_ms(at(0, 10_000));
        assert_eq!(clock.now_ms(at(100, 9_100)), 10_050);
        assert_eq!(clock.now_ms(at(101, 9_101)), 10_050);
        assert_eq!(clock.now_ms(at(102, 9_102)), 10_051);
        assert_eq!(clock.now_ms(at(3_000, 12_000)), 12_000);
    }

    #[test]
    fn shard_time_never_falls_behind_a_stamped_entry() {
        let mut clock = ShardClock::default();
        clock.observe(50_000, at(0, 10_000));
        assert_eq!(clock.now_ms(at(0, 10_000)), 50_000);
        assert_eq!(clock.now_ms(at(1_000, 11_000)), 50_500);
    }
}
