//! A round: what all ready connections sent, executed together.
//!
//! Lives here: the buffer that connections read into one after another, its execution, and what is left over.
//! Not here: waiting for bytes (`connection`), ending the turn (`node`).
//!
//! First all ready connections are read, then all their requests are executed, then all replies are written. Each
//! of the three goes through the same code again and again, and keys of different connections are brought near
//! together: at one request per read that is most of what can be saved.
//!
//! Invariant: a connection has one arrival in a round at most, and its bytes are executed in the order they came.

use crate::connection::{Link, Step};
use crate::node::Node;
use crate::point;
use crate::wire::Wire;
use ramkeep_shard::{Arrival, Received};
use std::io::ErrorKind;
use std::rc::Rc;

/// Bytes of a round's buffer: as much as fits a core's cache with the rest of what a round uses.
const ROUND_BYTES: usize = 64 << 10;
/// Room that a read finds at least; with less, the round is executed first.
const READ_BYTES_MIN: usize = 16 << 10;
/// A connection that brought so much at once gives way before it reads again. Without that a client with a long pipeline
/// is read dozens of times before the sockets of others are looked at.
const GIVE_WAY_BYTES: usize = 8 << 10;
/// A connection's own buffer larger than this is given back once it is empty.
const KEPT_BYTES_MAX: usize = 16 << 10;

/// What was read and is not executed yet.
#[derive(Default)]
pub(crate) struct Round {
    buffer: Vec<u8>,
    arrivals: Vec<Arrival>,
    /// Their connections, in the same order.
    links: Vec<Rc<Link>>,
    received: Vec<Received>,
}

impl Round {
    fn clear(&mut self) {
        self.buffer.clear();
        self.arrivals.clear();
        self.links.clear();
        self.received.clear();
    }
}

impl Node {
    /// Reads what the socket has into the round, or into the connection's own buffer behind what is left there.
    pub(crate) fn read(self: &Rc<Node>, link: &Rc<Link>) -> Step {
        if link.has_arrived.get() {
            self.run_round();
        }
        if !link.takes_requests() {
            return Step::Idle;
        }
        if !link.rest.borrow().is_empty() {
            let outcome = read_into(&link.conn, &mut link.rest.borrow_mut());
            return match outcome.map(|_| self.take_in(link)) {
                Ok(Step::Idle) => Step::GiveWay,
                Ok(step) | Err(step) => step,
            };
        }
        if self.round.borrow().buffer.len() + READ_BYTES_MIN > ROUND_BYTES {
            self.run_round();
        }
        let mut round = self.round.borrow_mut();
        if round.buffer.capacity() < ROUND_BYTES {
            round.buffer.reserve_exact(ROUND_BYTES);
        }
        let start = round.buffer.len();
        let bytes = match read_into(&link.conn, &mut round.buffer) {
            Ok(bytes) => bytes,
            Err(step) => return step,
        };
        let end = round.buffer.len();
        round.arrivals.push(Arrival { session: link.id, start, end });
        round.links.push(Rc::clone(link));
        link.has_arrived.set(true);
        self.turn_wanted.set();
        if bytes < GIVE_WAY_BYTES { Step::Idle } else { Step::GiveWay }
    }

    /// Executes what was read since the last round, and writes what may leave.
    pub(crate) fn run_round(self: &Rc<Node>) {
        let mut round = std::mem::take(&mut *self.round.borrow_mut());
        if round.arrivals.is_empty() {
            *self.round.borrow_mut() = round;
            return;
        }
        self.host.point(point::REQUESTS_RECEIVED);
        // Where the log may be written on this thread, replies that wait for nothing leave before.
        let ends_turn = !self.may_write_inline();
        self.with_shard(|shard, now, outputs| {
            shard.receive(&round.buffer, &round.arrivals, now, outputs, &mut round.received);
            self.host.point(point::REQUESTS_EXECUTED);
            if ends_turn {
                shard.end_turn(now, outputs);
            }
        });
        for ((link, arrival), received) in round.links.iter().zip(&round.arrivals).zip(&round.received) {
            link.has_arrived.set(false);
            let left = &round.buffer[arrival.start + received.consumed..arrival.end];
            if !left.is_empty() {
                let mut rest = link.rest.borrow_mut();
                rest.reserve_exact(left.len() + received.bytes_wanted);
                rest.extend_from_slice(left);
            }
            if let Step::Again = self.received(link, *received, left.len()) {
                link.has_more.set(true);
                link.wake.set();
            }
        }
        round.clear();
        *self.round.borrow_mut() = round;
    }

    /// Executes what is complete in the connection's own buffer.
    pub(crate) fn take_in(self: &Rc<Node>, link: &Rc<Link>) -> Step {
        let mut rest = link.rest.take();
        // Its bytes are in hand, not in its buffer: meanwhile nobody may take it for a connection that has none left.
        link.has_arrived.set(true);
        let received = self.with_shard(|shard, now, outputs| shard.received(link.id, &rest, now, outputs));
        link.has_arrived.set(false);
        rest.drain(..received.consumed);
        let left = rest.len();
        match left {
            0 => rest.shrink_to(KEPT_BYTES_MAX),
            _ => rest.reserve(received.bytes_wanted),
        }
        *link.rest.borrow_mut() = rest;
        self.received(link, received, left)
    }

    /// Requests of a connection were executed, so many bytes are left over.
    fn received(self: &Rc<Node>, link: &Rc<Link>, received: Received, left: usize) -> Step {
        if self.flush_link(link) {
            self.somebody_reads();
        }
        let is_paused = !self.shard.borrow().takes_requests(link.id);
        if is_paused {
            link.is_paused.set(true);
        }
        if left > 0 {
            self.check_query_buffer(link, left);
        }
        if received.has_more && !is_paused { Step::Again } else { Step::Idle }
    }

    fn check_query_buffer(self: &Rc<Node>, link: &Link, bytes: usize) {
        let mut shard = self.shard.borrow_mut();
        let is_over = bytes as u64 > shard.engine.config.settings().query_buffer_bytes_max;
        if is_over {
            shard.engine.stats.query_buffer_limit_disconnections += 1;
            drop(shard);
            tracing::warn!(
                session = link.id.0,
                bytes,
                "closing a client: its query buffer is over the limit"
            );
            self.close_when_flushed(link.id);
        }
    }
}

/// Reads once and gives the number of bytes; if nothing came, gives what the connection's task does next.
fn read_into(conn: &Wire, buffer: &mut Vec<u8>) -> Result<usize, Step> {
    match conn.try_read(buffer) {
        Ok(0) => Err(Step::Closed),
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Step::Idle),
        Err(_) => Err(Step::Closed),
    }
}
