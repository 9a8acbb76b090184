//! Ports for nodes that are started, ended and started again.
//!
//! Lives here: the choice. It stays below the range from which the system takes the ports of outgoing connections (from
//! 32768 on Linux): one of those would sooner or later get the port of a node that is down for a moment, and the node
//! could not come back.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 23_000;
const COUNT: u16 = 7_000;
/// Processes that ask at once begin this far apart, so that each finds some of its own.
const APART: u32 = 61;

/// Ports given by this process.
static ASKED: AtomicU16 = AtomicU16::new(0);

/// A port of the loopback that nobody listens on; none if all are taken.
#[allow(clippy::disallowed_methods, reason = "ports of the machine, before there is a node")]
pub fn free_port() -> Option<u16> {
    let start = std::process::id().wrapping_mul(APART);
    (0..COUNT).find_map(|_| {
        let asked = u32::from(ASKED.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + (start.wrapping_add(asked) % u32::from(COUNT)) as u16;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_is_another_one_and_none_is_taken_for_outgoing_connections() {
        let ports: Vec<u16> = (0..50).map(|_| free_port().expect("some are free")).collect();
        let mut distinct = ports.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), ports.len());
        assert!(ports.iter().all(|port| (FIRST..FIRST + COUNT).contains(port)));
    }
}
