//! What the shard tells of itself: roles, positions, the lease, the other members.
//!
//! Lives here: filling the facts that INFO, ROLE and HELLO print. Not here: printing them (`engine::commands`).

use crate::{Shard, State};
use ramkeep_engine::time::Now;
use ramkeep_engine::{MemberFacts, ShardRole};
use ramkeep_log::{NodeId, Replica};

impl Shard {
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
        introduce_all(&mut facts.members, replica);
        for member in &mut facts.members {
            refresh_member(member, replica, now);
        }
        let is_replica = |member: &&MemberFacts| member.is_heard && !member.is_log_only;
        facts.replicas = facts.members.iter().filter(is_replica).count() as u64;
    }
}

/// Everybody who is a member, as the log describes them, and nobody else.
fn introduce_all(known: &mut Vec<MemberFacts>, replica: &Replica) {
    let members = replica.members();
    known.retain(|it| members.get(NodeId(it.id)).is_some());
    for member in members.members() {
        let found = known.iter().position(|it| it.id == member.node.0).unwrap_or_else(|| {
            known.push(MemberFacts { id: member.node.0, ..MemberFacts::default() });
            known.len() - 1
        });
        let facts = &mut known[found];
        let (address, port) = member.client_address.rsplit_once(':').unwrap_or((&member.client_address, ""));
        facts.name.clone_from(&member.name);
        facts.zone.clone_from(&member.zone);
        address.clone_into(&mut facts.address);
        facts.port = port.parse().unwrap_or(0);
    }
    known.sort_unstable_by_key(|it| it.id);
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
