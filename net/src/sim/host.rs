//! What one simulated node sees of its world.
//!
//! Lives here: [`Host`] with the same calls as the real one. Not here: the levers that change the world.
//!
//! Invariant: a process learns only of its own node.

use super::clock::Clock;
use super::connection::{Conn, Listener};
use super::disk::NodeDisk;
use super::world::{NodeId, Shared};
use super::{JoinHandle, spawn};
use crate::Disk;
use crate::facts::{ProcessFacts, ProcessUsage, ShutdownSignal};
use crate::random::{Stream, stream};
use rand_chacha::ChaCha8Rng;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;

/// Memory that every simulated machine says it has.
const MEMORY_BYTES: u64 = 8 << 30;

/// What one node sees of the world. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    shared: Rc<Shared>,
    node: NodeId,
}

impl Host {
    pub(super) fn new(shared: Rc<Shared>, node: NodeId) -> Self {
        Self { shared, node }
    }

    /// Which node this is.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The node's clock.
    pub fn clock(&self) -> Clock {
        Clock::new(Rc::clone(&self.shared), self.node)
    }

    /// A random stream of its own: the same in every run of one seed for the same node, purpose and number of
    /// earlier askings.
    pub fn rng(&self, purpose: &str) -> ChaCha8Rng {
        self.shared.change(|state, _| {
            let seed = state.seed;
            let node = state.node_mut(self.node);
            let count = node.streams.entry(purpose.to_owned()).or_insert(0);
            *count += 1;
            stream(seed, Stream { node: &node.name, instance: *count, purpose })
        })
    }

    /// Listens on `address` with room for `backlog` connections not yet accepted. Port 0 takes a free one.
    pub fn listen(&self, address: SocketAddr, backlog: u32) -> io::Result<Listener> {
        Listener::bind(Rc::clone(&self.shared), self.node, address, backlog)
    }

    /// Connects to `address`.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<Conn> {
        Conn::connect(Rc::clone(&self.shared), self.node, address).await
    }

    /// The address that `name` spells; there are no names here.
    pub async fn resolve(&self, name: &str, port: u16) -> io::Result<SocketAddr> {
        name.parse().map(|address| SocketAddr::new(address, port)).map_err(|_| io::ErrorKind::NotFound.into())
    }

    /// Opens a data directory and locks it until all that came from it is dropped or the process ends.
    pub fn disk(&self, directory: &str) -> io::Result<Rc<dyn Disk>> {
        Ok(Rc::new(NodeDisk::open(Rc::clone(&self.shared), self.node, directory)?))
    }

    /// Opens a data directory for reading.
    pub fn disk_read_only(&self, directory: &str) -> io::Result<Rc<dyn Disk>> {
        Ok(Rc::new(NodeDisk::open_read_only(Rc::clone(&self.shared), self.node, directory)))
    }

    /// The content of a file outside the data directory. Such files neither fail nor forget.
    pub fn read_file(&self, path: &str) -> io::Result<Vec<u8>> {
        let state = self.shared.state.borrow();
        state.node(self.node).files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Replaces a file outside the data directory.
    pub fn write_file(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.shared.change(|state, _| {
            state.node_mut(self.node).files.insert(path.to_owned(), bytes.to_vec());
        });
        Ok(())
    }

    /// No environment here.
    pub fn environment(&self, _name: &str) -> Option<String> {
        None
    }

    /// Runs `future` on this node.
    pub fn spawn<F: Future<Output: 'static> + 'static>(&self, future: F) -> JoinHandle<F::Output> {
        spawn(future)
    }

    /// Standing still cannot be told from having run on: only waits take time here.
    pub fn stand_still(&self, _duration: std::time::Duration) {}

    /// Facts about the process.
    pub fn facts(&self) -> ProcessFacts {
        let state = self.shared.state.borrow();
        let node = state.node(self.node);
        ProcessFacts {
            process_id: 1_000 + node.boot as u32,
            hostname: node.name.clone(),
            system: "simulation 1 none".to_owned(),
            memory_total_bytes: MEMORY_BYTES,
            memory_limit_bytes: None,
            executable: String::new(),
        }
    }

    /// Nothing is measured here: the figures would differ from run to run.
    pub fn usage(&self) -> ProcessUsage {
        ProcessUsage::default()
    }

    /// As many as wanted.
    pub fn raise_open_files(&self, wanted: u64) -> u64 {
        wanted
    }

    /// The signals sent to this process.
    pub fn shutdown_signals(&self) -> io::Result<ShutdownSignals> {
        Ok(ShutdownSignals { shared: Rc::clone(&self.shared), node: self.node })
    }

    /// A place at which the process may be made to end ([`super::World::arm`]): what it does before its next wait
    /// reaches neither network nor disk any more.
    pub fn point(&self, name: &'static str) {
        super::World::of(Rc::clone(&self.shared)).visit(self.node, name);
    }

    /// Records an event of this node in the run's trace.
    pub fn trace(&self, kind: &'static str, numbers: &[u64]) {
        self.shared.state.borrow().record(self.shared.now_ns(), kind, self.node, numbers);
    }
}

/// The stream of signals that ask the process to end.
pub struct ShutdownSignals {
    shared: Rc<Shared>,
    node: NodeId,
}

impl ShutdownSignals {
    /// Waits for the next signal.
    pub async fn next(&mut self) -> ShutdownSignal {
        poll_fn(|context| {
            self.shared.change(|state, _| {
                let node = state.node_mut(self.node);
                match node.signals.pop_front() {
                    Some(signal) => Poll::Ready(signal),
                    None => {
                        node.signal_wakers.push(context.waker().clone());
                        Poll::Pending
                    }
                }
            })
        })
        .await
    }
}
