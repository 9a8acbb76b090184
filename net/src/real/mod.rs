//! The real back end: tokio's current-thread runtime, kernel sockets, files and threads.
//!
//! Lives here: [`Host`] as production sees it, tasks and timers. The rest by file: `clock`, `connection`,
//! `disk` (with `worker`, its threads, and `paced`, for large files), `signals`, and `system`, the only place with calls into libc.
//!
//! The bans on clocks, files, threads and the runtime's own functions end at this folder: it is what they
//! point to. Each allowance below names its function's own reason.

mod clock;
mod connection;
mod disk;
mod paced;
mod retired;
mod signals;
mod system;
mod worker;

pub use clock::Clock;
pub use connection::{Conn, Listener};
pub use signals::ShutdownSignals;
pub use tokio::task::{JoinError, JoinHandle};
pub use tokio::time::Sleep;

use crate::facts::{ProcessFacts, ProcessUsage};
use crate::{Disk, Elapsed};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// Exit code of a process that ended because the one that had started it did.
const ORPHANED: i32 = 3;
/// Exit code after a second signal; Redis's.
const INSISTED: i32 = 1;

/// What one node sees of the world. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Host {
    _private: (),
}

impl Host {
    /// The machine this process runs on.
    pub fn real() -> Self {
        Self { _private: () }
    }

    /// The node's clock.
    pub fn clock(&self) -> Clock {
        Clock::new()
    }

    /// A random stream of its own, seeded by the operating system. `purpose` names it in simulation.
    pub fn rng(&self, _purpose: &str) -> ChaCha8Rng {
        let mut seed = [0; 32];
        system::fill_random(&mut seed);
        ChaCha8Rng::from_seed(seed)
    }

    /// Listens on `address`, an IPv4 or IPv6 one, with room for `backlog` connections not yet accepted. Port 0
    /// takes a free one. The address can be taken again at once after a crash.
    pub fn listen(&self, address: SocketAddr, backlog: u32) -> io::Result<Listener> {
        Listener::bind(address, backlog)
    }

    /// Connects to `address`. Waits as long as the kernel does; put a [`timeout`] around it.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<Conn> {
        Conn::connect(address).await
    }

    /// An address of `name`, which is one already or is looked up.
    pub async fn resolve(&self, name: &str, port: u16) -> io::Result<SocketAddr> {
        if let Ok(address) = name.parse() {
            return Ok(SocketAddr::new(address, port));
        }
        tokio::net::lookup_host((name, port)).await?.next().ok_or(io::ErrorKind::NotFound.into())
    }

    /// Opens a data directory, made if missing, and locks it against other processes; leftovers of files that
    /// were being made in a crash are removed. Fails with `ResourceBusy` while another process holds it.
    pub fn disk(&self, directory: &str) -> io::Result<Rc<dyn Disk>> {
        Ok(Rc::new(disk::RealDisk::open(Path::new(directory))?))
    }

    /// Opens an existing data directory for reading, beside a process that may be using it.
    pub fn disk_read_only(&self, directory: &str) -> io::Result<Rc<dyn Disk>> {
        Ok(Rc::new(disk::RealDisk::open_read_only(Path::new(directory))?))
    }

    /// The content of a file anywhere, such as a configuration file.
    #[allow(clippy::disallowed_methods, reason = "the replacement itself")]
    pub fn read_file(&self, path: &str) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    /// Replaces a file anywhere: after a crash it holds either the old content or all of the new one.
    pub fn write_file(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let path = Path::new(path);
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        disk::replace_file(directory, name, bytes)
    }

    /// An environment variable, if set and valid UTF-8.
    #[allow(clippy::disallowed_methods, reason = "the replacement itself")]
    pub fn environment(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    /// Runs `future` on this thread.
    pub fn spawn<F: Future<Output: 'static> + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        spawn(future)
    }

    /// The whole thread stands still, as if the machine had stopped for it.
    #[allow(clippy::disallowed_methods, reason = "the replacement itself")]
    pub fn stand_still(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    /// All of standard input.
    pub fn read_standard_input(&self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        io::Read::read_to_end(&mut io::stdin().lock(), &mut text)?;
        Ok(text)
    }

    /// From now on the process ends at once, whatever it is doing, when its standard input ends: then the process that
    /// held the other end has ended. `last_words` go to standard error.
    #[allow(clippy::disallowed_methods, reason = "a wait that nothing may hold up needs a thread of its own")]
    pub fn end_with_standard_input(&self, last_words: &'static str) {
        std::thread::spawn(move || {
            // An error is an end as well.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            // Nobody may be there to read it.
            let _ = writeln!(io::stderr(), "{last_words}");
            std::process::exit(ORPHANED);
        });
    }

    /// From now on the second SIGTERM or SIGINT ends the process at once, whatever it is doing. `last_words` go to
    /// standard error.
    #[allow(clippy::disallowed_methods, reason = "a wait that nothing may hold up needs a thread of its own")]
    pub fn end_with_second_signal(&self, last_words: &'static str) {
        std::thread::spawn(move || {
            let second = run(async {
                let mut signals = ShutdownSignals::install()?;
                signals.next().await;
                signals.next().await;
                io::Result::Ok(())
            });
            if let Ok(Ok(())) = second {
                // Nobody may be there to read it.
                let _ = writeln!(io::stderr(), "{last_words}");
                std::process::exit(INSISTED);
            }
        });
    }

    /// Facts about the process.
    pub fn facts(&self) -> ProcessFacts {
        system::process_facts()
    }

    /// What the process has used so far.
    pub fn usage(&self) -> ProcessUsage {
        system::process_usage()
    }

    /// Raises the limit of open files towards `wanted` and gives the limit that then holds.
    pub fn raise_open_files(&self, wanted: u64) -> u64 {
        system::raise_open_files(wanted)
    }

    /// From now on SIGTERM and SIGINT no longer end the process but come out here, one after another.
    pub fn shutdown_signals(&self) -> io::Result<ShutdownSignals> {
        ShutdownSignals::install()
    }

    /// Records an event where runs are compared, which is in simulation only.
    #[inline]
    pub fn trace(&self, _kind: &'static str, _numbers: &[u64]) {}

    /// A place at which the process may be made to end, which is in simulation only.
    #[inline]
    pub fn point(&self, _name: &'static str) {}
}

/// Nanoseconds of a clock that only measures how long work took.
pub fn stopwatch_ns() -> u64 {
    system::monotonic_ns()
}

/// Runs `future` to its end on a runtime of this thread; what it spawns ends with it.
pub fn run<F: Future>(future: F) -> io::Result<F::Output> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    Ok(tokio::task::LocalSet::new().block_on(&runtime, future))
}

/// Starts `future` as a task of this thread. Dropping the handle leaves it running.
pub fn spawn<F: Future<Output: 'static> + 'static>(future: F) -> JoinHandle<F::Output> {
    tokio::task::spawn_local(future)
}

/// Waits for `duration`, rounded up to the timer's millisecond.
#[allow(clippy::disallowed_methods, reason = "the replacement itself")]
pub fn sleep(duration: Duration) -> Sleep {
    tokio::time::sleep(duration)
}

/// Waits for `future`, at most for `duration`.
#[allow(clippy::disallowed_methods, reason = "the replacement itself")]
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout(duration, future).await.map_err(|_| Elapsed)
}

#[cfg(test)]
mod tests;
