//! A lane to one peer: frames go out while it is connected and are dropped while it is not.
//!
//! Lives here: connecting again and again, the bound of what waits, probes that notice a silent end.
//! Not here: sending anything again, which is for whoever knows whether it still matters.
//!
//! Invariant: sending never waits, and what waits to be sent is bounded.

use super::handshake::{Credentials, HandshakeError, Refusal, Remote, dial};
use super::session::{PING, Session};
use crate::{Clock, Host, Notify, timeout};
use rand_chacha::ChaCha8Rng;
use rand_core::RngCore;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// A connection is tried for so long.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// A peer that refused for good reasons is asked again more slowly.
const BACKOFF_REFUSED: Duration = Duration::from_secs(1);
/// Between two probes.
const PROBE_NS: u64 = 500_000_000;
/// Nothing came back and nothing could be written for so long: the connection is taken for dead. A cut that heals
/// is noticed by connecting anew, not by the kernel's own patience.
const SILENCE_NS_MAX: u64 = 2_000_000_000;

/// What a lane is.
pub struct LinkOptions {
    /// Host and port; the host is looked up each time it is connected to.
    pub host: String,
    pub port: u16,
    /// Whom the connection is to reach, as the handshake carries it.
    pub to: u64,
    pub purpose: u8,
    /// Bytes that may wait for the socket; what comes beyond is dropped.
    pub pending_bytes_max: usize,
    /// For the log's lines.
    pub label: String,
}

/// What happened on a lane since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    pub connected: u64,
    pub sent: u64,
    pub dropped: u64,
}

type Expect = dyn Fn(&Remote) -> Result<(), Refusal>;

/// A lane to one peer.
pub struct Link {
    host: Host,
    clock: Clock,
    credentials: Credentials,
    options: LinkOptions,
    expect: Box<Expect>,
    random: RefCell<ChaCha8Rng>,
    session: RefCell<Option<Rc<Session>>>,
    /// Something was pushed since the last flush.
    is_dirty: Cell<bool>,
    /// The socket took not all: the task waits until it does.
    is_clogged: Cell<bool>,
    is_cut: Cell<bool>,
    is_ended: Cell<bool>,
    /// Why the peer did not let this node in, when it was asked last.
    refused: Cell<Option<Refusal>>,
    wake: Notify,
    counts: Cell<LinkCounts>,
}

impl Link {
    /// A lane; it connects once [`Link::run`] runs. `expect` judges who is found at the address.
    pub fn new(
        host: Host,
        credentials: Credentials,
        options: LinkOptions,
        expect: impl Fn(&Remote) -> Result<(), Refusal> + 'static,
    ) -> Rc<Self> {
        Rc::new(Self {
            clock: host.clock(),
            random: RefCell::new(host.rng("peer link")),
            host,
            credentials,
            options,
            expect: Box::new(expect),
            session: RefCell::default(),
            is_dirty: Cell::default(),
            is_clogged: Cell::default(),
            is_cut: Cell::default(),
            is_ended: Cell::default(),
            refused: Cell::default(),
            wake: Notify::new(),
            counts: Cell::default(),
        })
    }

    pub fn is_connected(&self) -> bool {
        self.session.borrow().is_some()
    }

    /// Who is connected to, if anybody is.
    pub fn remote(&self) -> Option<Remote> {
        self.session.borrow().as_ref().map(|session| session.remote())
    }

    /// Why the peer did not let this node in, when it was asked last; none if it did, or did not answer.
    pub fn refused(&self) -> Option<Refusal> {
        self.refused.get()
    }

    pub fn counts(&self) -> LinkCounts {
        self.counts.get()
    }

    /// Pushes a frame; false if it was dropped, for want of a connection or of room.
    pub fn send(&self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let session = self.session.borrow();
        let mut counts = self.counts.get();
        let taker =
            session.as_ref().filter(|session| session.pending_bytes() < self.options.pending_bytes_max);
        match taker {
            Some(session) => {
                session.push(kind, write);
                self.is_dirty.set(true);
                counts.sent += 1;
            }
            None => counts.dropped += 1,
        }
        self.counts.set(counts);
        taker.is_some()
    }

    /// Gives the socket what was pushed; what it does not take goes as soon as it does.
    pub fn flush(&self) {
        if !self.is_dirty.replace(false) || self.is_clogged.get() {
            return;
        }
        let session = self.session.borrow().clone();
        let Some(session) = session else { return };
        // An error is seen by the task too: it reads from the same socket.
        if !matches!(session.flush(), Ok(true)) {
            self.is_clogged.set(true);
            self.wake.notify_one();
        }
    }

    /// Closes the connection and opens none until the cut is healed.
    pub fn cut(&self, is_cut: bool) {
        self.is_cut.set(is_cut);
        if is_cut {
            self.close();
        }
        self.wake.notify_one();
    }

