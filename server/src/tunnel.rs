//! Any node serves any client: one that does not lead carries the connection through to the primary.
//!
//! Lives here: which connections are carried, and the carrying. Not here: the primary's end, which is a connection
//! like others (`wire`, `connection`).
//!
//! A connection is decided on once, at its first command: one that speaks of this very node ([`LOCAL`]), READONLY
//! among them, stays; every other goes to the primary with all its bytes, the first included, so the primary
//! authenticates and knows database, name and protocol. When the primary changes the tunnel closes, and the client
//! with it: a byte sent to one primary is never sent to another.

use crate::connection;
use crate::node::Node;
use crate::peers::{Peers, purpose};
use ramkeep_log::{NodeId, Replica};
use ramkeep_net::Conn;
use ramkeep_net::peer::Session;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// First frame: the client's address.
const CLIENT: u8 = 1;
/// A client's bytes, either way.
pub(crate) const DATA: u8 = 2;

/// Commands about the node that the client connected to: as the first of a connection they keep it here.
const LOCAL: &[&str] =
    &["readonly", "ramkeep", "info", "role", "config", "debug", "shutdown", "slowlog", "latency"];
/// A first command longer than this is for the primary to refuse.
const FIRST_BYTES_MAX: usize = 64;
/// A client that says nothing at all for so long is closed.
const FIRST_TIME_MAX: Duration = Duration::from_secs(30);
/// How often a tunnel looks whether its primary still is the primary.
const LOOK: Duration = Duration::from_millis(50);
const PIECE_BYTES: usize = 64 << 10;
/// Bytes on the way to the primary above which no more are read from the client.
const PENDING_BYTES_MAX: usize = 256 << 10;
const ADDRESS_TIME_MAX: Duration = Duration::from_secs(2);

/// Serves a client here or through the primary.
pub(crate) async fn serve(node: Rc<Node>, conn: Conn) {
    let Some(peers) = node.peers().cloned() else { return connection::serve(node, conn).await };
    if node.shard.borrow().is_leading() {
        return connection::serve(node, conn).await;
    }
    let mut first = Vec::with_capacity(PIECE_BYTES);
    let is_local = match ramkeep_net::timeout(FIRST_TIME_MAX, first_command(&conn, &mut first)).await {
        Ok(Ok(is_local)) => is_local,
        _ => return,
    };
    if !is_local && let Some(primary) = primary(&node, &peers).await {
        match carry(&node, &peers, primary, &conn, &first).await {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "a client's way to the primary ended"),
        }
        return;
    }
    connection::serve_from(node, conn, first, is_local).await;
}

/// Reads until the first command's name is known. True if it is about this node.
async fn first_command(conn: &Conn, bytes: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        if conn.read(bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(name) = name_of_first(bytes) {
            return Ok(LOCAL.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name)));
        }
        if bytes.len() > FIRST_BYTES_MAX {
            return Ok(false);
        }
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

/// The primary, once there is one; this node when it leads itself by then, or nobody does in time.
async fn primary(node: &Rc<Node>, peers: &Peers) -> Option<NodeId> {
    let wait_ms = node.shard.borrow().engine.config.settings().unavailable_wait_ms;
    let until_ns = node.clock.monotonic_ns() + u64::from(wait_ms) * 1_000_000;
    loop {
        if node.shard.borrow().is_leading() {
            return None;
        }
        let leader = leader(node).filter(|leader| *leader != peers.me());
        if leader.is_some() || node.clock.monotonic_ns() >= until_ns {
            return leader;
        }
        ramkeep_net::sleep(LOOK / 5).await;
    }
}

fn leader(node: &Node) -> Option<NodeId> {
    node.shard.borrow().replica().and_then(Replica::leader)
}

/// Carries bytes both ways until either end closes or the primary changes.
async fn carry(
    node: &Rc<Node>,
    peers: &Rc<Peers>,
    primary: NodeId,
    conn: &Conn,
    first: &[u8],
) -> io::Result<()> {
    let session = peers.call(primary.node(), purpose::TUNNEL).await.map_err(io::Error::other)?;
    session.push(CLIENT, |buffer| buffer.extend_from_slice(conn.peer_address().to_string().as_bytes()));
    session.push(DATA, |buffer| buffer.extend_from_slice(first));
    let outcome = carry_on(node, peers, primary, conn, &session).await;
    session.close();
    outcome
}

async fn carry_on(
    node: &Rc<Node>,
    peers: &Peers,
    primary: NodeId,
    conn: &Conn,
    session: &Session,
) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(PIECE_BYTES);
    let mut look_at_ns = 0;
    loop {
        let is_flushed = session.flush()?;
        ramkeep_net::select! {
            outcome = session.readable() => {
                outcome?;
                match session.fill() {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                    outcome => drop(outcome?),
                }
                while let Some(frame) = session.next_frame()? {
                    if frame.kind == DATA {
                        conn.write_all(&frame.body).await?;
                    }
                }
            }
            outcome = session.writable(), if !is_flushed => outcome?,
            outcome = conn.readable(), if session.pending_bytes() < PENDING_BYTES_MAX => {
                outcome?;
                buffer.clear();
                match conn.try_read(&mut buffer) {
                    Ok(0) => return Ok(()),
                    Ok(_) => session.push(DATA, |body| body.extend_from_slice(&buffer)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            () = ramkeep_net::sleep(LOOK) => {}
        }
        let now_ns = node.clock.monotonic_ns();
        if now_ns >= look_at_ns {
            look_at_ns = now_ns + LOOK.as_nanos() as u64;
            if leader(node) != Some(primary) || peers.is_cut(primary.node()) {
                return Ok(());
            }
        }
    }
}

/// The primary's end: a client that is connected to another node.
pub(crate) async fn take(node: &Rc<Node>, session: Rc<Session>) -> io::Result<()> {
    let frame = session.receive_within(ADDRESS_TIME_MAX).await?;
    if frame.kind != CLIENT || !node.shard.borrow().is_leading() {
        // The node that carries finds that nobody is here, and closes its client.
        session.close();
        return Ok(());
    }
    let address = String::from_utf8_lossy(&frame.body).into_owned();
    let is_full = {
        let shard = node.shard.borrow();
        shard.engine.sessions.len() >= shard.engine.config.settings().clients_max as usize
    };
    if is_full {
        session.send(DATA, b"-ERR max number of clients reached\r\n").await?;
        session.close();
        return Ok(());
    }
    connection::serve_tunnel(Rc::clone(node), session, address).await;
    Ok(())
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
}
