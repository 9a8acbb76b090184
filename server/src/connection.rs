//! One client's connection: its task, its buffers, its end.
//!
//! Lives here: waiting for bytes and writing what the gate has released.
//! Not here: what is read in one round, and its execution (`round`), what requests mean (`ramkeep-engine`), when
//! replies may leave (`ramkeep-shard`), where a connection goes that leaves this node (`tunnel`).
//!
//! Replies are written by whoever released them, mostly without waking the connection's task; the
//! task takes over when the socket does not take all at once.

use crate::node::Node;
use crate::wire::{TunnelEnd, Wire};
use ramkeep_engine::Blocked;
use ramkeep_engine::session::{Peer, Profile, SessionId};
use ramkeep_net::peer::Session;
use ramkeep_net::{Conn, Signal};
use ramkeep_shard::{Sent, Shard};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::task::{Context, Poll};

/// Time to authenticate where a password is set.
const AUTHENTICATION_NS_MAX: u64 = 10_000_000_000;

/// Bytes that wait for a client that has not given the password, and does not read.
const STRANGER_OUTPUT_BYTES_MAX: usize = 4 << 10;

fn is_stranger(shard: &Shard, id: SessionId) -> bool {
    shard.engine.sessions.get(id).is_some_and(|session| !session.is_authenticated)
}

/// A node that carries clients and is not heard for so long carries none any more.
const CARRIER_SILENCE_NS_MAX: u64 = 10_000_000_000;

/// What the node keeps of a connection besides the shard's part.
pub(crate) struct Link {
    pub id: SessionId,
    pub conn: Wire,
    /// What was read and is no complete request yet, or could not be executed yet.
    pub rest: RefCell<Vec<u8>>,
    /// There is something for the task to do: flush the rest, go on reading, close.
    pub wake: Signal,
    /// Complete requests may stand in `rest`.
    pub has_more: Cell<bool>,
    /// The shard takes no requests of it for now: a call waits, or too much is withheld.
    pub is_paused: Cell<bool>,
    /// Bytes of it wait in the round, or are being executed.
    pub has_arrived: Cell<bool>,
    /// Closes once all released bytes are out.
    is_closing: Cell<bool>,
    /// The socket did not take everything: the task waits for it to be writable.
    is_clogged: Cell<bool>,
    /// Nothing more can be written, or shall be.
    is_broken: Cell<bool>,
    /// Its next call waits for a primary elsewhere.
    is_leaving: Cell<bool>,
    /// This node does not lead any more: the node that carries the client may go on with it elsewhere.
    is_sent_away: Cell<bool>,
}

/// A connection as it begins here: what its client has set elsewhere, and bytes that were read and not executed.
#[derive(Default)]
pub(crate) struct Standing {
    pub profile: Option<Profile>,
    pub bytes: Vec<u8>,
    /// Its first call has waited for a primary for as long as it may.
    pub has_waited: bool,
}

/// How a connection ended here.
pub(crate) enum Ended {
    Closed,
    /// It goes on at the primary, with the call that waits for it.
    Leaves(Conn, Box<Standing>),
}

/// What a connection's task has to see to.
enum Event {
    Woken,
    Writable(io::Result<()>),
    Readable(io::Result<()>),
}

/// What the connection's task does next.
pub(crate) enum Step {
    /// Requests may be left over: give way and go on.
    Again,
    /// A large part of what the socket had was taken in: others that have become ready come first.
    GiveWay,
    /// All complete requests are done, or wait in the round.
    Idle,
    Leaves,
    Closed,
}

/// Serves one client until either side ends it, or it leaves for the primary.
pub(crate) async fn serve(node: Rc<Node>, conn: Conn, standing: Standing) -> Ended {
    serve_wire(node, Wire::Socket(conn), standing).await
}

/// As [`serve`], for a client that is connected to another node.
pub(crate) async fn serve_tunnel(
    node: Rc<Node>,
    session: Rc<Session>,
    address: String,
    profile: Option<Profile>,
) {
    let standing = Standing { profile, ..Standing::default() };
    serve_wire(node, Wire::Tunnel(TunnelEnd::new(session, address)), standing).await;
}

async fn serve_wire(node: Rc<Node>, conn: Wire, standing: Standing) -> Ended {
    let (address, local_address) = conn.addresses();
    let peer = Peer { address, local_address };
    let id = node.with_shard(|shard, now, _| match standing.profile {
        Some(profile) => shard.open_again(peer, profile, standing.has_waited, now),
        None => shard.open(peer, now),
    });
    let link = Rc::new(Link {
        id,
        conn,
        rest: RefCell::new(standing.bytes),
        wake: Signal::new(),
        has_more: Cell::new(false),
        is_paused: Cell::new(false),
        has_arrived: Cell::new(false),
        is_closing: Cell::new(false),
        is_clogged: Cell::new(false),
        is_broken: Cell::new(false),
        is_leaving: Cell::new(false),
        is_sent_away: Cell::new(false),
    });
    node.links.borrow_mut().insert(id, Rc::clone(&link));
    let left = drive(&node, &link).await;
    // Requests that wait in the round were received before the end, and are executed.
    if link.has_arrived.get() {
        node.run_round();
    }
    node.links.borrow_mut().remove(&id);
    node.with_shard(|shard, _, _| shard.close(id));
    let Some(standing) = left else {
        if let Wire::Tunnel(end) = &link.conn
            && !link.is_sent_away.get()
        {
            end.tell_end();
        }
        return Ended::Closed;
    };
    match Rc::into_inner(link).map(|link| link.conn) {
        Some(Wire::Socket(conn)) => Ended::Leaves(conn, Box::new(standing)),
        // Only sockets leave; a carried client's own node takes it elsewhere.
        _ => Ended::Closed,
    }
}