    /// Ends the lane for good.
    pub fn end(&self) {
        self.is_ended.set(true);
        self.close();
        self.wake.notify_one();
    }

    fn close(&self) {
        if let Some(session) = self.session.take() {
            session.close();
        }
    }

    /// Keeps the lane connected until it is ended.
    pub async fn run(self: Rc<Self>) {
        let mut backoff = BACKOFF_MIN;
        let mut told = String::new();
        while !self.is_ended.get() {
            if self.is_cut.get() {
                self.wake.notified().await;
                continue;
            }
            match self.connect().await {
                Ok(session) => {
                    backoff = BACKOFF_MIN;
                    self.refused.set(None);
                    told.clear();
                    let why = self.serve(session).await;
                    tracing::debug!(link = self.options.label, error = %why, "a connection to a peer ended");
                }
                Err(error) => {
                    let is_refused = !matches!(error, HandshakeError::Io(_));
                    self.refused.set(match error {
                        HandshakeError::Refused(why) => Some(why),
                        _ => None,
                    });
                    let text = error.to_string();
                    if is_refused && text != told {
                        tracing::warn!(link = self.options.label, %error, "a peer cannot be talked to");
                        told = text;
                    }
                    if is_refused {
                        backoff = BACKOFF_REFUSED;
                    }
                }
            }
            self.rest(backoff).await;
            backoff = (backoff * 2).clamp(BACKOFF_MIN, BACKOFF_MAX);
        }
    }

    /// Waits about so long, or until something about the lane changes.
    async fn rest(&self, about: Duration) {
        let spread = self.random.borrow_mut().next_u32() % 256;
        let wait = about / 2 + about * spread / 512;
        crate::select! {
            () = self.clock.sleep(wait) => {}
            () = self.wake.notified() => {}
        }
    }

    async fn connect(&self) -> Result<Rc<Session>, HandshakeError> {
        let connecting = async {
            let address = self.host.resolve(&self.options.host, self.options.port).await?;
            self.host.connect(address).await
        };
        let conn = timeout(CONNECT_TIME_MAX, connecting).await.map_err(io::Error::from)??;
        let mut random = ChaCha8Rng::clone(&self.random.borrow());
        let opened = dial(conn, &self.credentials, self.options.to, self.options.purpose, &mut random).await;
        *self.random.borrow_mut() = random;
        let session = opened?;
        (self.expect)(&session.remote()).map_err(HandshakeError::Refusing)?;
        if self.is_cut.get() || self.is_ended.get() {
            return Err(HandshakeError::Io(io::ErrorKind::ConnectionAborted.into()));
        }
        Ok(Rc::new(session))
    }

    async fn serve(&self, session: Rc<Session>) -> io::Error {
        let mut counts = self.counts.get();
        counts.connected += 1;
        self.counts.set(counts);
        self.is_clogged.set(false);
        self.is_dirty.set(false);
        *self.session.borrow_mut() = Some(Rc::clone(&session));
        let Err(error) = self.attend(&session).await;
        session.close();
        let is_same = self.session.borrow().as_ref().is_some_and(|current| Rc::ptr_eq(current, &session));
        if is_same {
            self.session.take();
        }
        error
    }

    /// Flushes, probes and listens until the connection ends.
    async fn attend(&self, session: &Session) -> io::Result<std::convert::Infallible> {
        let mut probe_at_ns = self.clock.monotonic_ns() + PROBE_NS;
        let mut alive_at_ns = self.clock.monotonic_ns();
        loop {
            crate::select! {
                () = self.wake.notified() => {}
                outcome = session.writable(), if self.is_clogged.get() => {
                    outcome?;
                    let before = session.pending_bytes();
                    self.is_clogged.set(!session.flush()?);
                    if session.pending_bytes() < before {
                        alive_at_ns = self.clock.monotonic_ns();
                    }
                }
                outcome = session.readable() => {
                    outcome?;
                    match session.fill() {
                        Ok(_) => alive_at_ns = self.clock.monotonic_ns(),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(error) => return Err(error),
                    }
                    // The taker of a lane answers probes and says nothing else.
                    while session.next_frame()?.is_some() {}
                }
                () = self.clock.sleep_until(probe_at_ns) => {
                    let now_ns = self.clock.monotonic_ns();
                    if now_ns.saturating_sub(alive_at_ns) > SILENCE_NS_MAX {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    probe_at_ns = now_ns + PROBE_NS;
                    if session.pending_bytes() < self.options.pending_bytes_max {
                        session.push_own(PING);
                        self.is_dirty.set(true);
                        self.flush();
                    }
                }
            }
            if self.is_cut.get() || self.is_ended.get() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
    }
}
