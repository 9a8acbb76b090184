//! Handing leadership to another voter.
//!
//! Lives here: what a primary knows of the others, who may inherit, the offer, the log-only primary that hands on.
//! Not here: when an operator's or a failing disk's hand-over begins (`ramkeep-shard`).
//!
//! Invariant: once leadership is offered there is no lease in this term any more, also when nobody takes it: the offer may
//! arrive at any time later. It is void in the next term, which the primary may begin itself.

use raft::StateRole;
use raft::eraftpb::{Message as RaftMessage, MessageType};

use super::{Replica, Role};
use crate::hard_state::HardState;
use crate::types::{NodeId, Position};

/// A voter further behind is no heir: what it lacks could not be sent within the time that a transfer has. Nor is one
/// that needs a snapshot, however few the entries are.
const HEIR_LAG_POSITIONS: u64 = 1024;

/// A peer that was silent for so long may have started anew meanwhile. Answers to heartbeats come every two ticks.
const GAP_TICKS: u64 = 5;

/// What a primary knows of another voter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follower {
    /// Who.
    pub node: NodeId,
    /// Everything up to here is durable there, as it told.
    pub matched: Position,
    /// When it last said something; none if it has not since this process started.
    pub heard_ns: Option<u64>,
    /// It keeps the log and no data.
    pub is_log_only: bool,
}

impl Replica {
    /// What this primary knows of the other voters; nothing where it is none.
    #[must_use]
    pub fn followers(&self) -> Vec<Follower> {
        if self.role() != Role::Primary {
            return Vec::new();
        }
        let of = |(id, progress): (&u64, &raft::Progress)| Follower {
            node: NodeId(*id),
            matched: Position(progress.matched),
            heard_ns: self.heard_ns.get(&NodeId(*id)).copied(),
            is_log_only: self.is_log_only(NodeId(*id)),
        };
        let mut followers: Vec<Follower> = self.raw.raft.prs().iter().map(of).collect();
        followers.retain(|follower| follower.node != self.options.node);
        followers.sort_unstable_by_key(|follower| follower.node);
        followers
    }

    /// A peer has said something. One that was heard on one connection, without a gap, for a whole hold-off has not
    /// started within it; one that grants a vote has its hold-off behind it, whatever else is known of it.
    pub(super) fn hear(&mut self, from: NodeId, message: &RaftMessage, now_ns: u64) {
        let before_ns = self.heard_ns.insert(from, now_ns);
        let tick_ns = self.options.tick_ns();
        let is_steady = before_ns.is_some_and(|before_ns| now_ns < before_ns + GAP_TICKS * tick_ns);
        let is_vote = message.get_msg_type() == MessageType::MsgRequestVoteResponse
            && !message.reject
            && message.term == self.raw.raft.term;
        if is_vote {
            self.may_vote_from_ns.insert(from, now_ns);
        } else if !is_steady {
            self.may_have_started(from, now_ns);
        }
    }

    /// A peer may have started only now, as one may that speaks on a new connection: it votes once its hold-off is over.
    pub fn may_have_started(&mut self, peer: NodeId, now_ns: u64) {
        // One tick more, since its clock may be slower than this one.
        let held_off_ns = (self.options.hold_off_ticks as u64 + 1) * self.options.tick_ns();
        self.may_vote_from_ns.insert(peer, now_ns + held_off_ns);
    }

    /// Whether leadership may be offered to this voter: it keeps the data, is heard, is near the end of the log, and may
    /// vote.
    #[must_use]
    pub fn may_inherit(&self, node: NodeId, now_ns: u64) -> bool {
        self.heirs(now_ns).any(|follower| follower.node == node && self.may_vote(node, now_ns))
    }

    /// Whether this voter, or any for none, lacks nothing but that it may have started too recently to vote.
    #[must_use]
    pub fn may_inherit_soon(&self, node: Option<NodeId>, now_ns: u64) -> bool {
        self.heirs(now_ns).any(|follower| node.is_none_or(|node| follower.node == node))
    }

    /// The most caught-up voter to which leadership may be offered.
    #[must_use]
    pub fn heir(&self, now_ns: u64) -> Option<NodeId> {
        let heirs = self.heirs(now_ns).filter(|follower| self.may_vote(follower.node, now_ns));
        heirs.max_by_key(|follower| (follower.matched, follower.node)).map(|heir| heir.node)
    }

