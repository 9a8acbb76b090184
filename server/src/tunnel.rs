//! Any node serves any client: one that does not lead carries the connection through to the primary.
//!
//! Lives here: where a connection is served, and the carrying. Not here: the primary's end, which is a connection like
//! others (`wire`, `connection`), and which calls wait for a primary (`ramkeep-shard`).
//!
//! A connection begins here or, where another leads, there: with its first command, unless that one speaks of this very
//! node ([`LOCAL`]). From then on it moves as long as nothing of it is under way: from here to the primary when its
//! next call needs one, with the bytes of that call, which nobody has executed; and back when the primary is gone, when
//! READONLY asked for this node, or when the next command speaks of this node. It takes its [`Profile`] along:
//! database, user, name, protocol, CLIENT settings.
//!
//! What goes to the client waits here in a bounded buffer, and reading from it goes on meanwhile: a client may send all
//! its calls before it reads a reply.
//!
//! Invariant: a byte that was sent to one primary is never sent to another. A connection with a call in flight, a
//! transaction or a watch ends with its primary.

use crate::connection::{self, Ended, Standing};
use crate::node::Node;
use crate::peers::{self, Peers, purpose};
use crate::profile;
use ramkeep_engine::session::Profile;
use ramkeep_log::{NodeId, Replica};
use ramkeep_net::Conn;
use ramkeep_net::peer::Session;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// First frame, to the primary: the length of the client's address in two bytes, the address, the profile if the
/// connection has one already.
const CLIENT: u8 = 1;
/// A client's bytes, either way.
pub(crate) const DATA: u8 = 2;
/// From the primary: so many of the client's bytes (eight bytes, little-endian) are done with and answered, and nothing
/// is under way; then the profile, where it has changed. Its first says that the connection is taken.
pub(crate) const IDLE: u8 = 3;
/// From the primary: the connection ends for good.
pub(crate) const END: u8 = 4;

/// Commands about the node that the client connected to: they are executed here, wherever the connection is.
const LOCAL: &[&str] = &[
    "readonly", "ramkeep", "info", "role", "config", "debug", "shutdown", "slowlog", "latency", "bgsave",
    "save", "lastsave",
];
/// A command whose name does not end within so many bytes is for the primary to refuse.
const NAME_BYTES_MAX: usize = 64;
/// A first command is waited for no longer.
const FIRST_TIME_MAX: Duration = Duration::from_secs(30);
/// What may be about this node waits no longer for the word that nothing is under way: behind MULTI, a watch or a call
/// that takes its time it goes to the primary with the rest.
const HELD_TIME_MAX: Duration = Duration::from_millis(20);
/// How often it is looked at meanwhile.
const HELD_STEP: Duration = Duration::from_millis(2);
/// How often a tunnel looks whether its primary still is the primary.
const LOOK: Duration = Duration::from_millis(50);
/// Between two attempts to reach a primary.
const RETRY: Duration = Duration::from_millis(20);
const PIECE_BYTES: usize = 64 << 10;
/// Bytes on the way to one end above which no more are read from the other.
const PENDING_BYTES_MAX: usize = 256 << 10;
/// Either end says its first word within this.
const FIRST_FRAME_TIME_MAX: Duration = Duration::from_secs(2);

/// Serves a client, here or through the primary, until either side ends it.
pub(crate) async fn serve(node: Rc<Node>, mut conn: Conn) {
    let mut standing = Standing::default();
    let mut is_for_primary = false;
    if node.peers().is_some() && !node.shard.borrow().is_leading() {
        let waiting = Elsewhere::count(&node);
        let first = ramkeep_net::timeout(FIRST_TIME_MAX, first_command(&conn, &mut standing.bytes)).await;
        drop(waiting);
        is_for_primary = match first {
            Ok(Ok(is_local)) => !is_local,
            Ok(Err(_)) => return,
            // It says nothing: it is here until its first call needs a primary.
            Err(_) => false,
        };
    }
    let mut failing_since_ns = None;
    loop {
        if is_for_primary
            && let Some(peers) = node.peers().cloned()
            && let Some(primary) = leader(&node).filter(|leader| *leader != peers.me())
        {
            let elsewhere = Elsewhere::count(&node);
            let carried = carry(&node, &peers, primary, &conn, standing).await;
            drop(elsewhere);
            standing = match carried {
                Carried::Ended => return,
                Carried::Back(standing) => {
                    failing_since_ns = None;
                    *standing
                }
                Carried::NotTaken(standing) => {
                    // A primary that is lost and not yet replaced: the call waits, as it would without a primary.
                    let now_ns = node.clock.monotonic_ns();
                    let since_ns = *failing_since_ns.get_or_insert(now_ns);
                    let wait_ms = node.shard.borrow().engine.config.settings().unavailable_wait_ms;
                    let has_waited = now_ns - since_ns > u64::from(wait_ms) * 1_000_000;
                    match has_waited {
                        true => failing_since_ns = None,
                        false => ramkeep_net::sleep(RETRY).await,
                    }
                    Standing { has_waited, ..*standing }
                }
            };
        }
        match connection::serve(Rc::clone(&node), conn, standing).await {
            Ended::Closed => return,
            Ended::Leaves(same, now) => (conn, standing) = (same, *now),
        }
        is_for_primary = true;
    }
}

