//! Handing leadership over: on command, before an orderly stop, and by a primary whose disk fails it.
//!
//! Lives here: when it begins, what it waits for, when it is given up. Not here: the offer itself and the end of the
//! lease (`ramkeep-log`), the step-down that follows (`role`).
//!
//! Invariant: nothing is executed from the begin on, so what was executed is committed and answered before leadership
//! is offered. Calls that come meanwhile wait, and go on here if nothing comes of it: in a term of their own, since there
//! is no lease any more in one in which leadership was offered.

use crate::{Output, Shard, State};
use ramkeep_engine::time::Now;
use ramkeep_log::{ChangeRefused, NodeId, Replica};
use thiserror::Error;

/// A write of the log that takes so long, or a log that cannot grow for so long, makes a primary yield.
const YIELD_AFTER_NS: u64 = 2_000_000_000;
/// Time between two attempts to yield.
const YIELD_RETRY_NS: u64 = 5_000_000_000;

/// Leadership on its way to another, or from one term of this primary to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handover {
    /// None: the next term is begun here.
    to: Option<NodeId>,
    /// What was executed must be committed by then, or it is given up.
    until_ns: u64,
    is_offered: bool,
}

/// Why leadership is not handed over. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HandoverRefused {
    #[error("this node is not the primary")]
    NotPrimary,
    #[error("leadership is being handed over already")]
    UnderWay,
    #[error("no other replica with the data is heard and close enough to the end of the log")]
    NoHeir,
    #[error(
        "who could take over has started too recently, or was not heard for a moment: it may not vote yet"
    )]
    TooFresh,
}

impl Shard {
    /// Hands leadership to `to`, or to the most caught-up voter that keeps the data. Gives whom it is meant for. The
    /// driver sees the end of it by [`Shard::is_leading`] and [`Shard::is_handing_over`]: within one election timeout
    /// the one or the other is false.
    pub fn transfer(
        &mut self,
        to: Option<NodeId>,
        now: Now,
        outputs: &mut Vec<Output>,
    ) -> Result<NodeId, HandoverRefused> {
        if self.handover.is_some() {
            return Err(HandoverRefused::UnderWay);
        }
        self.end_turn(now, outputs);
        let Some(replica) = self.replica.as_ref().filter(|_| self.state == State::Leading) else {
            return Err(HandoverRefused::NotPrimary);
        };
        let heir = match to {
            Some(to) => Some(to).filter(|to| replica.may_inherit(*to, now.monotonic_ns)),
            None => replica.heir(now.monotonic_ns),
        };
        let to = heir.ok_or_else(|| match replica.may_inherit_soon(to, now.monotonic_ns) {
            true => HandoverRefused::TooFresh,
            false => HandoverRefused::NoHeir,
        })?;
        let until_ns = now.monotonic_ns + replica.election_timeout_ns();
        self.begin_handover(Handover { to: Some(to), until_ns, is_offered: false }, now, outputs);
        Ok(to)
    }

    fn begin_handover(&mut self, handover: Handover, now: Now, outputs: &mut Vec<Output>) {
        self.handover = Some(handover);
        self.refresh_availability_at(Some(now));
        self.pump(now, outputs);
    }

    /// Changes the members, or has it refused: [`Replica::admit`], [`Replica::add_member`], [`Replica::remove_member`].
    pub fn change_members<T>(
        &mut self,
        now: Now,
        outputs: &mut Vec<Output>,
        change: impl FnOnce(&mut Replica, u64) -> Result<T, ChangeRefused>,
    ) -> Result<T, ChangeRefused> {
        if self.handover.is_some() {
            return Err(ChangeRefused::NotPrimary);
        }
        let mut outcome = Err(ChangeRefused::NotPrimary);
        self.drive(now, outputs, |replica| outcome = change(replica, now.monotonic_ns));
        outcome
    }

    /// Whether leadership is on its way to another; calls on data wait meanwhile.
    pub fn is_handing_over(&self) -> bool {
        self.handover.is_some()
    }

    /// Offers leadership once everything executed is committed; gives whether it did.
    pub(crate) fn offer_leadership(&mut self) -> bool {
        let is_drained = self.proposed.is_empty() && !self.has_open_turn() && !self.wants_confirmation();
        let Some(handover) = &mut self.handover else { return false };
        let Some(replica) = &mut self.replica else { return false };
        if handover.is_offered || !is_drained || self.state != State::Leading {
            return false;
        }
        handover.is_offered = match handover.to {
            Some(to) => replica.transfer(to),
            None => {
                replica.renew_term();
                true
            }
        };
        handover.is_offered
    }

    /// Gives up what came to nothing, and begins to hand over where the disk asks for it.
    pub(crate) fn review_handover(&mut self, now: Now, outputs: &mut Vec<Output>) {
        if let (Some(handover), Some(replica)) = (&self.handover, &self.replica) {
            let is_over = match handover.is_offered {
                true => !replica.is_transferring(),
                false => now.monotonic_ns >= handover.until_ns,
            };
            if !is_over {
                return;
            }
            self.handover = None;
            self.refresh_availability_at(Some(now));
        }
        let renewing = self.replica.as_ref().filter(|it| it.may_renew_term(now.monotonic_ns));
        if let Some(replica) = renewing.filter(|_| self.state == State::Leading) {
            let until_ns = now.monotonic_ns + replica.election_timeout_ns();
            return self.begin_handover(Handover { to: None, until_ns, is_offered: false }, now, outputs);
        }
        let since_ns = self.no_room_since_ns.unwrap_or(now.monotonic_ns);
        let is_full = now.monotonic_ns.saturating_sub(since_ns) >= YIELD_AFTER_NS;
        let wait_ns = self.replica.as_ref().map_or(0, |replica| replica.write_waits_ns(now.monotonic_ns));
        let must_yield = is_full || wait_ns >= YIELD_AFTER_NS;
        let is_alone = self.replica.as_ref().is_none_or(Replica::is_alone);
        if must_yield && !is_alone && self.state == State::Leading && now.monotonic_ns >= self.yield_again_ns
        {
            self.yield_again_ns = now.monotonic_ns + YIELD_RETRY_NS;
            // Without an heir it goes on as well as it can.
            let _ = self.transfer(None, now, outputs);
        }
    }
}
