//! A node that comes back without what it was known by becomes a member again, under a new id; a new one waits until it
//! is added.
//!
//! Lives here: asking for it, answering, taking the new id over into the data directory. Not here: how the members
//! change (`ramkeep-log`), who founded the cluster (`founding`), an operator's changes (`members`).
//!
//! The node asks every other one until the primary says that it is a member; whoever does not lead asks the primary. One
//! that was a member is made a learner at once, which is fed and does not count; once it has caught up it takes the old
//! one's place as a voter. One that was none must have been added by command.
//!
//! A crash at any step is harmless. Until it is told its id the node has said nothing under any. The old identity goes
//! first, durably: a directory without one is a new one, and asks again under another UUID. With the new identity and
//! without a roster it asks again, and is told the same id.
//!
//! Invariant: nothing is voted, acknowledged or served under an id that the members do not know by this directory.

use crate::book::described;
use crate::founding::{FoundingError, Me};
use crate::log_driver::VOTE_FILE;
use crate::node::Node;
use crate::peers::Peers;
use crate::roster::{Founder, ROSTER_FILE, Roster, own};
use crate::start::IDENTITY_FILE;
use ramkeep_engine::config::{Member, Settings, node_number, read_member};
use ramkeep_log::{HardState, Identity, Layout, Newcomer, NodeId, Replica, Uuid};
use ramkeep_net::peer::Remote;
use ramkeep_net::{Clock, Disk};
use std::rc::Rc;
use std::time::Duration;

/// The question for an id; the node's own `member` line goes with it.
pub const QUESTION: u8 = 4;
/// The same, asked for another node: its directory (16), then its line.
pub const FORWARDED: u8 = 5;
/// Whether a node asks to become a member. The answer is one byte, 1 or 0; behind a 1 the node's own `member` line.
pub const WAITING: u8 = 8;
/// Between two rounds of asking.
const ROUND: Duration = Duration::from_millis(250);
/// How often a waiting node says what it waits for.
const TOLD_NS: u64 = 5_000_000_000;
/// The same where nothing has changed.
const TOLD_AGAIN_NS: u64 = 60_000_000_000;

/// First byte of an answer: not yet, and the reason follows; or the id follows.
const NOT_YET: u8 = 0;
const ADMITTED: u8 = 1;

fn not_yet(why: &str) -> Vec<u8> {
    [&[NOT_YET], why.as_bytes()].concat()
}

fn newcomer(directory: Uuid, line: &[u8]) -> Option<Newcomer> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let member = read_member(&words).ok()?;
    Some(Newcomer { number: member.number(), directory, described: described(&member) })
}

/// Answers a node that asks to be a member.
pub(crate) async fn answer(node: &Rc<Node>, peers: &Peers, from: Remote, line: &[u8]) -> Vec<u8> {
    let Some(newcomer) = newcomer(Uuid(from.directory), line) else {
        return not_yet("a question that makes no sense");
    };
    if newcomer.number != NodeId(from.member).node() {
        return not_yet("it asks for another node");
    }
    let leader = node.shard.borrow().replica().and_then(Replica::leader).filter(|it| *it != peers.me());
    match leader {
        None => decide(node, &newcomer),
        Some(leader) => {
            let question = [&from.directory, line].concat();
            match peers.ask(leader.node(), FORWARDED, &question).await {
                Ok(answer) => answer.body,
                Err(error) => not_yet(&format!("the primary does not answer: {error}")),
            }
        }
    }
}

/// The same, asked by the node that was asked.
pub(crate) fn answer_forwarded(node: &Rc<Node>, question: &[u8]) -> Vec<u8> {
    let newcomer =
        question.split_first_chunk().and_then(|(directory, line)| newcomer(Uuid(*directory), line));
    newcomer.map_or_else(|| not_yet("a question that makes no sense"), |newcomer| decide(node, &newcomer))
}

