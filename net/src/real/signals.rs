//! SIGTERM and SIGINT as values.
//!
//! Lives here: catching them. Not here: what a server does about them.

use crate::facts::ShutdownSignal;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The stream of signals that ask the process to end.
#[derive(Debug)]
pub struct ShutdownSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl ShutdownSignals {
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> ShutdownSignal {
        crate::select! {
            _ = self.terminate.recv() => ShutdownSignal::Terminate,
            _ = self.interrupt.recv() => ShutdownSignal::Interrupt,
        }
    }
}
