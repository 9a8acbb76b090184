//! A client's bytes: from a socket, or through the node that the client connected to.
//!
//! Lives here: one shape for both. Not here: who decides for which (`tunnel`), what the bytes mean.
//!
//! Invariant: bytes of a client come and go in order, whichever way they take.

use crate::profile;
use crate::tunnel::{DATA, END, IDLE};
use ramkeep_engine::session::Profile;
use ramkeep_log::NodeId;
use ramkeep_net::Conn;
use ramkeep_net::peer::Session;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Bytes that wait in a tunnel above which no more are taken.
const PENDING_BYTES_MAX: usize = 256 << 10;
/// Longest piece of a client's bytes in one frame.
const PIECE_BYTES_MAX: usize = 64 << 10;

/// Where a client's bytes come from.
pub(crate) enum Wire {
    Socket(Conn),
    Tunnel(TunnelEnd),
}

/// The far end of a tunnel: the client is connected to another node.
pub(crate) struct TunnelEnd {
    session: Rc<Session>,
    /// The client's own address, as the other node says.
    peer: String,
    /// Bytes of frames that were read and not taken.
    received: RefCell<Vec<u8>>,
    /// The client's bytes so far.
    bytes: Cell<u64>,
    /// What the other node was last told: bytes done with, and the profile.
    told: RefCell<Option<(u64, Profile)>>,
}

impl TunnelEnd {
    pub fn new(session: Rc<Session>, peer: String) -> Self {
        Self { session, peer, received: RefCell::default(), bytes: Cell::default(), told: RefCell::default() }
    }

    /// Nothing of the client is under way: all its bytes are done with and answered. The other node may then go on with
    /// it elsewhere.
    pub fn tell_idle(&self, profile: Profile) {
        if !self.received.borrow().is_empty() {
            return;
        }
        let bytes = self.bytes.get();
        let mut told = self.told.borrow_mut();
        let is_known = told.as_ref().is_some_and(|(_, known)| *known == profile);
        if is_known && told.as_ref().is_some_and(|(known, _)| *known == bytes) {
            return;
        }
        self.session.push(IDLE, |body| {
            body.extend_from_slice(&bytes.to_le_bytes());
            if !is_known {
                profile::encode(&profile, body);
            }
        });
        *told = Some((bytes, profile));
        // What fails here fails at the next read too.
        let _ = self.session.flush();
    }

    /// The connection ends for good; the other node closes its client's.
    pub fn tell_end(&self) {
        self.session.push(END, |_| {});
        let _ = self.session.flush();
    }

    fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let mut received = self.received.borrow_mut();
        if received.is_empty() {
            let filled = self.session.fill();
            while let Some(frame) = self.session.next_frame()? {
                if frame.kind == DATA {
                    received.extend_from_slice(&frame.body);
                    self.bytes.set(self.bytes.get() + frame.body.len() as u64);
                }
            }
            if received.is_empty() {
                return match filled {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                    Err(error) => Err(error),
                    Ok(_) => Err(io::ErrorKind::WouldBlock.into()),
                };
            }
        }
        let count = received.len();
        buffer.append(&mut received);
        Ok(count)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.session.pending_bytes() > PENDING_BYTES_MAX {
            self.session.flush()?;
            if self.session.pending_bytes() > PENDING_BYTES_MAX {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        let piece = &bytes[..bytes.len().min(PIECE_BYTES_MAX)];
        self.session.push(DATA, |buffer| buffer.extend_from_slice(piece));
        self.session.flush()?;
        Ok(piece.len())
    }
}

impl Wire {
    /// The client's address and the one that it connected to.
    pub fn addresses(&self) -> (String, String) {
        match self {
            Wire::Socket(conn) => (conn.peer_address().to_string(), conn.local_address().to_string()),
            Wire::Tunnel(end) => (end.peer.clone(), String::new()),
        }
    }

    pub fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Wire::Socket(conn) => conn.try_read(buffer),
            Wire::Tunnel(end) => end.try_read(buffer),
        }
    }

    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Socket(conn) => conn.try_write(bytes),
            Wire::Tunnel(end) => end.try_write(bytes),
        }
    }

    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Wire::Socket(conn) => conn.poll_readable(context),
            // What a read took from the session it has taken whole: nothing waits here.
            Wire::Tunnel(end) => end.session.poll_readable(context),
        }
    }

    pub fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Wire::Socket(conn) => conn.poll_writable(context),
            Wire::Tunnel(end) => end.session.poll_drained(context),
        }
    }

    /// The node that carries the client, if one does.
    pub fn carrier(&self) -> Option<NodeId> {
        match self {
            Wire::Socket(_) => None,
            Wire::Tunnel(end) => Some(NodeId(end.session.remote().member)),
        }
    }

    /// Whether bytes wait that the socket has not taken though they were written.
    pub fn has_rest(&self) -> bool {
        match self {
            Wire::Socket(_) => false,
            Wire::Tunnel(end) => end.session.pending_bytes() > 0,
        }
    }
}

impl Drop for TunnelEnd {
    fn drop(&mut self) {
        self.session.close();
    }
}
