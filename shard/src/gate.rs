//! Replies that wait for durability.
//!
//! Lives here: each session's replies in order, with the turn each must wait for, and the list of
//! sessions that a commit may release.
//! Not here: which turn a reply waits for (`engine::data`), what is durable (`ramkeep-log`), sockets.
//!
//! Invariant: a reply leaves only when every change it could have seen is committed, and each
//! session's replies leave in the order of its calls.

use ramkeep_engine::data::Turn;
use ramkeep_engine::resp::{Protocol, Reply};
use ramkeep_engine::session::SessionId;
use std::collections::VecDeque;

/// A buffer larger than this is given back to the allocator once it is empty.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// From `start` on, bytes may leave only once `turn` is committed. Turns and starts both rise.
#[derive(Clone, Copy, Debug)]
struct Mark {
    start: usize,
    turn: Turn,
}

/// Replies of one session that are not yet with the network.
pub struct Outbox {
    pub reply: Reply,
    /// Bytes already handed to the network.
    sent: usize,
    marks: VecDeque<Mark>,
    /// From here on nothing leaves until this round of confirmation, or a later one, is over.
    unconfirmed: Option<(usize, u64)>,
}

impl Outbox {
    pub fn new(protocol: Protocol) -> Outbox {
        Outbox { reply: Reply::new(protocol), sent: 0, marks: VecDeque::new(), unconfirmed: None }
    }

    /// The reply from `start` to the end waits for `turn`; gives whether the gate must remember it.
    fn require(&mut self, start: usize, turn: Turn) -> bool {
        if self.marks.back().is_some_and(|last| last.turn >= turn) {
            return false;
        }
        self.marks.push_back(Mark { start, turn });
        true
    }

    /// Bytes that may leave now.
    pub fn released(&self, committed: Turn) -> &[u8] {
        let end =
            self.marks.iter().find(|mark| mark.turn > committed).map_or(self.reply.len(), |mark| mark.start);
        let end = self.unconfirmed.map_or(end, |(start, _)| start.min(end));
        &self.reply.as_slice()[self.sent..end]
    }

    /// So many released bytes went to the network.
    pub fn sent(&mut self, bytes: usize, committed: Turn) {
        assert!(bytes <= self.released(committed).len(), "only released bytes leave");
        self.sent += bytes;
        while self.marks.front().is_some_and(|mark| mark.turn <= committed) {
            self.marks.pop_front();
        }
        if self.sent == self.reply.len() {
            self.reply.clear(KEPT_BYTES_MAX);
            self.marks.clear();
            self.sent = 0;
        } else if self.sent > KEPT_BYTES_MAX && self.sent >= self.reply.len() / 2 {
            // At most as much is moved as was sent: a reply of many MiB leaves in one pass.
            self.reply.discard_front(self.sent);
            for mark in &mut self.marks {
                mark.start = mark.start.saturating_sub(self.sent);
            }
            if let Some((start, _)) = &mut self.unconfirmed {
                *start -= self.sent;
            }
            self.sent = 0;
        }
    }

    /// Bytes made and not handed to the network, released or not.
    pub fn pending_bytes(&self) -> usize {
        self.reply.len() - self.sent
    }

    /// Bytes that wait for a commit.
    pub fn withheld_bytes(&self, committed: Turn) -> usize {
        self.pending_bytes() - self.released(committed).len()
    }

    /// Drops what waits for a commit: its outcome is unknown, the connection closes.
    pub fn drop_withheld(&mut self, committed: Turn) {
        let end = self.sent + self.released(committed).len();
        self.reply.truncate(end);
        self.marks.clear();
        self.unconfirmed = None;
    }

    /// The reply from `start` to the end waits for a round; gives whether nothing did before.
    pub(crate) fn keep_back(&mut self, start: usize, round: u64) -> bool {
        if self.reply.len() == start {
            return false;
        }
        let first = self.unconfirmed.map_or(start, |(first, _)| first);
        self.unconfirmed.replace((first, round)).is_none()
    }

    /// Rounds up to this one are over; gives whether nothing waits for one any more.
    pub(crate) fn confirm(&mut self, confirmed: u64) -> bool {
        self.unconfirmed = self.unconfirmed.filter(|(_, round)| *round > confirmed);
        self.unconfirmed.is_none()
    }

    pub(crate) fn is_unconfirmed(&self) -> bool {
        self.unconfirmed.is_some()
    }
}

/// Sessions with withheld replies, in the order of the turns they wait for.
#[derive(Debug, Default)]
pub struct Gate {
    waiting: VecDeque<(Turn, SessionId)>,
}

