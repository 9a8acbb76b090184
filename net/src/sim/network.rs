//! The link model: what happens to connections and bytes between simulated nodes.
//!
//! Lives here: calls and their refusals, segments under way, bounded buffers, ends, resets, silence. As part of
//! [`State`], because it needs the nodes' power and the order of events. Not here: who cuts what when (`world`).
//!
//! Model: a written piece becomes one segment with a drawn delay; segments of one direction arrive in order.
//! A cut or stalled direction holds them until it is open again (as retransmission does) or the sender gives
//! up. A machine without power is silent; switched on again it answers with a reset. A process that dies leaves
//! its sockets to the kernel, which ends them, or resets those with unread bytes.
//!
//! Invariant: bytes of one direction arrive once, in order, without gaps, or the connection fails.

use super::world::{Event, NodeId, State};
use crate::random::{Draw, mix};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::task::{Context, Poll, Waker};

/// First port given to callers.
const EPHEMERAL_PORTS: Range<u16> = 32_768..60_999;

/// Wait before a call that met silence is tried again.
const CALL_AGAIN_NS: u64 = 1_000_000_000;

/// Unanswered probes after which a connection is given up.
const PROBES_MAX: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// Which end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Caller,
    Taker,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Caller => Self::Taker,
            Self::Taker => Self::Caller,
        }
    }
}

#[derive(Debug)]
enum Payload {
    Bytes(VecDeque<u8>),
    End,
    Reset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The caller has heard nothing yet.
    Calling,
    /// The taker has it, the caller does not know yet.
    Taken,
    Open,
    Failed(io::ErrorKind),
}

#[derive(Debug)]
pub(super) struct Connection {
    phase: Phase,
    caller_waker: Option<Waker>,
    ends: [End; 2],
}

#[derive(Debug)]
struct End {
    node: NodeId,
    address: SocketAddr,
    /// Under way to the other end, with the time of arrival.
    outgoing: VecDeque<(u64, Payload)>,
    unacknowledged_bytes: usize,
    /// Delivered, but the acknowledgement could not come back.
    unheard_bytes: usize,
    last_arrival_ns: u64,
    delivered_bytes: u64,
    is_giving_up: bool,
    received: VecDeque<u8>,
    is_end_seen: bool,
    error: Option<io::ErrorKind>,
    is_write_ended: bool,
    /// The program no longer holds it.
    is_closed: bool,
    /// Its machine lost power and knows nothing of it.
    is_vanished: bool,
    keepalive_ns: u64,
    probes_missed: u32,
    read_wakers: Vec<Waker>,
    write_wakers: Vec<Waker>,
}

impl End {
    fn new(node: NodeId, address: SocketAddr) -> Self {
        Self {
            node,
            address,
            outgoing: VecDeque::new(),
            unacknowledged_bytes: 0,
            unheard_bytes: 0,
            last_arrival_ns: 0,
            delivered_bytes: 0,
            is_giving_up: false,
            received: VecDeque::new(),
            is_end_seen: false,
            error: None,
            is_write_ended: false,
            is_closed: false,
            is_vanished: false,
            keepalive_ns: 0,
            probes_missed: 0,
            read_wakers: Vec::new(),
            write_wakers: Vec::new(),
        }
    }

    fn is_gone(&self) -> bool {
        self.is_closed || self.is_vanished
    }

    fn fail(&mut self, error: io::ErrorKind, woken: &mut Vec<Waker>) {
        self.error = Some(error);
        self.received.clear();
        self.outgoing.clear();
        self.unacknowledged_bytes = 0;
        self.unheard_bytes = 0;
        woken.append(&mut self.read_wakers);
        woken.append(&mut self.write_wakers);
    }
}

/// Connections waiting to be accepted at one port.
#[derive(Debug, Default)]
pub(super) struct Listening {
    waiting: VecDeque<ConnectionId>,
    backlog: usize,
    wakers: Vec<Waker>,
}

fn remember(wakers: &mut Vec<Waker>, context: &Context<'_>) {
    if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
        wakers.push(context.waker().clone());
    }
}

