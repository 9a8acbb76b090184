//! Who the members are, and the changes of them.
//!
//! Lives here: the membership that this replica has applied, proposing the next one, carrying a change that has begun
//! to its end. Not here: what a membership is (`membership`), who asks for a change.
//!
//! A learner that is to vote is fed until it is near the end of the log; then one change makes it a voter and, where
//! it replaces another, that one none. So three voters are never two meanwhile. Everything that is still to be done
//! follows from the membership itself: whoever leads next goes on where the one before stopped.
//!
//! Invariant: one change at a time; each is applied when it is handed out, in the order of the log, by every replica.

use raft::StateRole;

use super::handover::HEIR_LAG_POSITIONS;
use super::{FenceReason, Output, Replica, storage};
use crate::membership::{ChangeRefused, Member, Membership};
use crate::types::{Entry, NodeId, Position, Uuid};

/// A node that came back without what it was known by, and asks to be a member again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newcomer {
    /// Number of the node.
    pub number: u32,
    /// The data directory that it has now.
    pub directory: Uuid,
    /// Its name, zone, addresses and role, as the configuration has them.
    pub described: Member,
}

impl Replica {
    /// The members as this replica has applied them.
    #[must_use]
    pub fn members(&self) -> &Membership {
        &self.members
    }

    /// The members as of the last position of the log; none while a change is in the log and not yet applied.
    #[must_use]
    pub fn members_at_end(&self) -> Option<&Membership> {
        (!self.raw.raft.has_pending_conf()).then_some(&self.members)
    }

