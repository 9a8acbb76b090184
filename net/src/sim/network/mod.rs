//! The link model: what happens to connections and bytes between simulated nodes.
//!
//! Lives here: links, segments under way, bounded buffers; `calls` and their refusals; `ends`, resets, silence. As part of
//! [`State`], because it needs the nodes' power and the order of events. Not here: who cuts what when (`world`).
//!
//! Model: a written piece becomes one segment with a drawn delay; segments of one direction arrive in order.
//! A cut or stalled direction holds them until it is open again (as retransmission does) or the sender gives
//! up. A machine without power is silent; switched on again it answers with a reset. A process that dies leaves
//! its sockets to the kernel, which ends them, or resets those with unread bytes.
//!
//! Invariant: bytes of one direction arrive once, in order, without gaps, or the connection fails.

mod calls;
mod ends;

use super::world::{Event, NodeId, State};
use crate::random::{Draw, mix};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker};

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
}
