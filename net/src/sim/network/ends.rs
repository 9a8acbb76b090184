//! How connections end: in order, by a reset, by silence, with their process or their machine.
//!
//! Not here: bytes under way (`super`).

use super::{Connection, ConnectionId, End, Payload, Phase, Side};
use crate::random::Draw;
use crate::sim::world::{Event, NodeId, State};
use std::io;

/// Unanswered probes after which a connection is given up.
const PROBES_MAX: u32 = 3;

impl State {
    pub(in crate::sim) fn end_reading(&mut self, id: ConnectionId, side: Side) {
        if let Some(end) = self.connections.get_mut(&id).map(|connection| &mut connection.ends[side as usize])
        {
            end.is_end_seen = true;
            end.received.clear();
            self.woken.append(&mut end.read_wakers);
        }
    }

    pub(in crate::sim) fn end_writing(
        &mut self,
        now_ns: u64,
        id: ConnectionId,
        side: Side,
    ) -> io::Result<()> {
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
    pub(in crate::sim) fn close(&mut self, now_ns: u64, id: ConnectionId, side: Side) {
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

    pub(super) fn abort(&mut self, now_ns: u64, id: ConnectionId, side: Side) {
        if let Some(end) = self.end(id, side)
            && !end.is_gone()
        {
            end.is_closed = true;
            self.send_reset(now_ns, id, side);
        }
    }

    pub(super) fn send_reset(&mut self, now_ns: u64, id: ConnectionId, side: Side) {
        if let Some(end) = self.end(id, side) {
            end.outgoing.clear();
            end.received.clear();
            end.is_write_ended = true;
            self.send(now_ns, id, side, Payload::Reset);
        }
    }

    /// Something between the two resets the connection at both ends at once.
    pub(super) fn reset_both(&mut self, now_ns: u64, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.ends.iter_mut().for_each(|end| end.fail(io::ErrorKind::ConnectionReset, &mut self.woken));
        let node = connection.ends[0].node;
        self.counts.resets += 2;
        self.record(now_ns, "net.cut-off", node, &[id.0]);
        self.forget_if_over(id);
    }

    /// Resets one open connection, drawn among those that `is_meant`. False if there is none.
    pub(in crate::sim) fn reset_one(&mut self, now_ns: u64, is_meant: impl Fn(NodeId) -> bool) -> bool {
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

    pub(super) fn forget_if_over(&mut self, id: ConnectionId) {
        let is_over = |end: &End| end.is_gone() && end.outgoing.is_empty();
        if self.connections.get(&id).is_some_and(|connection| connection.ends.iter().all(is_over)) {
            self.connections.remove(&id);
        }
    }

    // ---- silence -----------------------------------------------------------------------------------------

    pub(super) fn arm_give_up(&mut self, now_ns: u64, id: ConnectionId, side: Side) {
        let at_ns = now_ns + self.network.give_up_us * 1_000;
        let end = self.end(id, side).expect("found by the caller");
        if !std::mem::replace(&mut end.is_giving_up, true) {
            let delivered_bytes = end.delivered_bytes;
            self.schedule(at_ns, Event::GiveUp(id, side, delivered_bytes));
        }
    }

    pub(in crate::sim) fn give_up(
        &mut self,
        now_ns: u64,
        id: ConnectionId,
        side: Side,
        delivered_bytes: u64,
    ) {
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

    pub(in crate::sim) fn set_keepalive(
        &mut self,
        now_ns: u64,
        id: ConnectionId,
        side: Side,
        idle_seconds: u32,
    ) {
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
    pub(in crate::sim) fn probe(&mut self, now_ns: u64, id: ConnectionId, side: Side) {
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
    pub(in crate::sim) fn close_all(&mut self, now_ns: u64, node: NodeId) {
        let listeners = std::mem::take(&mut self.node_mut(node).listeners);
        for id in listeners.into_values().flat_map(|listening| listening.waiting) {
            self.abort(now_ns, id, Side::Taker);
        }
        for (id, side) in self.ends_of(node) {
            self.close(now_ns, id, side);
        }
    }

    /// The machine is gone without a word. Of what it had sent, some is still on its way.
    pub(in crate::sim) fn vanish_all(&mut self, node: NodeId) {
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
}
