//! The node's clock on the kernel's clocks.
//!
//! Lives here: [`Clock`]. Not here: leases or expiry, which take the readings as arguments.
//!
//! Invariant: monotonic readings never go back, and they count the time a machine was suspended.

use super::{sleep, system};
use std::time::Duration;

/// Reads the time. Copies are the same clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    _private: (),
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { _private: () }
    }

    /// Nanoseconds since the machine started, suspended time included.
    #[inline]
    pub fn monotonic_ns(&self) -> u64 {
        system::monotonic_ns()
    }

    /// Microseconds since 1970 by the machine's calendar clock, which may jump either way.
    #[inline]
    pub fn wall_us(&self) -> u64 {
        system::wall_us()
    }

    /// Waits for `duration` as this clock counts it.
    pub async fn sleep(&self, duration: Duration) {
        sleep(duration).await;
    }

    /// Waits until [`Clock::monotonic_ns`] has reached `deadline_ns`.
    pub async fn sleep_until(&self, deadline_ns: u64) {
        loop {
            let left_ns = deadline_ns.saturating_sub(self.monotonic_ns());
            if left_ns == 0 {
                return;
            }
            sleep(Duration::from_nanos(left_ns)).await;
        }
    }
}
