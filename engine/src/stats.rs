//! What INFO, SLOWLOG and LATENCY tell about the commands that ran.
//!
//! Lives here: counters. Not here: their printing (`commands::server`).

use crate::command::Command;
use crate::rdb::{Foot, Head};
use crate::time::Now;
use hashbrown::HashMap;
use std::collections::BTreeMap;

/// What is known of snapshots.
#[derive(Clone, Debug, Default)]
pub struct SnapshotFacts {
    /// One is wanted or being made.
    pub is_running: bool,
    began_ns: u64,
    /// When the last good one was made, in seconds since 1970.
    pub last_at_s: Option<i64>,
    pub last_position: u64,
    pub last_bytes: u64,
    pub last_keys: u64,
    /// Duration of the last, good or not; none before the first.
    pub last_seconds: Option<u64>,
    pub has_failed: bool,
    /// Made since the start.
    pub count: u64,
    /// Changes that the last good one holds, of those since the start.
    pub changes: u64,
    /// Most bytes kept for one, since it began.
    pub kept_bytes_peak: u64,
    pub loaded_keys: u64,
}

impl SnapshotFacts {
    pub fn begun(&mut self, now: Now) {
        self.is_running = true;
        self.began_ns = now.monotonic_ns;
        self.kept_bytes_peak = 0;
    }

    pub fn succeeded(&mut self, head: &Head, foot: Foot, bytes: u64, seconds: u64, changes: u64, now: Now) {
        self.is_running = false;
        self.has_failed = false;
        self.fetched(head, foot, bytes, now);
        self.last_seconds = Some(seconds);
        self.changes = changes;
        self.count += 1;
    }

    pub fn failed(&mut self, seconds: u64) {
        self.is_running = false;
        self.has_failed = true;
        self.last_seconds = Some(seconds);
    }

    /// Another node's came here, whole.
    pub fn fetched(&mut self, head: &Head, foot: Foot, bytes: u64, now: Now) {
        self.last_at_s = Some((now.wall_us / 1_000_000).cast_signed());
        self.last_position = head.position;
        self.last_bytes = bytes;
        self.last_keys = foot.keys;
    }

    /// The data came from a snapshot.
    pub fn loaded(&mut self, head: &Head, keys: u64) {
        self.last_position = head.position;
        self.last_keys = keys;
        self.loaded_keys = keys;
    }

    /// How long the one that is being made takes already.
    pub fn running_seconds(&self, now: Now) -> Option<u64> {
        self.is_running.then(|| now.monotonic_ns.saturating_sub(self.began_ns) / 1_000_000_000)
    }
}

/// Counters of one command.
#[derive(Clone, Debug, Default)]
pub struct CommandStats {
    pub calls: u64,
    pub duration_ns: u64,
    /// Refused before it ran: arity, rights, room.
    pub rejected_calls: u64,
    /// Ran and answered an error.
    pub failed_calls: u64,
    pub latency: LatencyHistogram,
}

/// Powers of two of microseconds: bucket `n` counts durations below `2^n` µs and not below `2^(n-1)`.
#[derive(Clone, Debug)]
pub struct LatencyHistogram {
    buckets: [u32; LatencyHistogram::BUCKETS],
    count: u64,
}

impl Default for LatencyHistogram {
    fn default() -> LatencyHistogram {
        LatencyHistogram { buckets: [0; LatencyHistogram::BUCKETS], count: 0 }
    }
}

impl LatencyHistogram {
    const BUCKETS: usize = 32;

    pub fn record(&mut self, duration_ns: u64) {
        self.record_many(duration_ns, 1);
    }

    /// So many durations of the same length.
    pub fn record_many(&mut self, duration_ns: u64, count: u64) {
        let microseconds = (duration_ns / 1000).min(u64::from(u32::MAX) / 2);
        let bucket = (u64::BITS - microseconds.leading_zeros()) as usize;
        let more = u32::try_from(count).unwrap_or(u32::MAX);
        self.buckets[bucket] = self.buckets[bucket].saturating_add(more);
        self.count += count;
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Upper bound in microseconds and number of durations at or below it, for the buckets in use.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut below = 0;
        self.buckets.iter().enumerate().filter(|(_, count)| **count > 0).map(move |(bucket, count)| {
            below += u64::from(*count);
            (1u64 << bucket, below)
        })
    }

