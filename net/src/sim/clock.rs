//! What a node's clocks show: simulated time with an error of their own.
//!
//! Lives here: [`Clock`], and [`ClockError`], which turns true time into a node's. Not here: when campaigns
//! change the error.
//!
//! Invariant: the monotonic reading never goes back while the machine runs; only the wall clock jumps.

use super::time::pause_ns;
use super::world::{NodeId, Shared};
use std::rc::Rc;
use std::time::Duration;

const MILLION: i128 = 1_000_000;

/// Wait between looks at a clock that stands still.
const STUCK_LOOK_NS: u64 = 10_000_000;

/// Where a node's clocks are off.
#[derive(Debug, Clone)]
pub(super) struct ClockError {
    base_true_ns: u64,
    base_monotonic_ns: u64,
    /// How much faster than true time both clocks run, in millionths; -1,000,000 is a clock that stands still.
    rate_ppm: i64,
    /// What the wall clock shows beyond the monotonic one.
    wall_offset_us: i64,
}

impl ClockError {
    pub fn new(true_ns: u64, uptime_ns: u64, wall_us: i64) -> Self {
        let wall_offset_us = wall_us.saturating_sub((uptime_ns / 1_000) as i64);
        Self { base_true_ns: true_ns, base_monotonic_ns: uptime_ns, rate_ppm: 0, wall_offset_us }
    }

    pub fn monotonic_ns(&self, true_ns: u64) -> u64 {
        let elapsed_ns = i128::from(true_ns.saturating_sub(self.base_true_ns));
        self.base_monotonic_ns + (elapsed_ns * (MILLION + i128::from(self.rate_ppm)) / MILLION) as u64
    }

    pub fn wall_us(&self, true_ns: u64) -> u64 {
        let monotonic_us = (self.monotonic_ns(true_ns) / 1_000) as i64;
        monotonic_us.saturating_add(self.wall_offset_us).max(0) as u64
    }

    /// True time in which the monotonic clock moves on by `duration_ns`; `None` if it stands still.
    fn true_duration_ns(&self, duration_ns: u64) -> Option<u64> {
        let rate = MILLION + i128::from(self.rate_ppm);
        // Rounded up, so that a wait is never over before its deadline shows.
        (rate > 0).then(|| ((i128::from(duration_ns) * MILLION + rate - 1) / rate) as u64)
    }

    pub fn set_rate(&mut self, true_ns: u64, rate_ppm: i64) {
        self.base_monotonic_ns = self.monotonic_ns(true_ns);
        self.base_true_ns = true_ns;
        self.rate_ppm = rate_ppm.max(-1_000_000);
    }

    pub fn jump_wall(&mut self, by_us: i64) {
        self.wall_offset_us = self.wall_offset_us.saturating_add(by_us);
    }

    /// The machine starts anew: the monotonic clock counts from there, the wall clock goes on.
    pub fn restart(&mut self, true_ns: u64, uptime_ns: u64) {
        let wall_us = self.wall_us(true_ns) as i64;
        let rate_ppm = self.rate_ppm;
        *self = Self { rate_ppm, ..Self::new(true_ns, uptime_ns, wall_us) };
    }
}

/// Reads a node's time. Clones are the same clock.
#[derive(Clone)]
pub struct Clock {
    shared: Rc<Shared>,
    node: NodeId,
}

impl Clock {
    pub(super) fn new(shared: Rc<Shared>, node: NodeId) -> Self {
        Self { shared, node }
    }

    fn read<T>(&self, read: impl FnOnce(&ClockError, u64) -> T) -> T {
        let state = self.shared.state.borrow();
        read(&state.node(self.node).clock, self.shared.now_ns())
    }

    /// Nanoseconds since the machine started, by the node's clock.
    pub fn monotonic_ns(&self) -> u64 {
        self.read(ClockError::monotonic_ns)
    }

    /// Microseconds since 1970, by the node's calendar clock, which may jump either way.
    pub fn wall_us(&self) -> u64 {
        self.read(ClockError::wall_us)
    }

    /// Waits for `duration` as this clock counts it.
    pub async fn sleep(&self, duration: Duration) {
        let duration_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.sleep_until(self.monotonic_ns().saturating_add(duration_ns)).await;
    }

    /// Waits until [`Clock::monotonic_ns`] has reached `deadline_ns`.
    pub async fn sleep_until(&self, deadline_ns: u64) {
        loop {
            let left_ns = deadline_ns.saturating_sub(self.monotonic_ns());
            if left_ns == 0 {
                return;
            }
            let true_ns = self.read(|clock, _| clock.true_duration_ns(left_ns)).unwrap_or(STUCK_LOOK_NS);
            pause_ns(true_ns.max(1_000_000)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_offset_and_jumps_add_up_and_the_monotonic_clock_never_goes_back() {
        let mut clock = ClockError::new(0, 5_000, 1_000_000);
        assert_eq!((clock.monotonic_ns(0), clock.wall_us(0)), (5_000, 1_000_000));
        clock.set_rate(1_000_000, 100_000);
        assert_eq!(clock.monotonic_ns(2_000_000), 5_000 + 1_000_000 + 1_100_000);
        assert_eq!(clock.true_duration_ns(1_100_000), Some(1_000_000));
        clock.jump_wall(-500_000);
        assert_eq!(clock.wall_us(1_000_000), 501_000);
        clock.set_rate(2_000_000, -1_000_000);
        assert_eq!(clock.monotonic_ns(9_000_000), clock.monotonic_ns(2_000_000));
        assert_eq!(clock.true_duration_ns(1), None);
        let wall_us = clock.wall_us(9_000_000);
        clock.restart(9_000_000, 7);
        assert_eq!((clock.monotonic_ns(9_000_000), clock.wall_us(9_000_000)), (7, wall_us));
    }
}
