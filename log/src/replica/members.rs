//! Who the members are, and the changes of them.
//!
//! Lives here: the membership that this replica has applied, proposing the next one, carrying a change that has begun
//! to its end, and what a log says of changes by itself. Not here: what a membership is (`membership`), who asks for a
//! change.
//!
//! A learner that is to vote is fed until it is near the end of the log; then one change makes it a voter and, where
//! it replaces another, that one none. So three voters are never two meanwhile. Everything that is still to be done
//! follows from the membership itself: whoever leads next goes on where the one before stopped.
//!
//! Invariant: one change at a time; each is applied when it is handed out, in the order of the log, by every replica. A
//! change is proposed only when the one before it is in force, so at most the last one in a log is in doubt, and who goes
//! by the one before it shares a majority with who goes by it.

use raft::StateRole;
use raft::eraftpb::{ConfChangeSingle, ConfChangeV2};

use super::{FenceReason, Output, Replica, storage};
use crate::membership::{ChangeRefused, Member, Membership};
use crate::types::{Entry, EntryKind, NodeId, Position, Uuid};

/// With fewer voters a zone that fails would stop writes.
const VOTERS_MIN: usize = 3;

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
        // One that never voted makes room for itself, and goes on to whatever place it was to take.
        let old = known.iter().find(|member| member.votes).or(known.first()).ok_or(ChangeRefused::Unknown)?;
        let (old, replaces) = (old.node, if old.votes { old.node } else { old.replaces });
        let zone = known[0].zone.clone();
        if zone != newcomer.described.zone && !zone.is_empty() {
            return Err(ChangeRefused::Unknown);
        }
        if old == self.options.node || self.is_heard(old) {
            return Err(ChangeRefused::Alive);
        }
        let learner = Member {
            node: self.members.next_id(newcomer.number),
            directory: newcomer.directory,
            replaces,
            ..newcomer.described.clone()
        };
        self.change(self.members.with_learner(learner), old)?;
        Err(ChangeRefused::UnderWay)
    }

    /// A new node becomes a learner; it becomes a voter once it has caught up, in the place of `replaces`, or where its
    /// zone has none. A node that has lost its data may take its own place; then it must not be heard any more.
    pub fn add_member(&mut self, member: Member, now_ns: u64) -> Result<NodeId, ChangeRefused> {
        self.now_ns = now_ns;
        self.check_may_change()?;
        let all = self.members.members();
        let (number, replaces) = (member.node.node(), member.replaces);
        let is_same = |it: &&Member| it.name == member.name || it.node.node() == number;
        if let Some(known) = all.iter().find(|it| is_same(it) && it.directory == member.directory) {
            return Ok(known.node);
        }
        let is_in_use = all.iter().any(|it| it.directory == member.directory);
        if is_in_use || all.iter().any(|it| is_same(&it) && it.node != replaces) {
            return Err(ChangeRefused::Exists);
        }
        if self.members.is_changing() {
            return Err(ChangeRefused::UnderWay);
        }
        if replaces == self.options.node {
            return Err(ChangeRefused::IsPrimary);
        }
        if replaces != NodeId(0) && self.members.get(replaces).is_none() {
            return Err(ChangeRefused::Unknown);
        }
        if replaces.node() == number && self.is_heard(replaces) {
            return Err(ChangeRefused::Alive);
        }
        let is_replacing_voter = self.members.is_voter(replaces);
        let node = self.members.next_id(number);
        let replaces = if is_replacing_voter { replaces } else { NodeId(0) };
        let next = self.members.with_learner(Member { node, replaces, ..member });
        if is_replacing_voter && !next.with_promoted(node).is_legal() {
            return Err(ChangeRefused::ZoneTaken);
        }
        self.check_majority(&next)?;
        self.propose_members(&next)?;
        Ok(node)
    }

    /// A member leaves. Where another member stands in its zone that one votes in its place; else its zone has no voter
    /// any more, and at least three others have one. A learner leaves at once, also one that was to take somebody's
    /// place: so a change that does not get on is called off.
    pub fn remove_member(&mut self, node: NodeId, now_ns: u64) -> Result<(), ChangeRefused> {
        self.now_ns = now_ns;
        self.check_may_change()?;
        let member = self.members.get(node).ok_or(ChangeRefused::Unknown)?;
        if node == self.options.node {
            return Err(ChangeRefused::IsPrimary);
        }
        let next = if !member.votes {
            self.members.without(node)
        } else if self.members.is_changing() {
            return Err(ChangeRefused::UnderWay);
        } else if let Some(heir) =
            self.members.members().iter().find(|it| !it.votes && it.zone == member.zone)
        {
            if !self.has_caught_up(heir.node) {
                return Err(ChangeRefused::Lagging);
            }
            self.members.with_heir(heir.node, node)
        } else if self.members.voters().len() <= VOTERS_MIN {
            return Err(ChangeRefused::TooFew);
        } else {
            self.members.without(node)
        };
        self.check_majority(&next)?;
        self.propose_members(&next)
    }

    /// Whether a majority of those who vote from then on is heard now.
    fn check_majority(&self, next: &Membership) -> Result<(), ChangeRefused> {
        let voters = next.voters();
        let heard = voters.iter().filter(|it| **it == self.options.node || self.is_heard(**it)).count();
        if heard > voters.len() / 2 { Ok(()) } else { Err(ChangeRefused::NoMajority) }
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
        if !next.is_within_bounds() {
            return Err(ChangeRefused::TooMany);
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
        let ready = self.members.members().iter().find_map(|member| {
            let is_ready = self.members.is_wanted(member)
                && member.replaces != self.options.node
                && self.has_caught_up(member.node);
            let next = is_ready.then(|| self.members.with_promoted(member.node))?;
            next.is_legal().then_some(next)
        });
        let skips_joint = self.options.mutants.joint_skipped();
        if let Some(next) = ready.map(|next| if skips_joint { next.settled() } else { next }) {
            // Not now, for want of room: the next call tries again.
            let _ = self.propose_members(&next);
        }
    }

    /// A learner could take this one's place now; whoever leads carries no change out that ends its own vote.
    pub(super) fn is_awaited_by_successor(&self) -> bool {
        let takes_place = |member: &&Member| !member.votes && member.replaces == self.options.node;
        self.members.members().iter().filter(takes_place).any(|member| self.has_caught_up(member.node))
    }

    /// It is heard, and near the end of the log.
    fn has_caught_up(&self, node: NodeId) -> bool {
        let matched = self.raw.raft.prs().get(node.0).map(|progress| Position(progress.matched));
        matched.is_some_and(|matched| self.is_nearly_last(matched)) && self.is_heard(node)
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
        let is_one_step = !self.members.is_joint() && !next.is_joint();
        let mut steps = vec![self.members.change_to(&next)];
        if self.options.mutants.joint_skipped() && is_one_step {
            steps = one_by_one(&steps[0]);
        }
        if steps.iter().any(|change| self.raw.apply_conf_change(change).is_err()) {
            return self.fence(FenceReason::UnknownEntry);
        }
        self.heard_ns.retain(|node, _| next.get(*node).is_some());
        self.may_vote_from_ns.retain(|node, _| next.get(*node).is_some());
        self.members = next;
        // One that lagged may lead when it learns that it was replaced; the library counts on a leader's being a member.
        let raft = &mut self.raw.raft;
        if raft.state == StateRole::Leader && self.members.get(self.options.node).is_none() {
            raft.become_follower(raft.term, raft::INVALID_ID);
        }
        outputs.push(Output::MembersChanged { position: entry.position });
    }

    /// Last position at which a change may stand: nothing of it is in doubt up to here.
    #[must_use]
    pub fn applied(&self) -> Position {
        Position(self.raw.raft.raft_log.applied)
    }
}

/// Of entries that are not known to be committed, the position of the last change but one: its being committed made the
/// last one possible. A replica that did not go by it would count with members who were replaced since. It need not be
/// durable here yet.
pub(super) fn committed_by_changes(unapplied: &[Entry]) -> Position {
    // One of another origin is void.
    let is_change = |entry: &&Entry| entry.kind == EntryKind::ConfChange && entry.origin_term == entry.term;
    let changes = unapplied.iter().rev().filter(is_change);
    changes.map(|entry| entry.position).nth(1).unwrap_or(Position::ZERO)
}

/// For a seeded bug: every part of a change as one of its own.
fn one_by_one(change: &ConfChangeV2) -> Vec<ConfChangeV2> {
    let single = |part: &ConfChangeSingle| {
        let mut change = ConfChangeV2::default();
        change.set_changes(vec![part.clone()].into());
        change
    };
    change.get_changes().iter().map(single).collect()
}