fn digest(bytes: &VecDeque<u8>) -> u64 {
    bytes.iter().fold(0, |digest, byte| (digest ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

impl State {
    // ---- links -------------------------------------------------------------------------------------------

    fn is_blocked(&self, now_ns: u64, from: NodeId, to: NodeId) -> bool {
        self.links.get(&(from, to)).is_some_and(|link| link.is_cut || now_ns < link.stalled_until_ns)
    }

    fn draw_delay_ns(&mut self, from: NodeId, to: NodeId) -> u64 {
        let own = self.links.get(&(from, to)).and_then(|state| state.link.as_ref());
        let link = own.unwrap_or(&self.network.link);
        let (low, high) = link.latency_us;
        let mut delay_ns = self.rng.between(low * 1_000, high * 1_000);
        if self.rng.chance(link.slow) {
            delay_ns += self.rng.between(link.slow_us.0 * 1_000, link.slow_us.1 * 1_000);
        }
        delay_ns
    }

    /// Sets everything that waited for this direction in motion again.
    pub(super) fn open_link(&mut self, now_ns: u64, from: NodeId, to: NodeId) {
        if self.is_blocked(now_ns, from, to) {
            return;
        }
        let mut due = Vec::new();
        for (id, connection) in &mut self.connections {
            for side in [Side::Caller, Side::Taker] {
                let peer = connection.ends[side.other() as usize].node;
                let end = &mut connection.ends[side as usize];
                if (end.node, peer) == (from, to) && !end.outgoing.is_empty() {
                    due.push((*id, side));
                }
                if (peer, end.node) == (from, to) && end.unheard_bytes > 0 {
                    end.unacknowledged_bytes -= std::mem::take(&mut end.unheard_bytes);
                    self.woken.append(&mut end.write_wakers);
                }
            }
        }
        for (id, side) in due {
            let delay_ns = self.draw_delay_ns(from, to);
            self.schedule(now_ns + delay_ns, Event::Arrive(id, side));
        }
    }

    // ---- calls -------------------------------------------------------------------------------------------

    pub(super) fn listen(
        &mut self,
        node: NodeId,
        address: SocketAddr,
        backlog: u32,
    ) -> io::Result<(SocketAddr, u64)> {
        let port = match address.port() {
            0 => self.free_port(node)?,
            port => port,
        };
        let state = self.node_mut(node);
        let is_own = address.ip().is_unspecified() || address.ip().is_loopback() || address.ip() == state.ip;
        if !is_own {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        if state.listeners.contains_key(&port) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let listening = Listening { backlog: backlog.max(1) as usize, ..Listening::default() };
        state.listeners.insert(port, listening);
        Ok((SocketAddr::new(address.ip(), port), state.boot))
    }

    fn free_port(&mut self, node: NodeId) -> io::Result<u16> {
        let state = self.node_mut(node);
        for _ in EPHEMERAL_PORTS {
            let port = EPHEMERAL_PORTS.start + state.next_port % EPHEMERAL_PORTS.len() as u16;
            state.next_port = state.next_port.wrapping_add(1);
            if !state.listeners.contains_key(&port) {
                return Ok(port);
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    pub(super) fn stop_listening(&mut self, now_ns: u64, node: NodeId, boot: u64, port: u16) {
        if self.node(node).boot != boot {
            return;
        }
        if let Some(listening) = self.node_mut(node).listeners.remove(&port) {
            listening.waiting.into_iter().for_each(|id| self.abort(now_ns, id, Side::Taker));
        }
    }

    pub(super) fn connect(
        &mut self,
        now_ns: u64,
        node: NodeId,
        to: SocketAddr,
    ) -> io::Result<(ConnectionId, SocketAddr)> {
        let target = match to.ip() {
            ip if ip.is_loopback() || ip.is_unspecified() => node,
            ip => self.node_at(ip).ok_or(io::ErrorKind::HostUnreachable)?,
        };
        let port = self.free_port(node)?;
        let address = SocketAddr::new(self.node(node).ip, port);
        let id = ConnectionId(self.fresh_number());
        let ends = [End::new(node, address), End::new(target, to)];
        self.connections.insert(id, Connection { phase: Phase::Calling, caller_waker: None, ends });
        let delay_ns = self.draw_delay_ns(node, target);
        self.schedule(now_ns + delay_ns, Event::Call(id));
        self.schedule(now_ns + self.network.connect_timeout_us * 1_000, Event::CallTimeout(id));
        Ok((id, address))
    }

    /// The caller's first segment arrives.
    pub(super) fn call(&mut self, now_ns: u64, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id).filter(|known| known.phase == Phase::Calling) else {
            return;
        };
        let (from, to) = (connection.ends[0].node, connection.ends[1].node);
        let port = connection.ends[1].address.port();
        let is_silent = self.is_blocked(now_ns, from, to)
            || self.is_blocked(now_ns, to, from)
            || !self.node(to).is_powered;
        let back_ns = self.draw_delay_ns(to, from);
        match self.node_mut(to).listeners.get_mut(&port) {
            _ if is_silent => {
                self.counts.segments_held += 1;
                self.schedule(now_ns + CALL_AGAIN_NS, Event::Call(id));
            }
            None => {
                self.counts.refused += 1;
                self.schedule(now_ns + back_ns, Event::CallFailed(id));
            }
            Some(listening) if listening.waiting.len() >= listening.backlog => {
                self.schedule(now_ns + CALL_AGAIN_NS, Event::Call(id));
            }
            Some(listening) => {
                listening.waiting.push_back(id);
                let mut wakers = std::mem::take(&mut listening.wakers);
                self.woken.append(&mut wakers);
                let connection = self.connections.get_mut(&id).expect("found above");
                connection.phase = Phase::Taken;
                // Nothing that the taker writes may overtake its answer.
                connection.ends[1].last_arrival_ns = now_ns + back_ns;
                self.record(now_ns, "net.taken", to, &[id.0, u64::from(port)]);
                self.schedule(now_ns + back_ns, Event::Called(id));
            }
        }
    }

    pub(super) fn called(&mut self, now_ns: u64, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.phase == Phase::Taken
        {
            connection.phase = Phase::Open;
            self.woken.extend(connection.caller_waker.take());
            self.counts.connected += 1;
            let node = connection.ends[0].node;
            self.record(now_ns, "net.open", node, &[id.0]);
        }
    }

    pub(super) fn call_failed(&mut self, now_ns: u64, id: ConnectionId, error: io::ErrorKind) {
        if let Some(connection) = self.connections.get_mut(&id)
            && connection.phase == Phase::Calling
        {
            connection.phase = Phase::Failed(error);
            self.woken.extend(connection.caller_waker.take());
            self.counts.call_timeouts += u64::from(error == io::ErrorKind::TimedOut);
            let node = connection.ends[0].node;
            self.record(now_ns, "net.failed", node, &[id.0]);
        }
    }

    pub(super) fn poll_connected(
        &mut self,
        id: ConnectionId,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        match connection.phase {
            Phase::Open => Poll::Ready(Ok(())),
            Phase::Failed(error) => Poll::Ready(Err(error.into())),
            Phase::Calling | Phase::Taken => {
                connection.caller_waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The next connection at `port`, with its local and peer address.
    pub(super) fn poll_accept(
        &mut self,
        node: NodeId,
        port: u16,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(ConnectionId, SocketAddr, SocketAddr)>> {
        let Some(listening) = self.node_mut(node).listeners.get_mut(&port) else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let Some(id) = listening.waiting.pop_front() else {
            remember(&mut listening.wakers, context);
            return Poll::Pending;
        };
        match self.connections.get(&id) {
            Some(connection) => Poll::Ready(Ok((id, connection.ends[1].address, connection.ends[0].address))),
            None => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        }
    }

    // ---- bytes -------------------------------------------------------------------------------------------

    fn end(&mut self, id: ConnectionId, side: Side) -> Option<&mut End> {
        Some(&mut self.connections.get_mut(&id)?.ends[side as usize])
    }

    /// Fewer than `count`, sometimes.
    fn shorten(&mut self, count: usize) -> usize {
        if count < 2 || !self.rng.chance(self.network.short_io) {
            return count;
        }
        self.counts.short += 1;
        match self.rng.below(2) {
            0 => 1,
            _ => 1 + self.rng.below(count as u64) as usize,
        }
    }

    pub(super) fn read(
        &mut self,
        now_ns: u64,
        id: ConnectionId,
        side: Side,
        buffer: &mut Vec<u8>,
    ) -> io::Result<usize> {
        let room = buffer.capacity() - buffer.len();
        let end = self.end(id, side).ok_or(io::ErrorKind::NotConnected)?;
        if let Some(error) = end.error {
            return Err(error.into());
        }
        let available = end.received.len().min(room);
        if available == 0 {
            return if end.is_end_seen { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let count = self.shorten(available);
        let connection = self.connections.get_mut(&id).expect("found above");
        buffer.extend(connection.ends[side as usize].received.drain(..count));
        // There is room again for what may have been waiting at the door.
        let (reader, writer) =
            (connection.ends[side as usize].node, connection.ends[side.other() as usize].node);
        let is_waiting = connection.ends[side.other() as usize]
            .outgoing
            .front()
            .is_some_and(|(arrival, _)| *arrival <= now_ns);
        if is_waiting {
            let delay_ns = self.draw_delay_ns(reader, writer);
            self.schedule(now_ns + delay_ns, Event::Arrive(id, side.other()));
        }
        Ok(count)
    }

    pub(super) fn write(
        &mut self,
        now_ns: u64,
        id: ConnectionId,
        side: Side,
        bytes: &[u8],
    ) -> io::Result<usize> {
        let capacity = self.network.send_buffer_bytes;
        let end = self.end(id, side).ok_or(io::ErrorKind::NotConnected)?;
        if let Some(error) = end.error {
            return Err(error.into());
        }
        // A machine that lost its power within a step of its code sends nothing of the rest of that step.
        if end.is_write_ended || end.is_vanished {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = capacity.saturating_sub(end.unacknowledged_bytes).min(bytes.len());
        if count == 0 && !bytes.is_empty() {
            self.counts.writes_blocked += 1;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.shorten(count);
        self.end(id, side).expect("found above").unacknowledged_bytes += count;
        self.send(now_ns, id, side, Payload::Bytes(bytes[..count].iter().copied().collect()));
        Ok(count)
    }

    pub(super) fn poll_readable(
        &mut self,
        id: ConnectionId,
        side: Side,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        match self.end(id, side) {
            Some(end) if end.error.is_none() && end.received.is_empty() && !end.is_end_seen => {
                remember(&mut end.read_wakers, context);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    pub(super) fn poll_writable(
        &mut self,
        id: ConnectionId,
        side: Side,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let capacity = self.network.send_buffer_bytes;
        match self.end(id, side) {
            Some(end)
                if end.error.is_none() && !end.is_write_ended && end.unacknowledged_bytes >= capacity =>
            {
                remember(&mut end.write_wakers, context);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    fn send(&mut self, now_ns: u64, id: ConnectionId, side: Side, payload: Payload) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (from, to) = (connection.ends[side as usize].node, connection.ends[side.other() as usize].node);
        let delay_ns = self.draw_delay_ns(from, to);
        let reset = self.links.get(&(from, to)).and_then(|state| state.link.as_ref()).map(|link| link.reset);
        if self.rng.chance(reset.unwrap_or(self.network.link.reset)) {
            self.reset_both(now_ns, id);
            return;
        }
        let end = self.end(id, side).expect("found above");
        let arrival_ns = end.last_arrival_ns.max(now_ns + delay_ns);
        end.last_arrival_ns = arrival_ns;
        end.outgoing.push_back((arrival_ns, payload));
        self.schedule(arrival_ns, Event::Arrive(id, side));
    }

    /// What `side` sent reaches the other end, as far as it is due, let through and taken in.
    pub(super) fn arrive(&mut self, now_ns: u64, id: ConnectionId, side: Side) {
        while self.arrive_one(now_ns, id, side) {}
        self.forget_if_over(id);
    }

    /// Moves one segment; false when nothing more can move now.
    fn arrive_one(&mut self, now_ns: u64, id: ConnectionId, side: Side) -> bool {
        let Some(connection) = self.connections.get(&id) else { return false };
        let (sender, receiver) = (&connection.ends[side as usize], &connection.ends[side.other() as usize]);
        let (from, to) = (sender.node, receiver.node);
        let Some((_, payload)) = sender.outgoing.front().filter(|(arrival, _)| *arrival <= now_ns) else {
            return false;
        };
        if self.is_blocked(now_ns, from, to) || !self.node(to).is_powered {
            self.counts.segments_held += 1;
            self.arm_give_up(now_ns, id, side);
            return false;
        }
        let is_reset = matches!(payload, Payload::Reset);
        let is_unwanted =
            receiver.is_vanished || (receiver.is_closed && matches!(payload, Payload::Bytes(_)));
        if is_unwanted {
            self.end(id, side).expect("found above").outgoing.clear();
            if !is_reset {
                self.send_reset(now_ns, id, side.other());
            }
            return false;
        }
        self.counts.segments += 1;
        self.take_in(now_ns, id, side)
    }

    /// The first segment of `side` is taken in by the other end. False when its buffer is full.
    fn take_in(&mut self, now_ns: u64, id: ConnectionId, side: Side) -> bool {
        let capacity = self.network.receive_buffer_bytes;
        let connection = self.connections.get_mut(&id).expect("found by the caller");
        let [caller, taker] = &mut connection.ends;
        let (sender, receiver) = match side {
            Side::Caller => (caller, taker),
            Side::Taker => (taker, caller),
        };
        let (from, to) = (sender.node, receiver.node);
        let (_, payload) = sender.outgoing.front_mut().expect("found by the caller");
        let (kind, length, digest) = match payload {
            Payload::Bytes(bytes) => {
                let count = capacity.saturating_sub(receiver.received.len()).min(bytes.len());
                if count == 0 && !bytes.is_empty() {
                    return false;
                }
                let digest = digest(bytes);
                receiver.received.extend(bytes.drain(..count));
                if bytes.is_empty() {
                    sender.outgoing.pop_front();
                }
                sender.delivered_bytes += count as u64;
                self.woken.append(&mut receiver.read_wakers);
                ("net.bytes", count, digest)
            }
            Payload::End => {
                sender.outgoing.pop_front();
                receiver.is_end_seen = true;
                self.woken.append(&mut receiver.read_wakers);
                ("net.end", 0, 0)
            }
            Payload::Reset => {
                sender.outgoing.pop_front();
                receiver.fail(io::ErrorKind::ConnectionReset, &mut self.woken);
                self.counts.resets += 1;
                ("net.reset", 0, 0)
            }
        };
        if length > 0 {
            if self.is_blocked(now_ns, to, from) {
                self.end(id, side).expect("found above").unheard_bytes += length;
            } else {
                let sender = &mut self.connections.get_mut(&id).expect("found above").ends[side as usize];
                sender.unacknowledged_bytes -= length;
                self.woken.append(&mut sender.write_wakers);
            }
        }
        self.record(now_ns, kind, to, &[id.0, length as u64, mix(digest)]);
        true
    }

    // ---- ends --------------------------------------------------------------------------------------------

    pub(super) fn end_reading(&mut self, id: ConnectionId, side: Side) {
        if let Some(end) = self.connections.get_mut(&id).map(|connection| &mut connection.ends[side as usize])
        {
            end.is_end_seen = true;
            end.received.clear();
            self.woken.append(&mut end.read_wakers);
        }
    }

    pub(super) fn end_writing(&mut self, now_ns: u64, id: ConnectionId, side: Side) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let end = &mut connection.ends[side as usize];
        self.woken.append(&mut end.write_wakers);
        if !std::mem::replace(&mut end.is_write_ended, true) && end.error.is_none() {
            self.send(now_ns, id, side, Payload::End);
        }
        Ok(())
    }

    /// The program lets go of its end. Unread bytes make that a reset, as the kernel does it.
    pub(super) fn close(&mut self, now_ns: u64, id: ConnectionId, side: Side) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if side == Side::Caller && matches!(connection.phase, Phase::Calling | Phase::Failed(_)) {
            self.connections.remove(&id);
            return;
        }
        let is_given_up = side == Side::Caller && connection.phase == Phase::Taken;
        let end = &mut connection.ends[side as usize];
        if end.is_gone() {
            return;
        }
        end.is_closed = true;
        end.read_wakers.clear();
        end.write_wakers.clear();
        if end.error.is_none() {
            if is_given_up || !end.received.is_empty() {
                self.send_reset(now_ns, id, side);
            } else {
                self.end_writing(now_ns, id, side).expect("found above");
            }
        }
        self.forget_if_over(id);
    }

    fn abort(&mut self, now_ns: u64, id: ConnectionId, side: Side) {
        if let Some(end) = self.end(id, side)
            && !end.is_gone()
        {
            end.is_closed = true;
            self.send_reset(now_ns, id, side);
        }
    }

    fn send_reset(&mut self, now_ns: u64, id: ConnectionId, side: Side) {
        if let Some(end) = self.end(id, side) {
            end.outgoing.clear();
            end.received.clear();
            end.is_write_ended = true;
            self.send(now_ns, id, side, Payload::Reset);
        }
    }

    /// Something between the two resets the connection at both ends at once.
    fn reset_both(&mut self, now_ns: u64, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.ends.iter_mut().for_each(|end| end.fail(io::ErrorKind::ConnectionReset, &mut self.woken));
        let node = connection.ends[0].node;
        self.counts.resets += 2;
        self.record(now_ns, "net.cut-off", node, &[id.0]);
        self.forget_if_over(id);
    }

    /// Resets one open connection, drawn among those that `is_meant`. False if there is none.
    pub(super) fn reset_one(&mut self, now_ns: u64, is_meant: impl Fn(NodeId) -> bool) -> bool {
        let open: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.phase == Phase::Open)
            .filter(|(_, connection)| connection.ends.iter().any(|end| is_meant(end.node)))
            .map(|(id, _)| *id)
            .collect();
        let index = self.rng.below(open.len() as u64) as usize;
        let Some(id) = open.get(index) else { return false };
        self.reset_both(now_ns, *id);
        true
    }

    fn forget_if_over(&mut self, id: ConnectionId) {
        let is_over = |end: &End| end.is_gone() && end.outgoing.is_empty();
        if self.connections.get(&id).is_some_and(|connection| connection.ends.iter().all(is_over)) {
            self.connections.remove(&id);
        }
    }

    // ---- silence -----------------------------------------------------------------------------------------

    fn arm_give_up(&mut self, now_ns: u64, id: ConnectionId, side: Side) {
        let at_ns = now_ns + self.network.give_up_us * 1_000;
        let end = self.end(id, side).expect("found by the caller");
        if !std::mem::replace(&mut end.is_giving_up, true) {
            let delivered_bytes = end.delivered_bytes;
            self.schedule(at_ns, Event::GiveUp(id, side, delivered_bytes));
        }
    }

    pub(super) fn give_up(&mut self, now_ns: u64, id: ConnectionId, side: Side, delivered_bytes: u64) {
        let Some(end) = self.end(id, side) else { return };
        end.is_giving_up = false;
        if end.outgoing.front().is_none_or(|(arrival, _)| *arrival > now_ns) {
            return;
        }
        if end.delivered_bytes != delivered_bytes {
            self.arrive(now_ns, id, side);
            return;
        }
        self.fall_silent(now_ns, id, side);
    }

    fn fall_silent(&mut self, now_ns: u64, id: ConnectionId, side: Side) {
        let connection = self.connections.get_mut(&id).expect("found by the caller");
        let end = &mut connection.ends[side as usize];
        end.fail(io::ErrorKind::TimedOut, &mut self.woken);
        let node = end.node;
        self.counts.silences += 1;
        self.record(now_ns, "net.silent", node, &[id.0]);
        self.forget_if_over(id);
    }

    pub(super) fn set_keepalive(&mut self, now_ns: u64, id: ConnectionId, side: Side, idle_seconds: u32) {
        if let Some(end) = self.end(id, side) {
            let is_running = end.keepalive_ns > 0;
            end.keepalive_ns = u64::from(idle_seconds) * 1_000_000_000;
            let at_ns = now_ns + end.keepalive_ns;
            if idle_seconds > 0 && !is_running {
                self.schedule(at_ns, Event::Probe(id, side));
            }
        }
    }

    /// Asks the other end whether it is still there.
    pub(super) fn probe(&mut self, now_ns: u64, id: ConnectionId, side: Side) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (end, peer) = (&connection.ends[side as usize], &connection.ends[side.other() as usize]);
        if end.is_gone() || end.error.is_some() || end.keepalive_ns == 0 {
            return;
        }
        let is_silent = self.is_blocked(now_ns, end.node, peer.node)
            || self.is_blocked(now_ns, peer.node, end.node)
            || !self.node(peer.node).is_powered;
        let is_unknown = peer.is_vanished;
        let end = self.end(id, side).expect("found above");
        end.probes_missed = if is_silent { end.probes_missed + 1 } else { 0 };
        let (missed, idle_ns) = (end.probes_missed, end.keepalive_ns);
        if !is_silent && is_unknown {
            self.send_reset(now_ns, id, side.other());
        } else if missed >= PROBES_MAX {
            self.fall_silent(now_ns, id, side);
        } else {
            let next_ns = if missed > 0 { idle_ns / u64::from(PROBES_MAX) } else { idle_ns };
            self.schedule(now_ns + next_ns, Event::Probe(id, side));
        }
    }

    // ---- nodes -------------------------------------------------------------------------------------------

    /// The process has ended; the kernel closes its sockets.
    pub(super) fn close_all(&mut self, now_ns: u64, node: NodeId) {
        let listeners = std::mem::take(&mut self.node_mut(node).listeners);
        for id in listeners.into_values().flat_map(|listening| listening.waiting) {
            self.abort(now_ns, id, Side::Taker);
        }
        for (id, side) in self.ends_of(node) {
            self.close(now_ns, id, side);
        }
    }

    /// The machine is gone without a word. Of what it had sent, some is still on its way.
    pub(super) fn vanish_all(&mut self, node: NodeId) {
        self.node_mut(node).listeners.clear();
        for (id, side) in self.ends_of(node) {
            let under_way = self.end(id, side).expect("listed").outgoing.len();
            let kept = self.rng.below(under_way as u64 + 1) as usize;
            self.counts.segments_lost += (under_way - kept) as u64;
            let connection = self.connections.get_mut(&id).expect("listed");
            let end = &mut connection.ends[side as usize];
            end.outgoing.truncate(kept);
            end.is_vanished = true;
            end.read_wakers.clear();
            end.write_wakers.clear();
            if side == Side::Caller && connection.phase == Phase::Calling {
                self.connections.remove(&id);
            } else {
                self.forget_if_over(id);
            }
        }
    }

    fn ends_of(&self, node: NodeId) -> Vec<(ConnectionId, Side)> {
        let is_of = |connection: &Connection, side: Side| connection.ends[side as usize].node == node;
        self.connections
            .iter()
            .flat_map(|(id, connection)| {
                [Side::Caller, Side::Taker]
                    .into_iter()
                    .filter(|side| is_of(connection, *side))
                    .map(|side| (*id, side))
            })
            .collect()
    }

    fn node_at(&self, ip: IpAddr) -> Option<NodeId> {
        self.nodes.iter().position(|node| node.ip == ip).map(|index| NodeId(index as u32))
    }
}
