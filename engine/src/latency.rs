//! The latency monitor: spikes by event, as LATENCY prints them.
//!
//! Lives here: the bounded series per event. Not here: LATENCY's replies (`commands::server`).

use std::collections::{BTreeMap, VecDeque};

/// Samples kept per event.
const SAMPLES_MAX: usize = 160;

#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Seconds since 1970 and milliseconds, the oldest first; one sample a second, the worst.
    samples: VecDeque<(i64, u64)>,
    pub worst_ms: u64,
}

impl Series {
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (i64, u64)> + '_ {
        self.samples.iter().copied()
    }
}

#[derive(Debug, Default)]
pub struct LatencyMonitor {
    by_event: BTreeMap<&'static str, Series>,
}

impl LatencyMonitor {
    /// Adds a spike; the caller compared it with `latency-monitor-threshold`.
    pub fn add(&mut self, event: &'static str, at_seconds: i64, milliseconds: u64) {
        let series = self.by_event.entry(event).or_default();
        series.worst_ms = series.worst_ms.max(milliseconds);
        match series.samples.back_mut() {
            Some((second, worst)) if *second == at_seconds => *worst = (*worst).max(milliseconds),
            _ => series.samples.push_back((at_seconds, milliseconds)),
        }
        if series.samples.len() > SAMPLES_MAX {
            series.samples.pop_front();
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Series)> {
        self.by_event.iter().map(|(event, series)| (*event, series))
    }

    pub fn get(&self, event: &str) -> Option<&Series> {
        self.by_event.get(event)
    }

    /// Forgets one event; gives whether it was there.
    pub fn reset(&mut self, event: &str) -> bool {
        self.by_event.remove(event).is_some()
    }

    /// Forgets all; gives how many there were.
    pub fn reset_all(&mut self) -> usize {
        std::mem::take(&mut self.by_event).len()
    }
}
