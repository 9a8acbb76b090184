//! SIGTERM, SIGINT and SIGHUP as values.
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
    hangup: Option<Signal>,
}

impl ShutdownSignals {
    pub(super) fn install() -> io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, hangup: None })
    }

    /// SIGHUP asks for the end as well: for commands of a terminal, which leave nothing behind when it is closed.
    pub fn and_hangup(self) -> io::Result<Self> {
        Ok(Self { hangup: Some(signal(SignalKind::hangup())?), ..self })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) -> ShutdownSignal {
        let Self { terminate, interrupt, hangup } = self;
        let hung_up = async {
            match hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        crate::select! {
            _ = terminate.recv() => ShutdownSignal::Terminate,
            _ = interrupt.recv() => ShutdownSignal::Interrupt,
            _ = hung_up => ShutdownSignal::Hangup,
        }
    }
}
