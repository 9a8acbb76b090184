//! How often the simulated disk fails, how slow it is, and what really happened.
//!
//! Lives here: rates, delays, counts. Not here: when a campaign sets which.

use crate::random::Draw;
use rand_chacha::ChaCha8Rng;

/// Chance of each fault, from 0 to 1, per operation that could have it. All 0 by default but tearing and
/// writing back, which every disk may do.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// A sector read for the first time turns out unreadable, and stays so until written again.
    pub read_error: f64,
    /// A write fails, having written a part of its bytes.
    pub write_error: f64,
    /// A sync fails. What it did not write is given up: readable until the power goes, then lost.
    pub sync_error: f64,
    /// A sync says that it has happened and has not.
    pub sync_lie: f64,
    /// A sector lands on another's place.
    pub misdirected_write: f64,
    /// A bit flips while the node is down, per stop.
    pub bit_rot: f64,
    /// An unsynced sector is torn when the power goes.
    pub torn_sector: f64,
    /// The kernel writes some unsynced sectors by itself, per write.
    pub write_back: f64,
    /// How long operations take.
    pub latency: Latency,
    /// A seeded bug of the code above: new files are made without a sync of their directory.
    pub is_directory_sync_forgotten: bool,
    /// A seeded bug of the code above: what is written to files whose names begin so is not synced.
    pub unsynced_prefix: Option<&'static str>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            read_error: 0.0,
            write_error: 0.0,
            sync_error: 0.0,
            sync_lie: 0.0,
            misdirected_write: 0.0,
            bit_rot: 0.0,
            torn_sector: 0.1,
            write_back: 0.05,
            latency: Latency::default(),
            is_directory_sync_forgotten: false,
            unsynced_prefix: None,
        }
    }
}

/// What takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// From the cache or the medium.
    Read,
    /// Into the cache.
    Write,
    /// Onto the medium.
    Sync,
    /// A change of names or length.
    Names,
}

/// Delays in microseconds, drawn evenly between their bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency {
    /// Bounds for a read.
    pub read_us: (u64, u64),
    /// Bounds for a write into the cache.
    pub write_us: (u64, u64),
    /// Bounds for a sync.
    pub sync_us: (u64, u64),
    /// Chance that an operation is slow, by whatever `slow_us` adds.
    pub slow: f64,
    /// Bounds of what a slow operation takes in addition; a stall is a long one.
    pub slow_us: (u64, u64),
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            read_us: (20, 200),
            write_us: (2, 20),
            sync_us: (80, 400),
            slow: 0.0,
            slow_us: (1_000, 100_000),
        }
    }
}

impl Latency {
    /// Nanoseconds that one operation takes.
    pub(super) fn draw(&self, operation: Operation, rng: &mut ChaCha8Rng, counts: &mut FaultCounts) -> u64 {
        let (low, high) = match operation {
            Operation::Read => self.read_us,
            Operation::Write | Operation::Names => self.write_us,
            Operation::Sync => self.sync_us,
        };
        let mut delay_us = rng.between(low, high);
        if rng.chance(self.slow) {
            counts.slow_operations += 1;
            delay_us += rng.between(self.slow_us.0, self.slow_us.1);
        }
        delay_us.saturating_mul(1_000)
    }
}

/// How often each thing has really happened: a campaign that never got there has not tested it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Times the process was killed.
    pub kills: u64,
    /// Times the power was lost.
    pub power_losses: u64,
    /// Writes under way at a kill that did not happen, or only in part.
    pub writes_cut: u64,
    /// Unsynced sectors that a power loss kept.
    pub sectors_kept: u64,
    /// Unsynced sectors that a power loss lost.
    pub sectors_lost: u64,
    /// Unsynced sectors that a power loss tore.
    pub sectors_torn: u64,
    /// Changes of names that a power loss undid.
    pub name_changes_lost: u64,
    /// Reads that failed.
    pub read_errors: u64,
    /// Writes that failed.
    pub write_errors: u64,
    /// Syncs that failed.
    pub sync_errors: u64,
    /// Syncs that lied.
    pub sync_lies: u64,
    /// Sectors written to a wrong place.
    pub writes_misdirected: u64,
    /// Bits flipped.
    pub bits_rotted: u64,
    /// Operations refused for lack of room.
    pub no_space: u64,
    /// Operations that were slow.
    pub slow_operations: u64,
}
