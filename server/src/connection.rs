//! One client's connection: its task, its buffers, its end.
//!
//! Lives here: reading requests into the shard and writing what the gate has released.
//! Not here: what requests mean (`ramkeep-engine`), when replies may leave (`ramkeep-shard`).
//!
//! Replies are written by whoever released them, mostly without waking the connection's task; the
//! task takes over when the socket does not take all at once.

use crate::node::Node;
use ramkeep_engine::session::{Peer, SessionId};
use ramkeep_net::{Conn, Notify};
use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;

/// A connection's own buffer larger than this is given back once it is empty.
const KEPT_BYTES_MAX: usize = 16 << 10;
/// Time to authenticate where a password is set.
const AUTHENTICATION_NS_MAX: u64 = 10_000_000_000;

/// What the node keeps of a connection besides the shard's part.
pub(crate) struct Link {
    pub conn: Conn,
    /// There is something for the task to do: flush the rest, go on reading, close.
    wake: Notify,
    /// Closes once all released bytes are out.
    is_closing: Cell<bool>,
    /// The socket did not take everything: the task waits for it to be writable.
    is_clogged: Cell<bool>,
    /// The shard takes no requests of it for now: a call waits, or too much is withheld.
    is_paused: Cell<bool>,
}

enum Step {
    /// Requests may be left over: give way and go on.
    Again,
    /// All complete requests are done.
    Idle,
    Closed,
}

/// Serves one client until either side ends it.
pub(crate) async fn serve(node: Rc<Node>, conn: Conn) {
    let peer =
        Peer { address: conn.peer_address().to_string(), local_address: conn.local_address().to_string() };
    let link = Rc::new(Link {
        conn,
        wake: Notify::new(),
        is_closing: Cell::new(false),
        is_clogged: Cell::new(false),
        is_paused: Cell::new(false),
    });
    let id = node.with_shard(|shard, now, _| shard.open(peer, now));
    node.links.borrow_mut().insert(id, Rc::clone(&link));
    let mut rest = Vec::new();
    let mut step = Step::Idle;
    loop {
        step = match step {
            Step::Closed => break,
            Step::Again => {
                ramkeep_net::yield_now().await;
                node.take_in(id, &mut rest)
            }
            Step::Idle => wait(&node, &link, id, &mut rest).await,
        };
    }
    node.links.borrow_mut().remove(&id);
    node.with_shard(|shard, _, _| shard.close(id));
}

/// Waits for something to happen on the connection and deals with it.
async fn wait(node: &Rc<Node>, link: &Rc<Link>, id: SessionId, rest: &mut Vec<u8>) -> Step {
    if link.is_closing.get() && !link.is_clogged.get() {
        return Step::Closed;
    }
    let takes_requests = !link.is_closing.get() && !link.is_paused.get();
    ramkeep_net::select! {
        () = link.wake.notified() => {
            // A clogged socket is tried again when it is writable, and never here: it would wake this
            // task once more, for ever and without giving way to anyone.
            if !link.is_clogged.get() {
                node.flush(id);
            }
            let goes_on = link.is_paused.get() && node.shard.borrow().takes_requests(id);
            if goes_on {
                link.is_paused.set(false);
            }
            if goes_on && !rest.is_empty() { Step::Again } else { Step::Idle }
        }
        outcome = link.conn.writable(), if link.is_clogged.get() => match outcome {
            Ok(()) => {
                link.is_clogged.set(false);
                node.flush(id);
                Step::Idle
            }
            Err(_) => Step::Closed,
        },
        outcome = link.conn.readable(), if takes_requests => match outcome {
            Ok(()) => node.read(link, id, rest),
            Err(_) => Step::Closed,
        },
    }
}