/// Serves the connection to its end here; what it takes along if it leaves.
async fn drive(node: &Rc<Node>, link: &Rc<Link>) -> Option<Standing> {
    let mut step = match &link.conn {
        _ if !link.rest.borrow().is_empty() => node.take_in(link),
        Wire::Tunnel(_) => {
            // Says that the client is taken.
            node.flush_link(link);
            Step::Idle
        }
        Wire::Socket(_) => Step::Idle,
    };
    loop {
        step = match step {
            Step::Closed => return None,
            Step::Leaves => {
                let profile = node.shard.borrow().leaves(link.id);
                match profile {
                    Some(profile) => {
                        return Some(Standing {
                            profile: Some(profile),
                            bytes: link.rest.take(),
                            has_waited: false,
                        });
                    }
                    None => Step::Idle,
                }
            }
            Step::Again => {
                ramkeep_net::yield_now().await;
                node.take_in(link)
            }
            Step::GiveWay => {
                ramkeep_net::yield_now().await;
                Step::Idle
            }
            Step::Idle if link.is_closing.get() && !link.has_unsent() => Step::Closed,
            Step::Idle => match poll_fn(|context| link.poll_event(context)).await {
                Event::Woken => node.woken(link),
                Event::Writable(Ok(())) => {
                    link.is_clogged.set(false);
                    node.flush_link(link);
                    Step::Idle
                }
                Event::Readable(Ok(())) => node.read(link),
                Event::Writable(Err(_)) | Event::Readable(Err(_)) => Step::Closed,
            },
        };
    }
}

impl Link {
    fn poll_event(&self, context: &mut Context<'_>) -> Poll<Event> {
        if self.wake.poll(context).is_ready() {
            return Poll::Ready(Event::Woken);
        }
        if self.has_unsent()
            && let Poll::Ready(outcome) = self.conn.poll_writable(context)
        {
            return Poll::Ready(Event::Writable(outcome));
        }
        if self.takes_requests() {
            return self.conn.poll_readable(context).map(Event::Readable);
        }
        Poll::Pending
    }

    /// Whether bytes wait for the socket to take them.
    fn has_unsent(&self) -> bool {
        !self.is_broken.get() && (self.is_clogged.get() || self.conn.has_rest())
    }

    fn is_socket(&self) -> bool {
        matches!(self.conn, Wire::Socket(_))
    }

    pub fn takes_requests(&self) -> bool {
        !self.is_closing.get() && !self.is_paused.get()
    }
}

impl Node {
    /// The connection's task was woken: something was released, room was made, or requests are left over.
    fn woken(self: &Rc<Node>, link: &Rc<Link>) -> Step {
        // A clogged socket is tried again when it is writable, and never here: it would wake this task once more,
        // for ever and without giving way to anyone.
        if !link.is_clogged.get() {
            self.flush_link(link);
        }
        if link.is_paused.get() && self.shard.borrow().takes_requests(link.id) {
            link.is_paused.set(false);
            link.has_more.set(!link.rest.borrow().is_empty());
        }
        if link.is_leaving.take() && link.is_socket() && !link.is_closing.get() && !link.has_arrived.get() {
            return Step::Leaves;
        }
        if !link.is_paused.get() && link.has_more.take() { Step::Again } else { Step::Idle }
    }

    /// Writes what may leave; what the socket does not take is left to the connection's task.
    pub(crate) fn flush(self: &Rc<Node>, id: SessionId) {
        let link = self.links.borrow().get(&id).cloned();
        if let Some(link) = link {
            self.flush_link(&link);
        }
    }

