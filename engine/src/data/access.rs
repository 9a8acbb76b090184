//! When and how often keys are used, in the 24 bits that each entry has for it.
//!
//! Lives here: what the bits mean. Under a policy that counts frequency they are 16 bits of minutes above an
//! 8-bit logarithmic counter, as in Redis; otherwise seconds.
//! Not here: where the bits stand (`keyspace::entry`), choosing what goes (`data::eviction`).
//!
//! Invariant: the bits never reach a log, a digest or a reply but those of OBJECT: replicas may differ in them.

use crate::keyspace::ACCESS_LIMIT;

/// Counter of a key that was never used again; what is new is not the first to go.
const COUNTER_AT_START: u32 = 5;
const COUNTER_MAX: u32 = 255;

/// How frequency is counted: `lfu-log-factor` and `lfu-decay-time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frequency {
    pub log_factor: u32,
    /// 0: counters stay.
    pub decay_minutes: u32,
}

/// The clock that marks keys.
#[derive(Debug)]
pub struct AccessClock {
    seconds: u64,
    /// None: recency is kept.
    frequency: Option<Frequency>,
    /// State of a small generator: counters rise by chance.
    random: u64,
}

impl Default for AccessClock {
    fn default() -> AccessClock {
        AccessClock { seconds: 0, frequency: None, random: 0x9e37_79b9_7f4a_7c15 }
    }
}

impl AccessClock {
    pub fn set_seconds(&mut self, seconds: u64) {
        self.seconds = seconds;
    }

    pub fn set_frequency(&mut self, frequency: Option<Frequency>) {
        self.frequency = frequency;
    }

    /// Mark of a new key.
    pub fn fresh(&self) -> u32 {
        match self.frequency {
            None => self.seconds as u32 & (ACCESS_LIMIT - 1),
            Some(_) => self.minutes() << 8 | COUNTER_AT_START,
        }
    }

    /// Mark of a key that is used now and was marked so before.
    #[inline]
    pub fn used(&mut self, mark: u32) -> u32 {
        match self.frequency {
            None => self.seconds as u32 & (ACCESS_LIMIT - 1),
            Some(frequency) => {
                let counter = self.decayed(mark, frequency);
                self.minutes() << 8 | self.raised(counter, frequency)
            }
        }
    }

    /// Seconds since the key was used.
    pub fn idle_seconds(&self, mark: u32) -> u32 {
        (self.seconds as u32).wrapping_sub(mark) & (ACCESS_LIMIT - 1)
    }

    /// How often the key is used, 0 to 255, on a logarithmic scale; `None` when that is not counted.
    pub fn counter(&self, mark: u32) -> Option<u32> {
        self.frequency.map(|frequency| self.decayed(mark, frequency))
    }

    /// How little the key would be missed: the higher, the sooner it goes.
    pub fn dispensability(&self, mark: u32) -> u64 {
        match self.counter(mark) {
            None => u64::from(self.idle_seconds(mark)),
            Some(counter) => u64::from(COUNTER_MAX - counter),
        }
    }

    fn minutes(&self) -> u32 {
        (self.seconds / 60) as u32 & 0xffff
    }

    fn decayed(&self, mark: u32, frequency: Frequency) -> u32 {
        let elapsed = self.minutes().wrapping_sub(mark >> 8) & 0xffff;
        let periods = elapsed.checked_div(frequency.decay_minutes).unwrap_or(0);
        (mark & COUNTER_MAX).saturating_sub(periods)
    }

    /// One more with a chance of 1 in (counter above the start × factor + 1).
    fn raised(&mut self, counter: u32, frequency: Frequency) -> u32 {
        let above = u64::from(counter.saturating_sub(COUNTER_AT_START));
        let chances = above * u64::from(frequency.log_factor) + 1;
        if counter < COUNTER_MAX && self.draw().is_multiple_of(chances) { counter + 1 } else { counter }
    }

    /// SplitMix64. Source: Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators (2014).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recency_is_seconds_that_wrap() {
        let mut clock = AccessClock::default();
        clock.set_seconds(u64::from(ACCESS_LIMIT) - 1);
        let mark = clock.fresh();
        clock.set_seconds(u64::from(ACCESS_LIMIT) + 4);
        assert_eq!(clock.idle_seconds(mark), 5);
        assert_eq!(clock.dispensability(mark), 5);
        let mark = clock.used(mark);
        assert_eq!(clock.idle_seconds(mark), 0);
        assert_eq!(clock.counter(mark), None);
    }

    #[test]
    fn counters_rise_ever_more_slowly_and_decay_by_the_minute() {
        let mut clock = AccessClock::default();
        clock.set_frequency(Some(Frequency { log_factor: 10, decay_minutes: 1 }));
        let mut mark = clock.fresh();
        assert_eq!(clock.counter(mark), Some(5));
        (0..100).for_each(|_| mark = clock.used(mark));
        let after_100 = clock.counter(mark).expect("frequency is counted");
        (0..10_000).for_each(|_| mark = clock.used(mark));
        let after_10_000 = clock.counter(mark).expect("frequency is counted");
        // The table in redis.conf: about 10 after 100 uses, 50 after ten thousand.
        assert!((7..=15).contains(&after_100), "{after_100}");
        assert!((35..=65).contains(&after_10_000), "{after_10_000}");
        clock.set_seconds(60 * 7);
        assert_eq!(clock.counter(mark), Some(after_10_000 - 7));
        clock.set_seconds(60 * 300);
        assert_eq!(clock.counter(mark), Some(0));
        clock.set_frequency(Some(Frequency { log_factor: 10, decay_minutes: 0 }));
        assert_eq!(clock.counter(mark), Some(after_10_000), "a decay time of 0 keeps counters");
    }
}
