//! Calls between simulated nodes: ports, backlogs, refusals, silence at the other end.
//!
//! Not here: bytes (`super`), how connections end (`ends`).

use super::{Connection, ConnectionId, End, Listening, Phase, Side, remember};
use crate::sim::world::{Event, NodeId, State};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::task::{Context, Poll};

/// First port given to callers.
const EPHEMERAL_PORTS: Range<u16> = 32_768..60_999;

/// Wait before a call that met silence is tried again.
const CALL_AGAIN_NS: u64 = 1_000_000_000;

impl State {
    pub(in crate::sim) fn listen(
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

    pub(in crate::sim) fn stop_listening(&mut self, now_ns: u64, node: NodeId, boot: u64, port: u16) {
        if self.node(node).boot != boot {
            return;
        }
        if let Some(listening) = self.node_mut(node).listeners.remove(&port) {
            listening.waiting.into_iter().for_each(|id| self.abort(now_ns, id, Side::Taker));
        }
    }

    pub(in crate::sim) fn connect(
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
    pub(in crate::sim) fn call(&mut self, now_ns: u64, id: ConnectionId) {
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

    pub(in crate::sim) fn called(&mut self, now_ns: u64, id: ConnectionId) {
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

    pub(in crate::sim) fn call_failed(&mut self, now_ns: u64, id: ConnectionId, error: io::ErrorKind) {
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

    pub(in crate::sim) fn poll_connected(
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
    pub(in crate::sim) fn poll_accept(
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

    fn node_at(&self, ip: IpAddr) -> Option<NodeId> {
        self.nodes.iter().position(|node| node.ip == ip).map(|index| NodeId(index as u32))
    }
}
