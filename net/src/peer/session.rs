//! An open connection to a proved peer.
//!
//! Lives here: frames in and out over one socket, the answer to probes, silence. Not here: connecting again (`link`),
//! the handshake.
//!
//! Invariant: what was pushed leaves in order or the session ends; nothing is lost in between.

use super::frame::{Frame, Incoming, KIND_MAX, Outgoing};
use super::handshake::{Caller, Remote};
use crate::{Conn, Elapsed, timeout};
use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

pub(super) const PING: u8 = 0xfd;
pub(super) const PONG: u8 = 0xfe;

/// An open connection to a peer. All calls go through `&self`.
pub struct Session {
    conn: Conn,
    caller: Caller,
    outgoing: RefCell<Outgoing>,
    incoming: RefCell<Incoming>,
}

impl Session {
    pub(super) fn new(conn: Conn, caller: Caller, outgoing: Outgoing, incoming: Incoming) -> Self {
        Self { conn, caller, outgoing: RefCell::new(outgoing), incoming: RefCell::new(incoming) }
    }

    /// Who is at the other end.
    pub fn remote(&self) -> Remote {
        self.caller.remote
    }

    /// What the caller opened it for.
    pub fn purpose(&self) -> u8 {
        self.caller.purpose
    }

    /// Appends a frame; it leaves with the next flush.
    ///
    /// # Panics
    ///
    /// If the kind is one of the session's own, or the body too long.
    pub fn push(&self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
        assert!(kind <= KIND_MAX, "kind {kind} is the session's own");
        self.outgoing.borrow_mut().push(kind, write);
    }

    /// Bytes pushed that the socket has not taken.
    pub fn pending_bytes(&self) -> usize {
        self.outgoing.borrow().pending_bytes()
    }

    /// Gives the socket what it takes now. False if something is left: go on when it is [`Session::writable`].
    pub fn flush(&self) -> io::Result<bool> {
        self.outgoing.borrow_mut().flush(|bytes| self.conn.try_write(bytes))
    }

    /// Waits until a flush may get on.
    pub async fn writable(&self) -> io::Result<()> {
        self.conn.writable().await
    }

    /// Waits until there may be something to read.
    pub async fn readable(&self) -> io::Result<()> {
        self.conn.readable().await
    }

    /// As [`Session::readable`], for whoever waits for several things.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.conn.poll_readable(context)
    }

    /// As [`Session::drain`], for whoever waits for several things.
    pub fn poll_drained(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.flush() {
                Ok(true) => return Poll::Ready(Ok(())),
                Ok(false) => match self.conn.poll_writable(context) {
                    Poll::Ready(Ok(())) => {}
                    other => return other,
                },
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Reads what has come. The number of bytes; an error of kind `WouldBlock` when there is nothing, of kind
    /// `UnexpectedEof` at the end.
    pub fn fill(&self) -> io::Result<usize> {
        match self.conn.try_read(self.incoming.borrow_mut().room())? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => Ok(bytes),
        }
    }

    /// The next frame of what was read. Probes are answered, and never come out.
    pub fn next_frame(&self) -> io::Result<Option<Frame>> {
        loop {
            let frame = self.incoming.borrow_mut().next_frame()?;
            match frame {
                Some(frame) if frame.kind == PING => {
                    self.push_own(PONG);
                    self.flush()?;
                }
                Some(frame) if frame.kind == PONG => {}
                other => return Ok(other),
            }
        }
    }

    pub(super) fn push_own(&self, kind: u8) {
        self.outgoing.borrow_mut().push(kind, |_| {});
    }

    /// Sends one frame.
    pub async fn send(&self, kind: u8, body: &[u8]) -> io::Result<()> {
        self.push(kind, |buffer| buffer.extend_from_slice(body));
        self.drain().await
    }

    /// Waits until all that was pushed is with the socket.
    pub async fn drain(&self) -> io::Result<()> {
        while !self.flush()? {
            self.writable().await?;
        }
        Ok(())
    }

    /// Waits for the next frame. What has been pushed meanwhile is flushed as the socket takes it.
    pub async fn receive(&self) -> io::Result<Frame> {
        loop {
            if let Some(frame) = self.next_frame()? {
                return Ok(frame);
            }
            let is_flushed = self.flush()?;
            crate::select! {
                outcome = self.readable() => outcome?,
                outcome = self.writable(), if !is_flushed => { outcome?; continue; }
            }
            match self.fill() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => drop(outcome?),
            }
        }
    }

    /// As [`Session::receive`], but not longer than `time_max`.
    pub async fn receive_within(&self, time_max: Duration) -> io::Result<Frame> {
        timeout(time_max, self.receive()).await.map_err(|Elapsed| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Ends both directions.
    pub fn close(&self) {
        // A socket that cannot be ended has ended.
        let _ = self.conn.shutdown();
    }
}
