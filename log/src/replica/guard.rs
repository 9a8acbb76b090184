//! What may not reach Raft.
//!
//! Lives here: the checks of a message against the state of this replica, before it is stepped.
//! Not here: the bytes (`message`).
//!
//! Invariant: no message from a peer, however wrong, makes the library panic: each of its assertions that depends
//! on a peer's words is checked here first.

use raft::eraftpb::{Message as RaftMessage, MessageType};

/// What the guard looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub term: u64,
    pub committed: u64,
    pub last: u64,
    pub persisted: u64,
    /// It keeps no data: nobody offers it leadership.
    pub is_log_only: bool,
    /// It refuses votes to candidates of less, unless their log is longer.
    pub priority: i64,
    /// Started too recently to take part in elections.
    pub held_off: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Step,
    Drop,
    /// The leader knows that this replica once held more than it does: what was durable is gone.
    LostDurable,
}

pub(super) fn judge(message: &RaftMessage, facts: Facts) -> Verdict {
    let is_stale = message.term < facts.term;
    match message.get_msg_type() {
        // A forwarded proposal was computed on the state of a deposed leader.
        MessageType::MsgPropose => Verdict::Drop,
        MessageType::MsgTimeoutNow if facts.is_log_only => Verdict::Drop,
        // A refusal would carry term 0, which the library does not send: it panics.
        MessageType::MsgRequestPreVote
            if facts.term == 0 && message.index <= facts.last && message.priority < facts.priority =>
        {
            Verdict::Drop
        }
        MessageType::MsgRequestVote | MessageType::MsgRequestPreVote | MessageType::MsgTimeoutNow => {
            if facts.held_off { Verdict::Drop } else { Verdict::Step }
        }
        // A candidate asks for votes only when its log is durable; an answer before that answers nothing.
        MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse => {
            if facts.last == facts.persisted { Verdict::Step } else { Verdict::Drop }
        }
        // A leader's heartbeat never names more than this replica acknowledged as durable.
        MessageType::MsgHeartbeat if !is_stale && message.commit > facts.last => Verdict::LostDurable,
        MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResponse => Verdict::Step,
        MessageType::MsgAppend => Verdict::Step,
        MessageType::MsgAppendResponse => {
            let names_unknown = !message.reject && message.index > facts.last.max(facts.committed);
            if !is_stale && names_unknown || message.request_snapshot != 0 {
                Verdict::Drop
            } else {
                Verdict::Step
            }
        }
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => {
            if message.entries.len() == 1 {
                Verdict::Step
            } else {
                Verdict::Drop
            }
        }
        // A pointer: an append of nothing.
        MessageType::MsgSnapshot => Verdict::Step,
        // All others a replica tells only itself.
        _ => Verdict::Drop,
    }
}
