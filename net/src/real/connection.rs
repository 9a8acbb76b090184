//! TCP on kernel sockets.
//!
//! Lives here: [`Conn`] and [`Listener`]. Not here: what the bytes mean, limits on them, who waits how long.
//!
//! Invariant: no call allocates, copies into a buffer of its own, or asks the kernel again when the last
//! answer already told that there is nothing more.

use super::system;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::task::{Context, Poll};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Room made for a read into a full buffer.
const READ_BYTES_MIN: usize = 4096;

/// One TCP connection. All calls go through `&self`, so one task may read while another writes.
#[derive(Debug)]
pub struct Conn {
    stream: TcpStream,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Conn {
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::new(TcpStream::connect(address).await?)
    }

    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let (local, peer) = (stream.local_addr()?, stream.peer_addr()?);
        Ok(Self { stream, local, peer })
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
    /// the first byte. `Ok(0)` is the end of the stream. Nothing is lost when the future is dropped.
    ///
    /// A task that always finds bytes still gives way to others now and then.
    pub async fn read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        tokio::task::consume_budget().await;
        loop {
            match self.try_read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.stream.readable().await?,
                outcome => return outcome,
            }
        }
    }

    /// As [`Conn::read`], but fails with `WouldBlock` instead of waiting.
    pub fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        if buffer.spare_capacity_mut().is_empty() {
            buffer.reserve(READ_BYTES_MIN);
        }
        let room = buffer.capacity() - buffer.len();
        self.once(Interest::READABLE, || {
            let received = system::receive(&self.stream, buffer)?;
            Ok((received, received > 0 && received < room))
        })
    }

    /// Writes what the socket takes at once, possibly less than `bytes`; fails with `WouldBlock` when that is
    /// nothing.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.once(Interest::WRITABLE, || {
            let sent = system::send(&self.stream, bytes)?;
            Ok((sent, sent < bytes.len()))
        })
    }

    /// Runs one socket call. When it says that it drained (or filled) the socket, the readiness is forgotten
    /// right away: with edge-triggered polling the kernel tells us of the next byte, and the call that would
    /// only have answered `WouldBlock` is saved.
    fn once(
        &self,
        interest: Interest,
        call: impl FnOnce() -> io::Result<(usize, bool)>,
    ) -> io::Result<usize> {
        let mut moved = None;
        let outcome = self.stream.try_io(interest, || {
            let (bytes, is_exhausted) = call()?;
            moved = Some(bytes);
            match is_exhausted {
                true => Err(io::ErrorKind::WouldBlock.into()),
                false => Ok(()),
            }
        });
        match moved {
            Some(bytes) => Ok(bytes),
            None => Err(outcome.expect_err("a call that moved nothing gave its error")),
        }
    }

    /// Writes all of `bytes`.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.try_write(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.stream.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until a read may give something: bytes, the end or an error.
    pub async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    /// Waits until a write may take something or fail.
    pub async fn writable(&self) -> io::Result<()> {
        self.stream.writable().await
    }

    /// As [`Conn::readable`], for one task only: the last that asked is woken.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_read_ready(context)
    }

    /// As [`Conn::writable`], for one task only: the last that asked is woken.
    pub fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_write_ready(context)
    }

    /// Tells the other end that nothing more will come from here, after what has been written.
    pub fn shutdown_write(&self) -> io::Result<()> {
        system::shutdown(&self.stream, Shutdown::Write)
    }

    /// Ends both directions; a task that waits on this connection wakes up to its end.
    pub fn shutdown(&self) -> io::Result<()> {
        system::shutdown(&self.stream, Shutdown::Both)
    }

    /// From now on, closing this connection is a reset: the other end is told that it broke, and what was not yet
    /// sent is thrown away.
    pub fn reset_on_close(&self) -> io::Result<()> {
        system::set_no_linger(&self.stream)
    }

    /// Probes a silent peer after `idle_seconds`; 0 switches it off.
    pub fn set_keepalive(&self, idle_seconds: u32) -> io::Result<()> {
        system::set_keepalive(&self.stream, idle_seconds)
    }
}

/// A socket that takes connections.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    local: SocketAddr,
}

impl Listener {
    pub(super) fn bind(address: SocketAddr, backlog: u32) -> io::Result<Self> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if address.is_ipv6() {
            system::set_only_ipv6(&socket)?;
        }
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(backlog)?;
        let local = listener.local_addr()?;
        Ok(Self { listener, local })
    }

    /// The address listened on, with the port that was chosen.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Waits for the next connection. An error tells of that connection or of a lack of descriptors or memory;
    /// the listener itself stays good, but wait a little before trying again.
    pub async fn accept(&self) -> io::Result<(Conn, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        Ok((Conn::new(stream)?, peer))
    }
}