    /// Upper bound in microseconds of the bucket in which this share (0..=1) of the durations ends.
    pub fn percentile(&self, share: f64) -> u64 {
        let wanted = (share * self.count as f64).ceil() as u64;
        self.cumulative().find(|(_, below)| *below >= wanted).map_or(0, |(bound, _)| bound)
    }
}

/// Bounds the number of different error codes counted, as Redis does.
const ERROR_CODES_MAX: usize = 128;

#[derive(Debug, Default)]
pub struct Stats {
    /// In the order of their first calls; printed sorted by name.
    commands: Vec<(&'static Command, CommandStats)>,
    /// Indexes in `commands` by the address of the declaration.
    by_address: HashMap<usize, usize, foldhash::fast::FixedState>,
    /// The command asked for last, and its index.
    last: Option<(usize, usize)>,
    pub errors: BTreeMap<Vec<u8>, u64>,
    pub error_replies: u64,
    pub commands_processed: u64,
    pub connections_received: u64,
    pub rejected_connections: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub protocol_errors: u64,
    pub query_buffer_limit_disconnections: u64,
    pub output_buffer_limit_disconnections: u64,
    pub evicted_clients: u64,
    pub acl_access_denied_auth: u64,
    pub used_memory_peak: u64,
    /// Commands processed at the last samples, for instantaneous_ops_per_sec.
    pub operations: RateMeter,
}

impl Stats {
    pub fn of(&mut self, command: &'static Command) -> &mut CommandStats {
        let address = std::ptr::from_ref(command).addr();
        let index = match self.last {
            Some((last, index)) if last == address => index,
            _ => self.index_of(command, address),
        };
        &mut self.commands[index].1
    }

    fn index_of(&mut self, command: &'static Command, address: usize) -> usize {
        let index = *self.by_address.entry(address).or_insert_with(|| {
            self.commands.push((command, CommandStats::default()));
            self.commands.len() - 1
        });
        self.last = Some((address, index));
        index
    }

    /// Commands that were called, by name.
    pub fn by_name(&self) -> Vec<(&'static Command, &CommandStats)> {
        let mut all: Vec<_> = self.commands.iter().map(|(command, stats)| (*command, stats)).collect();
        all.sort_by_key(|(command, _)| command.name);
        all
    }

    pub fn count_error(&mut self, code: &[u8]) {
        self.error_replies += 1;
        if let Some(count) = self.errors.get_mut(code) {
            *count += 1;
        } else if self.errors.len() < ERROR_CODES_MAX {
            self.errors.insert(code.to_vec(), 1);
        }
    }

    /// CONFIG RESETSTAT. The highest use of memory stays known.
    pub fn reset(&mut self) {
        *self = Stats { used_memory_peak: self.used_memory_peak, ..Stats::default() };
    }
}

/// Rate over the last samples, taken by the tick.
#[derive(Debug, Default)]
pub struct RateMeter {
    last_count: u64,
    last_ns: u64,
    per_second: u64,
}

/// Shortest time between two samples.
const SAMPLE_NS: u64 = 100_000_000;

impl RateMeter {
    pub fn sample(&mut self, count: u64, now_ns: u64) {
        let elapsed_ns = now_ns.saturating_sub(self.last_ns);
        if elapsed_ns < SAMPLE_NS {
            return;
        }
        let rate = u128::from(count.saturating_sub(self.last_count)) * 1_000_000_000 / u128::from(elapsed_ns);
        self.per_second = (self.per_second * 3 + u64::try_from(rate).unwrap_or(u64::MAX).min(1 << 40)) / 4;
        (self.last_count, self.last_ns) = (count, now_ns);
    }

    pub fn per_second(&self) -> u64 {
        self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_durations_below_powers_of_two_of_microseconds() {
        let mut histogram = LatencyHistogram::default();
        for duration_ns in [500, 1_000, 1_999, 3_000, 900_000] {
            histogram.record(duration_ns);
        }
        assert_eq!(histogram.cumulative().collect::<Vec<_>>(), [(1, 1), (2, 3), (4, 4), (1024, 5)]);
        assert_eq!(histogram.percentile(0.5), 2);
        assert_eq!(histogram.percentile(1.0), 1024);
    }
}
