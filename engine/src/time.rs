//! The one form in which time reaches the pure crates.
//!
//! Not here: reading a clock (`net::Clock`), and shard time, which `shard` derives from this.

/// What the clocks say when an input is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Boot-time clock in nanoseconds: counts suspend, never goes back.
    pub monotonic_ns: u64,
    /// Wall clock in microseconds since 1970; may jump.
    pub wall_us: u64,
}

impl Now {
    /// Wall clock in milliseconds since 1970.
    pub fn wall_ms(self) -> i64 {
        i64::try_from(self.wall_us / 1000).unwrap_or(i64::MAX)
    }
}