impl Gate {
    /// The session's reply from `start` to the end waits for `turn` (`NONE`: for what went before).
    pub fn withhold(&mut self, session: SessionId, outbox: &mut Outbox, start: usize, turn: Turn) {
        if turn != Turn::NONE && outbox.reply.len() > start && outbox.require(start, turn) {
            // Turns of one session rise; those of different sessions may arrive out of order.
            let at = self.waiting.partition_point(|(other, _)| *other <= turn);
            self.waiting.insert(at, (turn, session));
        }
    }

    /// Sessions whose replies may leave up to `committed`, each named once per reply mark.
    pub fn release(&mut self, committed: Turn, released: &mut Vec<SessionId>) {
        while let Some(&(turn, session)) = self.waiting.front()
            && turn <= committed
        {
            self.waiting.pop_front();
            released.push(session);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// 0, 1, or 2 for more than one.
    pub fn sessions_up_to_two(&self) -> usize {
        match (self.waiting.front(), self.waiting.back()) {
            (Some((_, first)), Some((_, last))) if first != last || self.waiting.len() > 2 => 2,
            (Some(_), _) => 1,
            (None, _) => 0,
        }
    }

    /// Every waiting session, once each; nothing waits afterwards.
    pub fn drain(&mut self) -> Vec<SessionId> {
        let mut sessions: Vec<SessionId> = self.waiting.drain(..).map(|(_, session)| session).collect();
        sessions.sort_unstable();
        sessions.dedup();
        sessions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId(1);

    fn say(gate: &mut Gate, outbox: &mut Outbox, text: &str, turn: u64) {
        let start = outbox.reply.len();
        outbox.reply.simple(text);
        gate.withhold(SESSION, outbox, start, Turn(turn));
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).replace("\r\n", " ")
    }

    #[test]
    fn a_long_reply_leaves_piece_by_piece_without_being_moved_each_time() {
        let (mut gate, mut outbox) = (Gate::default(), Outbox::new(Protocol::Resp2));
        let long = "x".repeat(KEPT_BYTES_MAX * 10);
        say(&mut gate, &mut outbox, &long, 0);
        say(&mut gate, &mut outbox, "later", 1);
        let mut seen = Vec::new();
        while !outbox.released(Turn(0)).is_empty() {
            let piece = outbox.released(Turn(0)).len().min(KEPT_BYTES_MAX);
            seen.extend_from_slice(&outbox.released(Turn(0))[..piece]);
            outbox.sent(piece, Turn(0));
            assert!(outbox.sent <= outbox.reply.len() || outbox.sent <= KEPT_BYTES_MAX);
        }
        assert_eq!(text(&seen), format!("+{long} "));
        assert_eq!(text(outbox.released(Turn(1))), "+later ");
    }

    #[test]
    fn replies_leave_in_order_and_not_before_their_turn_is_committed() {
        let (mut gate, mut outbox) = (Gate::default(), Outbox::new(Protocol::Resp2));
        say(&mut gate, &mut outbox, "read", 0);
        say(&mut gate, &mut outbox, "write1", 1);
        say(&mut gate, &mut outbox, "read-after", 0);
        say(&mut gate, &mut outbox, "write2", 2);
        assert_eq!(text(outbox.released(Turn(0))), "+read ");
        outbox.sent(7, Turn(0));
        assert_eq!(text(outbox.released(Turn(0))), "");
        assert_eq!(text(outbox.released(Turn(1))), "+write1 +read-after ");
        let mut released = Vec::new();
        gate.release(Turn(1), &mut released);
        assert_eq!(released, [SESSION]);
        outbox.sent(3, Turn(1));
        assert_eq!(text(outbox.released(Turn(2))), "ite1 +read-after +write2 ");
        let all = outbox.released(Turn(2)).len();
        outbox.sent(all, Turn(2));
        assert_eq!(outbox.pending_bytes(), 0);
    }

    #[test]
    fn a_later_smaller_turn_waits_behind_an_earlier_larger_one() {
        let (mut gate, mut outbox) = (Gate::default(), Outbox::new(Protocol::Resp2));
        say(&mut gate, &mut outbox, "second", 2);
        say(&mut gate, &mut outbox, "first", 1);
        assert_eq!(text(outbox.released(Turn(1))), "");
        assert_eq!(text(outbox.released(Turn(2))), "+second +first ");
    }

    #[test]
    fn what_was_withheld_is_dropped_at_an_unknown_outcome_and_what_was_released_stays() {
        let (mut gate, mut outbox) = (Gate::default(), Outbox::new(Protocol::Resp2));
        say(&mut gate, &mut outbox, "known", 0);
        say(&mut gate, &mut outbox, "unknown", 1);
        assert_eq!(outbox.withheld_bytes(Turn(0)), 10);
        outbox.drop_withheld(Turn(0));
        assert_eq!(text(outbox.released(Turn(9))), "+known ");
        assert_eq!(gate.drain(), [SESSION]);
        assert!(gate.is_empty());
    }
}
