//! Seeded bugs: proof that the simulator would find them.
//!
//! Lives here: their names and the switch. Not here: the places that break, each of which asks the switch.
//!
//! Invariant: without the feature `mutants` no bug exists: the switch is empty and every question is `false`.

use crate::types::Uuid;

/// A bug that can be switched on to test the tests.
#[cfg(feature = "mutants")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Recovery takes a bad record in the middle of the log for the end of the log.
    DamageTakenForTail,
    /// What recovery reads beyond the last watermark counts without being written again.
    TailNotWrittenAgain,
    /// A failed sync is taken for a successful one.
    SyncErrorIgnored,
    /// A write counts as durable when it is issued.
    AcknowledgedBeforeSync,
    /// A vote is given to whoever asks, whatever log it has.
    VotesForAnyLog,
    /// A vote is given before it is saved.
    VoteNotSaved,
    /// A started process votes at once.
    VotesAtOnce,
    /// Both: a vote is given before it is saved, and a started process votes at once.
    VoteForgotten,
    /// Voters change in one step: nothing needs a majority of the old ones and of the new ones.
    JointSkipped,
    /// A started process does not go by the changes of voters in its log but for what its disk says of them, so that voters
    /// that were replaced count.
    ReplacedCount,
    /// A data directory is known by its node, so that an empty one passes for the one that was lost.
    DirectoryOfNode,
}

/// Which seeded bug is on; none, and of no size, without the feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mutants {
    #[cfg(feature = "mutants")]
    pub on: Option<Mutant>,
}

macro_rules! question {
    ($name:ident, $($mutant:ident)|+) => {
        #[inline]
        pub(crate) fn $name(self) -> bool {
            #[cfg(feature = "mutants")]
            return matches!(self.on, $(Some(Mutant::$mutant))|+);
            #[cfg(not(feature = "mutants"))]
            return false;
        }
    };
}

impl Mutants {
    question!(damage_taken_for_tail, DamageTakenForTail);
    question!(tail_not_written_again, TailNotWrittenAgain);
    question!(sync_error_ignored, SyncErrorIgnored);
    question!(acknowledged_before_sync, AcknowledgedBeforeSync);
    question!(vote_not_saved, VoteNotSaved | VoteForgotten);
    question!(votes_at_once, VotesAtOnce | VoteForgotten);
    question!(joint_skipped, JointSkipped);
    question!(replaced_count, ReplacedCount);
    #[cfg(feature = "mutants")]
    question!(votes_for_any_log, VotesForAnyLog);

    /// The id of a new data directory: `drawn`, unless a bug has another.
    #[must_use]
    pub fn directory(self, drawn: Uuid, node: u32) -> Uuid {
        #[cfg(feature = "mutants")]
        if self.on == Some(Mutant::DirectoryOfNode) {
            return Uuid(u128::from(node).to_le_bytes());
        }
        let _ = node;
        drawn
    }
}
