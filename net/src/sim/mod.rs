//! The simulated back end: many nodes in one process, every choice drawn from one seed.
//!
//! | where | what |
//! |---|---|
//! | `world` | [`World`]: makes nodes, starts, kills, unplugs and pauses them, sets clocks, cuts links |
//! | `link` | what a link is like: delays, chances, sizes of buffers; counts of what happened |
//! | `network` | the link model: latency, stalls, cuts, bounded buffers, ends and resets of connections |
//! | `connection` | [`Conn`] and [`Listener`] on it |
//! | `disk` | the traits of [`crate::disk`] on the simulated disk, with its delays |
//! | `clock` | a node's clocks, with offset, drift and jumps |
//! | `time` | simulated time itself |
//!
//! Of madsim only the executor, timers and the killing and pausing of nodes are used: its sockets have no
//! back-pressure and no half-open connections, its files no crashes, its clock no skew.

mod clock;
mod connection;
mod disk;
mod host;
mod link;
mod network;
mod time;
mod world;

#[cfg(test)]
mod tests;

pub use clock::Clock;
pub use connection::{Conn, Listener};
pub use disk::{DISK_STEP, WRITTEN_NOT_SYNCED};
pub use host::{Host, ShutdownSignals};
pub use link::{Link, NetworkCounts, NetworkOptions};
pub use madsim::task::{JoinError, JoinHandle};
pub use time::{Sleep, sleep, timeout};
pub use world::{NodeId, PointCounts, World, WorldOptions, simulate};

use std::future::Future;

/// Work takes no time here.
pub fn stopwatch_ns() -> u64 {
    0
}

/// Starts `future` as a task of the current node. Dropping the handle leaves it running.
pub fn spawn<F: Future<Output: 'static> + 'static>(future: F) -> JoinHandle<F::Output> {
    madsim::task::spawn_local(future)
}
