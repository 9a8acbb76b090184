//! What the shard tells of itself: roles, positions, the lease, the other members.
//!
//! Lives here: filling the facts that INFO, ROLE and HELLO print. Not here: printing them (`engine::commands`), names
//! and addresses of nodes: the driver brings those.

use crate::{Shard, State};
use ramkeep_engine::time::Now;
use ramkeep_engine::{MemberFacts, ShardRole};
use ramkeep_log::{NodeId, Replica};

impl Shard {
    /// Says who a member is: name, zone, address. To be called for every member, this node among them, before it takes
    /// clients, and again when something of it changes. Positions in it are ignored: the shard knows better.
    pub fn introduce(&mut self, member: MemberFacts) {
        match self.engine.log.members.iter_mut().find(|known| known.id == member.id) {
            Some(known) => *known = member,
            None => self.engine.log.members.push(member),
        }
        self.engine.log.members.sort_unstable_by_key(|member| member.id);
    }

    /// Brings the facts up to date; at every tick.
    pub(crate) fn refresh_facts(&mut self, now: Now) {
        let Some(replica) = &self.replica else { return };
        let facts = &mut self.engine.log;
        facts.role = match self.state {
            State::Leading => ShardRole::Primary,
            _ if self.options.is_log_only => ShardRole::LogOnly,
            _ if replica.is_alone() => ShardRole::Primary,
            _ => ShardRole::Replica,
        };
        facts.own_id = replica.node().0;
        facts.primary_id = replica.leader().map(|leader| leader.0);
        facts.primary_heard_ms = replica
            .leader()
            .and_then(|leader| replica.heard_ns(leader))
            .map(|heard_ns| now.monotonic_ns.saturating_sub(heard_ns) / 1_000_000);
        facts.voters = replica.voters().len() as u64;
        facts.term = replica.term().0;
        facts.last_position = replica.last().0;
        facts.committed_position = replica.committed().0;
        facts.applied_position = self.applied.0;
        facts.durable_position = replica.persisted().0;
        facts.lease_left_ms =
            (!replica.is_alone()).then(|| replica.lease_left_ns(now.monotonic_ns) / 1_000_000);
        facts.rebuilds = self.rebuilds;
        for voter in replica.voters() {
            if !facts.members.iter().any(|member| member.id == voter.0) {
                facts.members.push(MemberFacts { id: voter.0, ..MemberFacts::default() });
            }
        }
        for member in &mut facts.members {
            refresh_member(member, replica, now);
        }
        let is_replica = |member: &&MemberFacts| member.is_heard && !member.is_log_only;
        facts.replicas = facts.members.iter().filter(is_replica).count() as u64;
    }
}

fn refresh_member(member: &mut MemberFacts, replica: &Replica, now: Now) {
    let id = NodeId(member.id);
    let heard_ns = replica.heard_ns(id);
    let silent_ns = heard_ns.map(|heard_ns| now.monotonic_ns.saturating_sub(heard_ns));
    member.silent_ms = silent_ns.map(|silent_ns| silent_ns / 1_000_000);
    // Only who leads knows what the others hold.
    let follower = replica.followers().into_iter().find(|follower| follower.node == id);
    member.is_heard = follower.is_some() && silent_ns.is_some_and(|it| it < replica.election_timeout_ns());
    member.is_log_only = replica.is_log_only(id);
    member.matched_position = match follower {
        Some(follower) => follower.matched.0,
        None if id == replica.node() => replica.persisted().0,
        None => 0,
    };
}