/// A client that counts though it has no session here.
struct Elsewhere<'n>(&'n Node);

impl<'n> Elsewhere<'n> {
    fn count(node: &'n Node) -> Self {
        node.clients_elsewhere.set(node.clients_elsewhere.get() + 1);
        Self(node)
    }
}

impl Drop for Elsewhere<'_> {
    fn drop(&mut self) {
        self.0.clients_elsewhere.set(self.0.clients_elsewhere.get() - 1);
    }
}

/// Reads until the first command's name is known. True if it is about this node.
async fn first_command(conn: &Conn, bytes: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        if conn.read(bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match front(bytes) {
            Front::Local => return Ok(true),
            Front::Other => return Ok(false),
            Front::Open => {}
        }
    }
}

/// What stands at the front of a client's bytes, if a command begins there.
#[derive(Debug, PartialEq, Eq)]
enum Front {
    /// One about this node.
    Local,
    Other,
    /// Its name has not come yet.
    Open,
}

fn front(bytes: &[u8]) -> Front {
    let beginning = &bytes[..bytes.len().min(NAME_BYTES_MAX)];
    match name_of_first(beginning) {
        Some(name) if LOCAL.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name)) => Front::Local,
        None if bytes.len() < NAME_BYTES_MAX => Front::Open,
        _ => Front::Other,
    }
}

/// Name of the command at the front; `None` until enough has come.
fn name_of_first(bytes: &[u8]) -> Option<&[u8]> {
    let line = |from: usize| {
        let rest = &bytes[from..];
        rest.iter().position(|byte| *byte == b'\n').map(|end| (rest[..end].trim_ascii(), from + end + 1))
    };
    let (first, next) = line(0)?;
    if first.first() != Some(&b'*') {
        return Some(first.split(u8::is_ascii_whitespace).next().unwrap_or_default());
    }
    let (_, next) = line(next)?;
    line(next).map(|(name, _)| name)
}

fn leader(node: &Node) -> Option<NodeId> {
    node.shard.borrow().replica().and_then(Replica::leader)
}

/// How the carrying ended.
enum Carried {
    /// The connection is over.
    Ended,
    /// The primary never took it: nothing was sent.
    NotTaken(Box<Standing>),
    /// Nothing is under way: it can go on elsewhere.
    Back(Box<Standing>),
}

/// Carries bytes both ways until either end closes or the primary changes.
async fn carry(
    node: &Rc<Node>,
    peers: &Rc<Peers>,
    primary: NodeId,
    conn: &Conn,
    standing: Standing,
) -> Carried {
    let session = match begin(peers, primary, conn, &standing).await {
        Ok(session) => session,
        Err(error) => {
            tracing::debug!(%error, "the primary does not take a client");
            return Carried::NotTaken(Box::new(standing));
        }
    };
    let mut tunnel = Tunnel {
        node,
        peers,
        primary,
        conn,
        session: &session,
        sent: 0,
        done: 0,
        replies: Vec::new(),
        held: Vec::new(),
        held_until_ns: 0,
        profile: standing.profile,
        is_over: false,
    };
    // It goes to the primary whatever it is: this node had it and could not execute it.
    tunnel.send(&standing.bytes);
    let outcome = tunnel.run().await;
    let Tunnel { sent, done, replies, held, profile, is_over, .. } = tunnel;
    session.close();
    // What the primary has answered is the client's, also where the primary is gone.
    if matches!(outcome, Ok(Why::ClientLeft)) || conn.write_all(&replies).await.is_err() {
        return Carried::Ended;
    }
    match is_over || sent != done {
        true => Carried::Ended,
        false => Carried::Back(Box::new(Standing { profile, bytes: held, ..Standing::default() })),
    }
}