    fn may_vote(&self, node: NodeId, now_ns: u64) -> bool {
        self.may_vote_from_ns.get(&node).is_some_and(|from_ns| now_ns >= *from_ns)
    }

    fn heirs(&self, now_ns: u64) -> impl Iterator<Item = Follower> {
        let timeout_ns = self.election_timeout_ns();
        self.followers().into_iter().filter(move |follower| {
            let is_heard = follower.heard_ns.is_some_and(|heard_ns| now_ns < heard_ns + timeout_ns);
            is_heard
                && self.members.is_voter(follower.node)
                && !follower.is_log_only
                && self.is_nearly_last(follower.matched)
        })
    }

    /// Whether who has everything up to there needs but few entries, and all of them are in the log.
    pub(super) fn is_nearly_last(&self, matched: Position) -> bool {
        matched.0 >= self.last().0.saturating_sub(HEIR_LAG_POSITIONS) && matched >= self.base()
    }

    /// Leadership was offered, and neither taken nor given up yet.
    #[must_use]
    pub fn is_transferring(&self) -> bool {
        self.role() == Role::Primary && self.raw.raft.lead_transferee.is_some()
    }

    /// Offers leadership to another voter. There is no lease in this term from now on, and no proposal until the
    /// offer is taken or one election timeout has passed. False if there is nothing to offer.
    pub fn transfer(&mut self, to: NodeId) -> bool {
        let is_other_voter = to != self.options.node && self.members.is_voter(to) && !self.is_log_only(to);
        if self.role() != Role::Primary || !is_other_voter {
            return false;
        }
        self.lease.give_up(self.term());
        let promise = HardState { transferred: true, ..*self.promises.latest() };
        self.promises.make(promise);
        self.raw.transfer_leader(to.0);
        true
    }

    /// Whether leadership of this term was offered, nobody took it while it was, and enough others are there by now to elect
    /// this primary anew.
    #[must_use]
    pub fn may_renew_term(&self, now_ns: u64) -> bool {
        let has_lost_offer =
            self.role() == Role::Primary && self.has_given_up_lease() && !self.is_transferring();
        let timeout_ns = self.election_timeout_ns();
        let votes = |node: NodeId| {
            let is_heard = self.heard_ns.get(&node).is_some_and(|heard_ns| now_ns < heard_ns + timeout_ns);
            node == self.options.node || (is_heard && self.may_vote(node, now_ns))
        };
        let voters = self.members.voters();
        has_lost_offer && voters.iter().filter(|node| votes(**node)).count() > voters.len() / 2
    }

    /// Begins the next term as its primary, if a majority agrees: an offer of this one is void then, and there is a lease
    /// again. It leads no more until it is elected; nothing should be under way.
    pub fn renew_term(&mut self) {
        if self.role() != Role::Primary || !self.members.is_voter(self.options.node) {
            return;
        }
        let term = self.raw.raft.term;
        self.raw.raft.become_follower(term, raft::INVALID_ID);
        // The others need not wait until they miss a primary: this one knows that there is none.
        let mut offer = RaftMessage::default();
        offer.set_msg_type(MessageType::MsgTimeoutNow);
        (offer.from, offer.to, offer.term) = (self.options.node.0, self.options.node.0, term);
        self.step(offer);
    }

    /// Without data there is nothing to serve, and who is to leave has nothing to say: leadership goes on to another, at
    /// once and until it is taken.
    pub(super) fn hand_on(&mut self) {
        let leads = self.raw.raft.state == StateRole::Leader && self.raw.raft.commit_to_current_term();
        let may_stay = !self.options.is_log_only
            && self.members.is_voter(self.options.node)
            && !self.is_awaited_by_successor();
        if may_stay || !leads || self.raw.raft.lead_transferee.is_some() {
            return;
        }
        // Who serves waits for one that may vote. Who does not has nothing to lose by an offer that nobody takes.
        let serves = !self.options.is_log_only && self.members.is_voter(self.options.node);
        let may_vote = |it: &Follower| self.may_vote(it.node, self.now_ns);
        let heirs = self.heirs(self.now_ns).filter(|it| !serves || may_vote(it));
        let heir = heirs.max_by_key(|it| (may_vote(it), it.matched, it.node)).map(|heir| heir.node);
        if let Some(heir) = heir {
            self.transfer(heir);
        }
    }
}
