//! Everything a node needs from the outside world, on real sockets and disks or in a seeded simulation.
//!
//! This is the only crate that names tokio or madsim. Built ordinarily it runs on tokio's current-thread
//! runtime, kernel sockets and files; built with `--cfg madsim` the same names run under a seeded
//! scheduler, on our own link model, clocks and simulated disk.
//!
//! | where | what |
//! |---|---|
//! | [`Host`] | what one node sees: clock, random streams, sockets, disk, facts. Passed down, never global, so that many nodes live in one simulated process |
//! | [`spawn`], [`sleep`], [`timeout`], [`yield_now`], [`select!`], [`Signal`], [`Notify`], [`oneshot`], [`mpsc`] | tasks and waiting, on the thread of the caller |
//! | [`Conn`], [`Listener`] | TCP, usable through `&self` by a reading and a writing task at once |
//! | [`peer`] | connections between nodes: frames, authentication, lanes that connect again |
//! | [`disk`] | the traits [`Disk`], [`LogFile`] and [`Draft`]: durable when the future completes |
//! | [`trace`] | rolling hash over a run's events, for comparing two runs of one seed |
//! | [`random`] | seeds of the random streams |
//! | [`facts`] | process id, host name, memory, signals |
//! | [`simdisk`] | the simulated disk's pure core, compiled in every build |
//! | `real` | tokio, kernel sockets, writer threads (not under `--cfg madsim`) |
//! | `sim` | link model, clocks with drift, node kill and power loss (only under `--cfg madsim`) |
//!
//! Not here: anything of Redis, the log's format, or decisions about what to write.
//!
//! Invariant: whatever a node learns of time, chance, network and disk, it learns through its [`Host`].

pub mod disk;
pub mod facts;
pub mod peer;
pub mod random;
#[doc(hidden)]
pub mod select;
mod signal;
pub mod simdisk;
pub mod trace;

#[cfg(not(madsim))]
mod real;
#[cfg(not(madsim))]
pub use real::{
    Clock, Conn, Host, JoinError, JoinHandle, Listener, ShutdownSignals, Sleep, run, sleep, spawn,
    stopwatch_ns, timeout,
};

#[cfg(madsim)]
mod sim;
#[cfg(madsim)]
pub use sim::{
    Clock, Conn, DISK_STEP, Host, JoinError, JoinHandle, Link, Listener, NetworkCounts, NetworkOptions,
    NodeId, PointCounts, ShutdownSignals, Sleep, WRITTEN_NOT_SYNCED, World, WorldOptions, simulate, sleep,
    spawn, stopwatch_ns, timeout,
};

pub use disk::{Disk, Draft, LocalFuture, LogFile, ReadJob};
pub use facts::{ProcessFacts, ProcessUsage, ShutdownSignal};
pub use rand_chacha::ChaCha8Rng;
pub use signal::Signal;
pub use tokio::sync::{Notify, mpsc, oneshot};
pub use tokio::task::yield_now;
pub use trace::Trace;

#[doc(hidden)]
pub use select as select_parts;

/// A [`timeout`] ran out before its future was ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct Elapsed;

impl From<Elapsed> for std::io::Error {
    fn from(_: Elapsed) -> Self {
        std::io::ErrorKind::TimedOut.into()
    }
}