/// Opens the way to the primary; it has taken the connection when this returns.
async fn begin(
    peers: &Rc<Peers>,
    primary: NodeId,
    conn: &Conn,
    standing: &Standing,
) -> io::Result<peers::Call> {
    let session = peers.call(primary.node(), purpose::TUNNEL).await.map_err(io::Error::other)?;
    let address = conn.peer_address().to_string();
    session.push(CLIENT, |body| {
        body.extend_from_slice(&(address.len() as u16).to_le_bytes());
        body.extend_from_slice(address.as_bytes());
        if let Some(profile) = &standing.profile {
            profile::encode(profile, body);
        }
    });
    let frame = session.receive_within(FIRST_FRAME_TIME_MAX).await?;
    if frame.kind != IDLE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(session)
}

/// A connection under way to the primary and back.
struct Tunnel<'t> {
    node: &'t Rc<Node>,
    peers: &'t Peers,
    primary: NodeId,
    conn: &'t Conn,
    session: &'t Session,
    /// Bytes of the client sent to the primary, and how many of them are done with.
    sent: u64,
    done: u64,
    /// Bytes of the primary that the client has not taken.
    replies: Vec<u8>,
    /// Bytes of the client that may be about this node, and until when they wait.
    held: Vec<u8>,
    held_until_ns: u64,
    profile: Option<Profile>,
    /// The primary has ended it for good.
    is_over: bool,
}

/// Why the carrying stopped.
enum Why {
    ClientLeft,
    /// The primary closed it, changed, or has it go home.
    PrimaryLeft,
    /// What the client says next is about this node.
    Local,
}