    /// Whether it is the only member: nobody else can lead.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        matches!(self.members.members(), [only] if only.node == self.options.node && only.votes)
    }

    /// The id under which a node that has lost its disk is a member again, once it is. Until then an error says why not
    /// yet, and the call makes it come nearer: where the other voters are healthy the node becomes a learner under a
    /// new id, which is to take the place of the old one.
    pub fn admit(&mut self, newcomer: &Newcomer, now_ns: u64) -> Result<NodeId, ChangeRefused> {
        self.now_ns = now_ns;
        self.check_may_change()?;
        let known = self.members.members().iter().filter(|it| it.node.node() == newcomer.number);
        let known: Vec<&Member> = known.collect();
        if let Some(member) = known.iter().find(|it| it.directory == newcomer.directory) {
            return Ok(member.node);
        }
        let old = known.iter().find(|member| member.votes).ok_or(ChangeRefused::Unknown)?;
        let (old, zone) = (old.node, old.zone.clone());
        if zone != newcomer.described.zone && !zone.is_empty() {
            return Err(ChangeRefused::Unknown);
        }
        if old == self.options.node || self.is_heard(old) {
            return Err(ChangeRefused::Alive);
        }
        let incarnation = self.members.last_incarnation(newcomer.number) + 1;
        let learner = Member {
            node: NodeId::of(newcomer.number, incarnation),
            directory: newcomer.directory,
            replaces: old,
            ..newcomer.described.clone()
        };
        self.change(self.members.with_learner(learner), old)?;
        Err(ChangeRefused::UnderWay)
    }

    /// A new node becomes a learner; it becomes a voter once it has caught up, in the place of `replaces`, or where its
    /// zone has none.
    pub fn add_member(&mut self, member: Member, now_ns: u64) -> Result<NodeId, ChangeRefused> {
        self.now_ns = now_ns;
        self.check_may_change()?;
        if self
            .members
            .members()
            .iter()
            .any(|it| it.name == member.name || it.node.node() == member.node.node())
        {
            return Err(ChangeRefused::Exists);
        }
        if member.replaces == self.options.node {
            return Err(ChangeRefused::IsPrimary);
        }
        if member.replaces != NodeId(0) && !self.members.is_voter(member.replaces) {
            return Err(ChangeRefused::Unknown);
        }
        let number = member.node.node();
        let node = NodeId::of(number, self.members.last_incarnation(number) + 1);
        let replaces = member.replaces;
        self.change(self.members.with_learner(Member { node, ..member }), replaces)?;
        Ok(node)
    }

    /// A member leaves. At least three voters stay.
    pub fn remove_member(&mut self, node: NodeId, now_ns: u64) -> Result<(), ChangeRefused> {
        self.now_ns = now_ns;
        self.check_may_change()?;
        let member = self.members.get(node).ok_or(ChangeRefused::Unknown)?;
        if node == self.options.node {
            return Err(ChangeRefused::IsPrimary);
        }
        if member.votes && self.members.voters().len() <= 3 {
            return Err(ChangeRefused::TooFew);
        }
        self.change(self.members.without(node), node)
    }

    fn check_may_change(&self) -> Result<(), ChangeRefused> {
        if !self.is_ready_primary() {
            return Err(ChangeRefused::NotPrimary);
        }
        let is_under_way = self.raw.raft.has_pending_conf()
            || self.members.is_joint()
            || self.raw.raft.lead_transferee.is_some();
        if is_under_way { Err(ChangeRefused::UnderWay) } else { Ok(()) }
    }

    /// Proposes the next membership, if every voter but `but` is heard.
    fn change(&mut self, next: Membership, but: NodeId) -> Result<(), ChangeRefused> {
        let others = self.members.voters();
        if others.into_iter().any(|it| it != self.options.node && it != but && !self.is_heard(it)) {
            return Err(ChangeRefused::Unhealthy);
        }
        self.propose_members(&next)
    }

    fn propose_members(&mut self, next: &Membership) -> Result<(), ChangeRefused> {
        if !next.is_legal() {
            return Err(ChangeRefused::ZoneTaken);
        }
        let payload = next.encode();
        let bytes = payload.len() as u64;
        if self.fenced.is_some() || !self.writer.has_room_for(bytes) {
            return Err(ChangeRefused::NoRoom);
        }
        let context = storage::change_context(self.term(), &payload);
        let change = self.members.change_to(next);
        self.raw.propose_conf_change(context, change).map_err(|_| ChangeRefused::NotPrimary)?;
        self.uncommitted.push_back((self.last(), bytes));
        self.uncommitted_bytes += bytes;
        Ok(())
    }

    fn is_heard(&self, node: NodeId) -> bool {
        let timeout_ns = self.election_timeout_ns();
        self.heard_ns.get(&node).is_some_and(|heard_ns| self.now_ns < heard_ns + timeout_ns)
    }

    /// A primary carries on what the membership says is to be done.
    pub(super) fn carry_on(&mut self) {
        if self.raw.raft.state != StateRole::Leader || !self.raw.raft.apply_to_current_term() {
            return;
        }
        if self.raw.raft.has_pending_conf() || self.raw.raft.lead_transferee.is_some() {
            return;
        }
        if self.members.is_joint() {
            // Whoever is to leave does not decide about those who stay.
            if self.members.is_voter(self.options.node) {
                let _ = self.propose_members(&self.members.settled());
            }
            return;
        }
        let is_idle = self.members.members().iter().all(|member| member.votes);
        if is_idle {
            return;
        }
        let nearly_last = self.last().0.saturating_sub(HEIR_LAG_POSITIONS);
        let ready = self.members.members().iter().find_map(|member| {
            let progress = self.raw.raft.prs().get(member.node.0)?;
            let has_caught_up = progress.matched >= nearly_last && self.is_heard(member.node);
            let next = (!member.votes && has_caught_up).then(|| self.members.with_promoted(member.node))?;
            // An extra replica in a zone that has its voter stays a learner.
            (next.is_legal() && self.is_wanted(member)).then_some(next)
        });
        if let Some(next) = ready {
            // Not now, for want of room: the next call tries again.
            let _ = self.propose_members(&next);
        }
    }

    /// It takes somebody's place, or its zone has no voter.
    fn is_wanted(&self, learner: &Member) -> bool {
        learner.replaces != NodeId(0) && learner.replaces != self.options.node
            || !self.members.members().iter().any(|it| it.votes && it.zone == learner.zone)
    }

    /// A committed change comes into force.
    pub(super) fn apply_members(&mut self, entry: &Entry, outputs: &mut Vec<Output>) {
        if entry.origin_term != entry.term {
            return;
        }
        let Ok(next) = Membership::decode(&entry.payload) else {
            return self.fence(FenceReason::UnknownEntry);
        };
        if next == self.members {
            return;
        }
        let change = self.members.change_to(&next);
        if self.raw.apply_conf_change(&change).is_err() {
            return self.fence(FenceReason::UnknownEntry);
        }
        self.heard_ns.retain(|node, _| next.get(*node).is_some());
        self.members = next;
        outputs.push(Output::MembersChanged { position: entry.position });
    }

    /// Last position at which a change may stand: nothing of it is in doubt up to here.
    #[must_use]
    pub fn applied(&self) -> Position {
        Position(self.raw.raft.raft_log.applied)
    }
}
