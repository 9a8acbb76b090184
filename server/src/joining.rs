//! A node that comes back without what it was known by becomes a member again, under a new id.
//!
//! Lives here: asking for it, answering, taking the new id over into the data directory. Not here: how the members
//! change (`ramkeep-log`), who founded the cluster (`founding`).
//!
//! The node asks every other one until the primary says that it is a member. The primary makes it a learner, which is
//! fed and does not count; once it has caught up it takes the old one's place as a voter.
//!
//! A crash at any step is harmless. Until it is told its id the node has said nothing under any. The old identity goes
//! first, durably: a directory without one is a new one, and asks again under another UUID. With the new identity and
//! without a roster it asks again, and is told the same id.
//!
//! Invariant: nothing is voted, acknowledged or served under an id that the members do not know by this directory.

use crate::founding::{FoundingError, Me};
use crate::log_driver::VOTE_FILE;
use crate::node::Node;
use crate::peers::Peers;
use crate::roster::{Founder, ROSTER_FILE, Roster};
use crate::start::IDENTITY_FILE;
use ramkeep_engine::config::{Member as Configured, MemberRole};
use ramkeep_log::{HardState, Identity, Layout, Member, Newcomer, NodeId, Uuid};
use ramkeep_net::peer::Remote;
use ramkeep_net::{Clock, Disk};
use std::rc::Rc;
use std::time::Duration;

/// The question for an id.
pub const QUESTION: u8 = 4;
/// Between two rounds of asking.
const ROUND: Duration = Duration::from_millis(250);
/// How often a waiting node says what it waits for.
const TOLD_NS: u64 = 5_000_000_000;

/// First byte of an answer: not yet, and the reason follows; or the id follows.
const NOT_YET: u8 = 0;
const ADMITTED: u8 = 1;

/// A member as the configuration describes it.
pub(crate) fn described(configured: &Configured) -> Member {
    Member {
        name: configured.name.clone(),
        zone: configured.zone.clone(),
        is_log_only: configured.role == MemberRole::Log,
        peer_address: configured.peer_address.clone(),
        client_address: configured.client_address.clone(),
        ..Member::default()
    }
}

/// Answers a node that asks to be a member again.
pub(crate) fn answer(node: &Rc<Node>, peers: &Peers, from: Remote) -> Vec<u8> {
    let number = NodeId(from.member).node();
    let Some(configured) = peers.member(NodeId(from.member)) else {
        return [&[NOT_YET], &b"no 'member' line names it here"[..]].concat();
    };
    let newcomer = Newcomer { number, directory: Uuid(from.directory), described: described(configured) };
    let outcome = node.with_shard(|shard, now, outputs| shard.admit(&newcomer, now, outputs));
    match outcome {
        Ok(id) => {
            tracing::info!(
                member = configured.name,
                incarnation = id.incarnation(),
                "a member came back without its data"
            );
            [&[ADMITTED], &id.0.to_le_bytes()[..]].concat()
        }
        Err(refused) => [&[NOT_YET], refused.to_string().as_bytes()].concat(),
    }
}

/// Asks until this node is a member. Gives the roster that it takes part with.
pub(crate) async fn join(
    me: Me<'_>,
    peers: &Peers,
    disk: &dyn Disk,
    layout: &Layout,
    founded: Roster,
    clock: &Clock,
) -> Result<(NodeId, Roster), FoundingError> {
    tracing::warn!(
        "the cluster knows this node by another data directory, which is not here: it asks to be replaced, and votes \
         again once it holds what the others hold"
    );
    let id = ask_all(me, peers, clock).await;
    if id != me.member {
        disk.remove(IDENTITY_FILE).await?;
        disk.sync_dir().await?;
        let Layout { directory, cluster, sector_bytes, segment_bytes, .. } = *layout;
        let identity = Identity { directory, cluster, member: id, sector_bytes, segment_bytes };
        disk.write_file_atomic(VOTE_FILE, HardState::new_file(layout, id)).await?;
        disk.write_file_atomic(IDENTITY_FILE, identity.encode()).await?;
    }
    let mut founders = founded.founders;
    founders.retain(|founder| founder.member != id);
    founders.push(Founder { member: id, directory: me.directory });
    let roster = Roster::new(me.cluster, founders);
    disk.write_file_atomic(ROSTER_FILE, roster.encode()).await?;
    tracing::info!(incarnation = id.incarnation(), "a member again; what the others hold is fetched");
    Ok((id, roster))
}

async fn ask_all(me: Me<'_>, peers: &Peers, clock: &Clock) -> NodeId {
    let mut told_ns = 0;
    loop {
        let mut reasons = Vec::new();
        for member in me.settings.members.iter().filter(|member| member.name != me.settings.node_name) {
            let reason = match peers.ask(member.number(), QUESTION, &[]).await {
                Ok(answer) => match answer.body.split_first() {
                    Some((&ADMITTED, id)) => match id.try_into().map(u64::from_le_bytes).map(NodeId) {
                        Ok(id) if id.node() == me.member.node() => return id,
                        _ => "an answer that makes no sense".to_owned(),
                    },
                    Some((_, reason)) => String::from_utf8_lossy(reason).into_owned(),
                    None => "an empty answer".to_owned(),
                },
                Err(error) => error.to_string(),
            };
            reasons.push(format!("{}: {reason}", member.name));
        }
        if told_ns == 0 || clock.monotonic_ns().saturating_sub(told_ns) >= TOLD_NS {
            told_ns = clock.monotonic_ns();
            tracing::info!("waiting to be replaced; {}", reasons.join("; "));
        }
        clock.sleep(ROUND).await;
    }
}