impl Tunnel<'_> {
    fn send(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(PIECE_BYTES) {
            self.session.push(DATA, |body| body.extend_from_slice(piece));
        }
        self.sent += bytes.len() as u64;
    }

    async fn run(&mut self) -> io::Result<Why> {
        let (conn, session) = (self.conn, self.session);
        let mut buffer = Vec::with_capacity(PIECE_BYTES);
        let mut look_at_ns = 0;
        loop {
            let is_flushed = session.flush()?;
            if self.give_client().is_err() {
                return Ok(Why::ClientLeft);
            }
            let reads_client =
                session.pending_bytes() < PENDING_BYTES_MAX && front(&self.held) == Front::Open;
            let step = if self.held.is_empty() { LOOK } else { HELD_STEP };
            ramkeep_net::select! {
                outcome = session.readable(), if self.replies.len() < PENDING_BYTES_MAX => {
                    outcome?;
                    let has_ended = match session.fill() {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => true,
                        outcome => outcome.map(|_| false)?,
                    };
                    self.take_frames()?;
                    if has_ended || self.is_over || self.goes_home() {
                        return Ok(Why::PrimaryLeft);
                    }
                }
                outcome = session.writable(), if !is_flushed => outcome?,
                outcome = conn.writable(), if !self.replies.is_empty() => outcome?,
                outcome = conn.readable(), if reads_client => {
                    outcome?;
                    buffer.clear();
                    match conn.try_read(&mut buffer) {
                        Ok(0) => return Ok(Why::ClientLeft),
                        Ok(_) => self.take_in(&buffer),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(_) => return Ok(Why::ClientLeft),
                    }
                }
                () = ramkeep_net::sleep(step) => {}
            }
            if self.settle_held() {
                return Ok(Why::Local);
            }
            let now_ns = self.node.clock.monotonic_ns();
            if now_ns >= look_at_ns {
                look_at_ns = now_ns + LOOK.as_nanos() as u64;
                if leader(self.node) != Some(self.primary) || self.peers.is_cut(self.primary.node()) {
                    return Ok(Why::PrimaryLeft);
                }
            }
        }
    }

    /// The client takes of its replies what it takes at once.
    fn give_client(&mut self) -> io::Result<()> {
        let mut given = 0;
        while given < self.replies.len() {
            match self.conn.try_write(&self.replies[given..]) {
                Ok(count) => given += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.replies.drain(..given);
        Ok(())
    }

    /// The client's next bytes go to the primary, unless they may be about this node.
    fn take_in(&mut self, bytes: &[u8]) {
        if self.held.is_empty() {
            if front(bytes) == Front::Other {
                return self.send(bytes);
            }
            self.held_until_ns = self.node.clock.monotonic_ns() + HELD_TIME_MAX.as_nanos() as u64;
        }
        self.held.extend_from_slice(bytes);
    }

    /// Whether what is held is about this node and nothing else is under way; what is not to be held goes to the primary.
    fn settle_held(&mut self) -> bool {
        if self.held.is_empty() {
            return false;
        }
        let goes_on = match front(&self.held) {
            Front::Local if self.sent == self.done => return true,
            Front::Local | Front::Open => self.node.clock.monotonic_ns() >= self.held_until_ns,
            Front::Other => true,
        };
        if goes_on {
            let held = std::mem::take(&mut self.held);
            self.send(&held);
        }
        false
    }

    /// Hands on what came from the primary.
    fn take_frames(&mut self) -> io::Result<()> {
        while let Some(frame) = self.session.next_frame()? {
            match frame.kind {
                DATA => self.replies.extend_from_slice(&frame.body),
                IDLE => {
                    let (count, rest) = frame.body.split_first_chunk().ok_or(io::ErrorKind::InvalidData)?;
                    self.done = u64::from_le_bytes(*count);
                    if !rest.is_empty() {
                        self.profile = Some(profile::decode(rest).ok_or(io::ErrorKind::InvalidData)?);
                    }
                }
                END => self.is_over = true,
                _ => {}
            }
        }
        Ok(())
    }

    /// The client said READONLY: it wants to read at the node that it connected to.
    fn goes_home(&self) -> bool {
        self.sent == self.done && self.profile.as_ref().is_some_and(|profile| profile.reads_replica)
    }
}

/// The primary's end: a client that is connected to another node.
pub(crate) async fn take(node: &Rc<Node>, session: Rc<Session>) -> io::Result<()> {
    let frame = session.receive_within(FIRST_FRAME_TIME_MAX).await?;
    let client = (frame.kind == CLIENT).then(|| client_of(&frame.body)).flatten();
    let Some((address, profile)) = client.filter(|_| node.shard.borrow().is_leading()) else {
        // The node that carries has sent nothing of its client yet.
        session.close();
        return Ok(());
    };
    if node.is_full() {
        session.push(IDLE, |body| body.extend_from_slice(&0_u64.to_le_bytes()));
        session.push(DATA, |body| body.extend_from_slice(b"-ERR max number of clients reached\r\n"));
        session.send(END, &[]).await?;
        session.close();
        return Ok(());
    }
    connection::serve_tunnel(Rc::clone(node), session, address, profile).await;
    Ok(())
}

/// Address and profile of a [`CLIENT`] frame.
fn client_of(body: &[u8]) -> Option<(String, Option<Profile>)> {
    let (length, rest) = body.split_first_chunk()?;
    let (address, rest) = rest.split_at_checked(u16::from_le_bytes(*length) as usize)?;
    let profile = if rest.is_empty() { None } else { Some(profile::decode(rest)?) };
    Some((String::from_utf8_lossy(address).into_owned(), profile))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_commands_name_is_found_as_soon_as_it_is_there() {
        for (bytes, name) in [
            (&b"*1\r\n$8\r\nREADONLY\r\n"[..], Some(&b"READONLY"[..])),
            (b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", Some(b"GET")),
            (b"*2\r\n$3\r\nGE", None),
            (b"*2\r\n", None),
            (b"", None),
            (b"info all\r\n", Some(b"info")),
            (b"PING\n", Some(b"PING")),
            (b"\r\n", Some(b"")),
            (b"PIN", None),
        ] {
            assert_eq!(name_of_first(bytes), name, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn what_is_about_this_node_is_told_from_all_else_and_from_what_has_not_come() {
        for (bytes, expected) in [
            (&b"*2\r\n$6\r\nconfig\r\n$3\r\nGET\r\n"[..], Front::Local),
            (b"ROLE\r\n", Front::Local),
            (b"*2\r\n$3\r\nGET\r\n$4\r\ninfo\r\n", Front::Other),
            (b"*1\r\n$4\r\nin", Front::Open),
            (b"", Front::Open),
            (&[b'x'; NAME_BYTES_MAX], Front::Other),
        ] {
            assert_eq!(front(bytes), expected, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn what_introduces_a_client_is_read_or_refused() {
        assert_eq!(client_of(b"\x03\0abc"), Some(("abc".into(), None)));
        for bad in [&b""[..], b"\x03", b"\x03\0ab", b"\x03\0abcx"] {
            assert_eq!(client_of(bad), None);
        }
    }
}
