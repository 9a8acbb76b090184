//! TCP on the link model.
//!
//! Lives here: [`Conn`] and [`Listener`], with the same calls as the real ones. Not here: what happens to the
//! bytes on their way (`network`).

use super::network::{ConnectionId, Side};
use super::world::{NodeId, Shared, State};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Room made for a read into a full buffer.
const READ_BYTES_MIN: usize = 4096;

/// One end of a simulated connection.
pub struct Conn {
    shared: Rc<Shared>,
    id: ConnectionId,
    side: Side,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Conn {
    pub(super) async fn connect(shared: Rc<Shared>, node: NodeId, to: SocketAddr) -> io::Result<Self> {
        let (id, local) = shared.change(|state, now_ns| state.connect(now_ns, node, to))?;
        // Made before it is connected, so that giving up closes it.
        let conn = Self { shared, id, side: Side::Caller, local, peer: to };
        poll_fn(|context| conn.shared.change(|state, _| state.poll_connected(id, context))).await?;
        Ok(conn)
    }

    /// Our end's address.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// The other end's address.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// Appends to `buffer` what has come, at most its spare capacity (some is made if it has none); waits for
    /// the first byte. `Ok(0)` is the end of the stream.
    pub async fn read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            match self.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable().await?,
                outcome => return outcome,
            }
        }
    }

    /// As [`Conn::read`], but fails with `WouldBlock` instead of waiting.
    pub fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        if buffer.capacity() == buffer.len() {
            buffer.reserve(READ_BYTES_MIN);
        }
        self.shared.change(|state, now_ns| state.read(now_ns, self.id, self.side, buffer))
    }

    /// Writes what the socket takes at once; fails with `WouldBlock` when that is nothing.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.shared.change(|state, now_ns| state.write(now_ns, self.id, self.side, bytes))
    }

    /// Writes all of `bytes`.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until a read may give something: bytes, the end or an error.
    pub async fn readable(&self) -> io::Result<()> {
        self.wait(State::poll_readable).await
    }

    /// Waits until a write may take something or fail.
    pub async fn writable(&self) -> io::Result<()> {
        self.wait(State::poll_writable).await
    }

    /// As [`Conn::readable`].
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.change(|state, _| state.poll_readable(self.id, self.side, context)).map(Ok)
    }

    /// As [`Conn::writable`].
    pub fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.change(|state, _| state.poll_writable(self.id, self.side, context)).map(Ok)
    }

    async fn wait(
        &self,
        poll: fn(&mut State, ConnectionId, Side, &mut Context<'_>) -> Poll<()>,
    ) -> io::Result<()> {
        poll_fn(|context| self.shared.change(|state, _| poll(state, self.id, self.side, context))).await;
        Ok(())
    }

    /// Tells the other end that nothing more will come from here, after what has been written.
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.shared.change(|state, now_ns| state.end_writing(now_ns, self.id, self.side))
    }

    /// Ends both directions; a task that waits on this connection wakes up to its end.
    pub fn shutdown(&self) -> io::Result<()> {
        self.shared.change(|state, now_ns| {
            state.end_reading(self.id, self.side);
            state.end_writing(now_ns, self.id, self.side)
        })
    }

    /// Probes a silent peer after `idle_seconds`; 0 switches it off.
    pub fn set_keepalive(&self, idle_seconds: u32) -> io::Result<()> {
        self.shared.change(|state, now_ns| state.set_keepalive(now_ns, self.id, self.side, idle_seconds));
        Ok(())
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.shared.change(|state, now_ns| state.close(now_ns, self.id, self.side));
    }
}

/// A simulated socket that takes connections.
pub struct Listener {
    shared: Rc<Shared>,
    node: NodeId,
    boot: u64,
    local: SocketAddr,
}

impl Listener {
    pub(super) fn bind(
        shared: Rc<Shared>,
        node: NodeId,
        address: SocketAddr,
        backlog: u32,
    ) -> io::Result<Self> {
        let (local, boot) = shared.change(|state, _| state.listen(node, address, backlog))?;
        Ok(Self { shared, node, boot, local })
    }

    /// The address listened on, with the port that was chosen.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Waits for the next connection.
    pub async fn accept(&self) -> io::Result<(Conn, SocketAddr)> {
        let (id, local, peer) = poll_fn(|context| {
            self.shared.change(|state, _| state.poll_accept(self.node, self.local.port(), context))
        })
        .await?;
        Ok((Conn { shared: Rc::clone(&self.shared), id, side: Side::Taker, local, peer }, peer))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared
            .change(|state, now_ns| state.stop_listening(now_ns, self.node, self.boot, self.local.port()));
    }
}