    /// Sends what may leave; gives whether anything did.
    pub(crate) fn flush_link(self: &Rc<Node>, link: &Link) -> bool {
        if link.is_broken.get() {
            return false;
        }
        let mut shard = self.shard.borrow_mut();
        let mut has_sent = false;
        let sent = shard.send(link.id, |bytes| {
            has_sent = true;
            link.conn.try_write(bytes).map_err(|error| match error.kind() {
                ErrorKind::WouldBlock => Sent::Clogged,
                _ => Sent::Broken,
            })
        });
        match sent {
            Sent::All => {
                if let Wire::Tunnel(end) = &link.conn
                    && link.rest.borrow().is_empty()
                    && !link.has_arrived.get()
                    && !link.is_closing.get()
                    && let Some(profile) = shard.idle_profile(link.id)
                {
                    end.tell_idle(profile);
                }
            }
            Sent::Clogged
                if is_stranger(&shard, link.id)
                    && shard.released(link.id).len() > STRANGER_OUTPUT_BYTES_MAX =>
            {
                tracing::warn!(
                    session = link.id.0,
                    "closing a client: it does not read, nor give the password"
                );
                link.is_closing.set(true);
                link.is_broken.set(true);
            }
            Sent::Clogged => {
                if !link.is_clogged.replace(true) {
                    link.wake.set();
                }
                return has_sent;
            }
            Sent::Broken => {
                link.is_closing.set(true);
                link.is_broken.set(true);
            }
            Sent::OverLimit => {
                tracing::warn!(session = link.id.0, "closing a client: its output buffer is over the limit");
                link.is_closing.set(true);
                link.is_broken.set(true);
            }
        }
        // With bytes left over the task waits for the socket: woken, it would come here again and again.
        if (link.is_closing.get() && !link.has_unsent())
            || (link.is_paused.get() && shard.takes_requests(link.id))
        {
            link.wake.set();
        }
        has_sent
    }

    /// The session's next call waits for a primary elsewhere: its task sees to it.
    pub(crate) fn leave(&self, id: SessionId) {
        if let Some(link) = self.links.borrow().get(&id) {
            link.is_leaving.set(true);
            link.wake.set();
        }
    }

    /// This node does not lead any more: clients of other nodes go back to those. Its own stay until their next call
    /// needs a primary.
    pub(crate) fn send_carried_away(self: &Rc<Node>) {
        let links = self.links.borrow();
        let carried: Vec<SessionId> =
            links.values().filter(|link| !link.is_socket()).map(|link| link.id).collect();
        drop(links);
        carried.into_iter().for_each(|id| self.send_away(id));
    }

    /// As [`Node::send_carried_away`], for one. Who waits for an answer of the node itself gets it before: it may have
    /// asked for the very change.
    pub(crate) fn send_away(self: &Rc<Node>, id: SessionId) {
        let stays = {
            let shard = self.shard.borrow();
            let blocked = shard.engine.sessions.get(id).and_then(|session| session.blocked.as_ref());
            let is_here = self.links.borrow().get(&id).is_none_or(|link| link.is_socket());
            is_here || blocked == Some(&Blocked::Action) || shard.is_leading()
        };
        if !stays {
            if let Some(link) = self.links.borrow().get(&id) {
                link.is_sent_away.set(true);
            }
            self.close_when_flushed(id);
        }
    }

    /// There is room again: connections that waited for it go on.
    pub(crate) fn wake_paused(self: &Rc<Node>) {
        let links = self.links.borrow();
        links.values().filter(|link| link.is_paused.get()).for_each(|link| link.wake.set());
    }

    /// Closes the connection once what was released is out.
    pub(crate) fn close_when_flushed(self: &Rc<Node>, id: SessionId) {
        self.flush(id);
        if let Some(link) = self.links.borrow().get(&id) {
            link.is_closing.set(true);
            link.wake.set();
        }
    }

    /// Closes the connection with what the socket takes now: a client that reads nothing does not keep it open.
    pub(crate) fn close_now(self: &Rc<Node>, id: SessionId) {
        self.flush(id);
        if let Some(link) = self.links.borrow().get(&id) {
            link.is_closing.set(true);
            link.is_broken.set(true);
            link.wake.set();
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
                (idle_ns_max > 0 && idle_ns > idle_ns_max && session.blocked.is_none() && !session.is_monitor)
                    || (!session.is_authenticated && age_ns > AUTHENTICATION_NS_MAX)
            };
            shard.engine.sessions.iter().filter(is_late).map(|session| session.id).collect()
        };
        late.into_iter().for_each(|id| self.close_when_flushed(id));
        self.sweep_carried(now_ns);
    }

    /// Closes what silent nodes carry: they have long let their clients go, and no socket says so.
    fn sweep_carried(self: &Rc<Node>, now_ns: u64) {
        let silent: Vec<SessionId> = {
            let shard = self.shard.borrow();
            let Some(replica) = shard.replica() else { return };
            let is_silent = |link: &&Rc<Link>| {
                let Some(heard_ns) = link.conn.carrier().and_then(|carrier| replica.heard_ns(carrier)) else {
                    return false;
                };
                // A primary that is new has not heard all yet.
                let opened_ns = shard.engine.sessions.get(link.id).map(|it| it.connected_at.monotonic_ns);
                let since_ns = heard_ns.max(opened_ns.unwrap_or(now_ns));
                now_ns.saturating_sub(since_ns) > CARRIER_SILENCE_NS_MAX
            };
            self.links.borrow().values().filter(is_silent).map(|link| link.id).collect()
        };
        silent.into_iter().for_each(|id| self.close_now(id));
    }
}