fn decide(node: &Rc<Node>, newcomer: &Newcomer) -> Vec<u8> {
    let outcome = node.with_shard(|shard, now, outputs| {
        shard.change_members(now, outputs, |replica, now_ns| replica.admit(newcomer, now_ns))
    });
    match outcome {
        Ok(id) => {
            let (member, incarnation) = (&newcomer.described.name, id.incarnation());
            tracing::info!(member, incarnation, "a node without data of this cluster becomes a member");
            [&[ADMITTED], &id.0.to_le_bytes()[..]].concat()
        }
        Err(refused) => not_yet(&refused.to_string()),
    }
}

/// Says whether this node waits to become a member, and as what it is configured.
pub(crate) fn answer_waiting(node: &Node, peers: &Peers) -> Vec<u8> {
    let shard = node.shard.borrow();
    match own(shard.engine.config.settings()) {
        Some(own) if peers.is_applying() => [&[1], own.to_string().as_bytes()].concat(),
        _ => vec![0],
    }
}

/// What such an answer says: none, that the node does not wait; else as what it is configured, if that makes sense.
pub(crate) fn waiting(answer: &[u8]) -> Option<Result<Member, String>> {
    let line = answer.strip_prefix(&[1])?;
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    Some(read_member(&words))
}

/// Asks until a node with an empty directory is a member. Gives its id, and the roster that it takes part with.
pub(crate) async fn join(
    me: Me<'_>,
    peers: &Peers,
    disk: &dyn Disk,
    layout: &Layout,
    founded: Roster,
    clock: &Clock,
) -> Result<(NodeId, Roster), FoundingError> {
    if me.settings.join_cluster && founded.directory_of(me.member).is_none() {
        tracing::info!("this node is no member yet: it waits to be added; see `ramkeep member add`");
    } else {
        tracing::warn!(
            "the cluster knows this node by another data directory, which is not here: it asks to be replaced, and \
             votes again once it holds what the others hold"
        );
    }
    let id = ask(me.settings, peers, clock).await;
    if id != me.member {
        disk.remove(IDENTITY_FILE).await?;
        disk.sync_dir().await?;
    }
    Ok((id, settle(me, disk, layout, id, founded).await?))
}

/// Writes down what the node is from now on. The directory holds no identity, or this one.
pub(crate) async fn settle(
    me: Me<'_>,
    disk: &dyn Disk,
    layout: &Layout,
    id: NodeId,
    founded: Roster,
) -> Result<Roster, FoundingError> {
    if disk.list().await?.iter().all(|name| name != IDENTITY_FILE) {
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
    Ok(roster)
}

/// Asks until this node is a member, under whatever directory it shows; gives its id.
pub(crate) async fn ask(settings: &Settings, peers: &Peers, clock: &Clock) -> NodeId {
    peers.set_applying(true);
    let id = ask_all(settings, peers, clock).await;
    peers.set_applying(false);
    id
}

async fn ask_all(settings: &Settings, peers: &Peers, clock: &Clock) -> NodeId {
    let number = node_number(&settings.node_name);
    let line = own(settings).map(|own| own.to_string()).unwrap_or_default();
    let (mut told_ns, mut told) = (0, String::new());
    loop {
        let mut reasons = Vec::new();
        for member in peers.book().iter().filter(|member| member.number() != number) {
            let reason = match peers.ask(member.number(), QUESTION, line.as_bytes()).await {
                Ok(answer) => match answer.body.split_first() {
                    Some((&ADMITTED, id)) => match id.try_into().map(u64::from_le_bytes).map(NodeId) {
                        Ok(id) if id.node() == number => return id,
                        _ => "an answer that makes no sense".to_owned(),
                    },
                    Some((_, reason)) => String::from_utf8_lossy(reason).into_owned(),
                    None => "an empty answer".to_owned(),
                },
                Err(error) => error.to_string(),
            };
            reasons.push(format!("{}: {reason}", member.name));
        }
        let reasons = reasons.join("; ");
        let rest_ns = if reasons == told { TOLD_AGAIN_NS } else { TOLD_NS };
        if told_ns == 0 || clock.monotonic_ns().saturating_sub(told_ns) >= rest_ns {
            tracing::info!("waiting to become a member; {reasons}");
            (told_ns, told) = (clock.monotonic_ns(), reasons);
        }
        clock.sleep(ROUND).await;
    }
}
