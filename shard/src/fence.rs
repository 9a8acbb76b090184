//! A replica that serves nothing any more, and why.
//!
//! Lives here: the causes, what clients are told, the fence itself. Not here: what is done about it (the node), when the
//! log fences (`ramkeep-log`), when data differ (`comparison`).
//!
//! Invariant: behind a fence nothing is acknowledged, voted or served until a replica starts anew.

use crate::{Output, Shard, State};
use ramkeep_engine::error::ErrorReply;
use ramkeep_engine::time::Now;
use ramkeep_log::Replica;
use std::fmt;

/// Why a replica serves nothing any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    pub cause: FenceCause,
    pub why: String,
}

/// What became of a replica, by what helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceCause {
    /// Its disk, its log or its memory is not to be trusted: recovery at the next start finds out what is left.
    Log,
    /// What had been durable is gone, or cannot be read any more.
    Damaged,
    /// Its data are not those of the others: they are to be fetched anew.
    Differs,
    /// It is no member any more, or another directory is in its place.
    Expelled,
}

impl Fence {
    /// What a call on data is answered.
    pub(crate) fn reply(&self) -> ErrorReply {
        let what = match self.cause {
            FenceCause::Log => "serves nothing until it is restarted",
            FenceCause::Damaged | FenceCause::Differs => {
                "serves nothing until it has fetched the data of the others anew"
            }
            FenceCause::Expelled => "serves nothing until it is a member again",
        };
        ErrorReply::owned(format!("MISCONF This node {what}: {}.", self.why))
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.why)
    }
}

impl Shard {
    /// The members say that this replica is none of them, or not with this directory.
    pub fn expel(&mut self, why: String, now: Now, outputs: &mut Vec<Output>) {
        self.end_turn(now, outputs);
        self.fence(FenceCause::Expelled, why, outputs);
    }

    /// Nothing is promised from here on. Withheld replies are dropped with their connections.
    pub(crate) fn fence(&mut self, cause: FenceCause, why: String, outputs: &mut Vec<Output>) {
        if matches!(self.state, State::Fenced(_)) {
            return;
        }
        let is_alone = self.replica.as_ref().is_none_or(Replica::is_alone);
        // Nobody holds what could be fetched.
        let cause = if is_alone && cause == FenceCause::Damaged { FenceCause::Log } else { cause };
        let fence = Fence { cause, why };
        self.state = State::Fenced(fence.clone());
        self.give_up_snapshot(&fence.why, outputs);
        self.refresh_availability();
        self.drop_withheld(outputs);
        outputs.push(Output::Fenced(fence));
    }
}