impl Node {
    /// Reads what the socket has and executes what is complete in it.
    fn read(self: &Rc<Node>, link: &Link, id: SessionId, rest: &mut Vec<u8>) -> Step {
        if !rest.is_empty() {
            return match link.conn.try_read(rest) {
                Ok(0) => Step::Closed,
                Ok(_) => self.take_in(id, rest),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Step::Idle,
                Err(_) => Step::Closed,
            };
        }
        let mut buffer = std::mem::take(&mut *self.read_buffer.borrow_mut());
        buffer.clear();
        let step = match link.conn.try_read(&mut buffer) {
            Ok(0) => Step::Closed,
            Ok(_) => {
                let (consumed, wanted, step) = self.execute(id, &buffer);
                if consumed < buffer.len() {
                    rest.reserve_exact(buffer.len() - consumed + wanted);
                    rest.extend_from_slice(&buffer[consumed..]);
                    self.check_query_buffer(id, rest.len());
                }
                step
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Step::Idle,
            Err(_) => Step::Closed,
        };
        *self.read_buffer.borrow_mut() = buffer;
        step
    }

    /// Executes what is complete in the connection's own buffer.
    fn take_in(self: &Rc<Node>, id: SessionId, rest: &mut Vec<u8>) -> Step {
        let (consumed, wanted, step) = self.execute(id, rest);
        rest.drain(..consumed);
        if rest.is_empty() {
            rest.shrink_to(KEPT_BYTES_MAX);
        } else {
            rest.reserve(wanted);
            self.check_query_buffer(id, rest.len());
        }
        step
    }

    fn execute(self: &Rc<Node>, id: SessionId, buffer: &[u8]) -> (usize, usize, Step) {
        let received = self.with_shard(|shard, now, outputs| shard.received(id, buffer, now, outputs));
        self.flush(id);
        let is_paused = !self.shard.borrow().takes_requests(id);
        if is_paused && let Some(link) = self.links.borrow().get(&id) {
            link.is_paused.set(true);
        }
        let step = if received.has_more && !is_paused { Step::Again } else { Step::Idle };
        (received.consumed, received.bytes_wanted, step)
    }

    /// Writes what may leave; what the socket does not take is left to the connection's task.
    pub(crate) fn flush(self: &Rc<Node>, id: SessionId) {
        let Some(link) = self.links.borrow().get(&id).cloned() else { return };
        let mut shard = self.shard.borrow_mut();
        loop {
            let released = shard.released(id);
            if released.is_empty() {
                break;
            }
            match link.conn.try_write(released) {
                Ok(sent) => shard.sent(id, sent),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    link.is_clogged.set(true);
                    link.wake.notify_one();
                    break;
                }
                Err(_) => {
                    link.is_closing.set(true);
                    link.is_clogged.set(false);
                    break;
                }
            }
        }
        if shard.is_over_output_limit(id) {
            tracing::warn!(session = id.0, "closing a client: its output buffer is over the limit");
            link.is_closing.set(true);
            link.is_clogged.set(false);
            link.wake.notify_one();
        } else if link.is_closing.get() || (link.is_paused.get() && shard.takes_requests(id)) {
            link.wake.notify_one();
        }
    }

    /// There is room again: connections that waited for it go on.
    pub(crate) fn wake_paused(self: &Rc<Node>) {
        let links = self.links.borrow();
        links.values().filter(|link| link.is_paused.get()).for_each(|link| link.wake.notify_one());
    }

    /// Closes the connection once what was released is out.
    pub(crate) fn close_when_flushed(self: &Rc<Node>, id: SessionId) {
        self.flush(id);
        if let Some(link) = self.links.borrow().get(&id) {
            link.is_closing.set(true);
            link.wake.notify_one();
        }
    }

    fn check_query_buffer(self: &Rc<Node>, id: SessionId, bytes: usize) {
        let mut shard = self.shard.borrow_mut();
        let is_over = bytes as u64 > shard.engine.config.settings().query_buffer_bytes_max;
        if is_over {
            shard.engine.stats.query_buffer_limit_disconnections += 1;
            drop(shard);
            tracing::warn!(session = id.0, bytes, "closing a client: its query buffer is over the limit");
            self.close_when_flushed(id);
        }
    }

    /// Closes connections that were idle or unauthenticated for too long.
    pub(crate) fn sweep(self: &Rc<Node>) {
        let now_ns = self.clock.monotonic_ns();
        let late: Vec<SessionId> = {
            let shard = self.shard.borrow();
            let idle_ns_max = u64::from(shard.engine.config.settings().timeout_s) * 1_000_000_000;
            let is_late = |session: &&ramkeep_engine::session::Session| {
                let idle_ns = now_ns.saturating_sub(session.last_command_at.monotonic_ns);
                let age_ns = now_ns.saturating_sub(session.connected_at.monotonic_ns);
                (idle_ns_max > 0 && idle_ns > idle_ns_max && session.blocked.is_none())
                    || (!session.is_authenticated && age_ns > AUTHENTICATION_NS_MAX)
            };
            shard.engine.sessions.iter().filter(is_late).map(|session| session.id).collect()
        };
        late.into_iter().for_each(|id| self.close_when_flushed(id));
    }
}
