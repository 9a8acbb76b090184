//! What the nodes of a cluster say of themselves, put together.
//!
//! Lives here: one node's status, the cluster's, handing the primary's role over, cuts by hand. Not here: printing
//! (`cli::status`), the command's arguments (`ramkeep-engine`).
//!
//! Invariant: a node speaks only of itself; what a silent node was is not guessed.

use crate::members;
use crate::node::Node;
use crate::peers::Peers;
use ramkeep_engine::config::MemberRole;
use ramkeep_engine::node::ClusterRequest;
use ramkeep_log::{NodeId, Replica};
use ramkeep_shard::HandoverRefused;
use serde::{Deserialize, Serialize};
use std::rc::Rc;
use std::time::Duration;

/// The question for a node's own status.
pub const QUESTION: u8 = 2;
/// The wish that a node hand its role of primary over.
pub const HAND_OVER: u8 = 3;
/// A hand-over is waited for so long; one question to a silent node fits in as well.
const HAND_OVER_NS_MAX: u64 = 3_000_000_000;
const HAND_OVER_STEP: Duration = Duration::from_millis(20);
/// Somebody who has started only just may vote within this time.
const HEIR_WAIT_NS_MAX: u64 = 1_800_000_000;
const HEIR_STEP: Duration = Duration::from_millis(50);

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    pub node: String,
    pub zone: String,
    pub role: String,
    pub client_address: String,
    pub peer_address: String,
    /// False: it does not answer, and what follows is empty.
    pub is_reachable: bool,
    /// `primary`, `replica`, `starting`, `frozen`, `fenced`, or `removed`: it was replaced or is no member any more.
    pub state: String,
    /// `voter`, `learner`, `changing` while a change of members is under way, `none`; empty before it knows.
    #[serde(default)]
    pub standing: String,
    /// Ids of the members, as its own log says; empty before it knows.
    pub member_ids: Vec<u64>,
    /// Whom it takes for the primary.
    pub primary: Option<String>,
    pub has_lease: bool,
    pub term: u64,
    pub last_position: u64,
    pub durable_position: u64,
    pub committed_position: u64,
    pub applied_position: u64,
    /// Committed entries, as far as any node knows, that it has not applied; none where it does not answer.
    pub lag_entries: Option<u64>,
    pub log_bytes: u64,
    /// Of the newest snapshot that was read back and found right; 0 without one.
    pub snapshot_position: u64,
    pub commit_p50_us: u64,
    pub commit_p99_us: u64,
    /// Nodes that it has a connection to.
    pub connected_to: Vec<String>,
}

/// All nodes, as one of them sees them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    pub asked: String,
    /// A primary with a lease answers, a majority follows it, and the node that was asked is one of the members.
    pub has_quorum: bool,
    pub primary: Option<String>,
    pub nodes: Vec<NodeStatus>,
}

/// Does what RAMKEEP asks for.
pub(crate) async fn carry_out(node: &Rc<Node>, request: ClusterRequest) -> Result<Option<String>, String> {
    match request {
        ClusterRequest::Status => {
            let status = cluster(node).await;
            serde_json::to_string(&status).map(Some).map_err(|error| error.to_string())
        }
        ClusterRequest::Failover { to } => failover(node, to).await.map(|()| None),
        ClusterRequest::Members(request) => members::carry_out(node, request).await,
        ClusterRequest::Cut => cut(node, true),
        ClusterRequest::Heal => cut(node, false),
    }
}

fn cut(node: &Rc<Node>, is_cut: bool) -> Result<Option<String>, String> {
    let peers = node.peers().ok_or("this node is alone")?;
    let book = peers.book();
    let others = book.iter().map(|member| member.number());
    others.filter(|number| *number != peers.me().node()).for_each(|number| peers.cut(number, is_cut));
    Ok(None)
}

/// This node's status.
pub(crate) fn own(node: &Node) -> NodeStatus {
    let shard = node.shard.borrow();
    let settings = shard.engine.config.settings();
    let facts = &shard.engine.log;
    let mut status = NodeStatus {
        node: if settings.node_name.is_empty() { "alone".into() } else { settings.node_name.clone() },
        role: "engine".into(),
        client_address: format!("127.0.0.1:{}", settings.port),
        is_reachable: true,
        state: "starting".into(),
        log_bytes: facts.log_bytes,
        snapshot_position: node.holdings.newest().map_or(0, |newest| newest.position().0),
        commit_p50_us: facts.commit_p50_us,
        commit_p99_us: facts.commit_p99_us,
        applied_position: shard.applied().0,
        ..NodeStatus::default()
    };
    let name_of = |member: NodeId| match node.peers() {
        Some(peers) => peers.name(member),
        None => status.node.clone(),
    };
    let replica = shard.replica();
    let primary = replica.and_then(Replica::leader).map(name_of);
    if let Some(peers) = node.peers()
        && let Some(me) = peers.member(peers.me())
    {
        describe(&mut status, &me);
        status.connected_to = connected(peers);
    }
    status.primary = primary;
    if let Some(replica) = replica {
        status.standing = standing(replica).into();
        status.member_ids = replica.members().members().iter().map(|member| member.node.0).collect();
        status.has_lease = shard.is_leading() && replica.lease_valid(node.clock.monotonic_ns());
        status.term = replica.term().0;
        status.last_position = replica.last().0;
        status.durable_position = replica.persisted().0;
        status.committed_position = replica.committed().0;
        status.state = match shard.state() {
            _ if node.is_turned_away() => "removed",
            _ if node.is_fenced.get() => "fenced",
            ramkeep_shard::State::Fenced(_) => "fenced",
            ramkeep_shard::State::Leading => "primary",
            ramkeep_shard::State::Frozen => "frozen",
            ramkeep_shard::State::Replaying => "starting",
            _ if status.primary.is_none() => "without a primary",
            _ => "replica",
        }
        .into();
    }
    status
}

/// What this node is among the members, as its own log says.
fn standing(replica: &Replica) -> &'static str {
    let members = replica.members();
    match members.get(replica.node()) {
        _ if members.is_joint() => "changing",
        Some(member) if member.votes => "voter",
        Some(_) => "learner",
        None => "none",
    }
}

fn describe(status: &mut NodeStatus, member: &ramkeep_engine::config::Member) {
    status.node = member.name.clone();
    status.zone = member.zone.clone();
    status.role = member.role.word().into();
    status.client_address = member.client_address.clone();
    status.peer_address = member.peer_address.clone();
}

fn connected(peers: &Peers) -> Vec<String> {
    let is_connected = |number: u32| peers.lane_facts(number).is_some_and(|facts| facts.is_connected);
    let members = peers.members().into_iter();
    members.filter(|member| is_connected(member.number())).map(|member| member.name).collect()
}

pub(crate) fn own_json(node: &Node) -> Vec<u8> {
    serde_json::to_vec(&own(node)).expect("a status has only text and numbers")
}

/// Every node's status, asked of each.
pub(crate) async fn cluster(node: &Rc<Node>) -> ClusterStatus {
    let mine = own(node);
    let mut nodes = Vec::new();
    let mut voters = Vec::new();
    if let Some(peers) = node.peers() {
        let mut asked = Vec::new();
        for member in peers.members() {
            let (peers, number) = (Rc::clone(peers), member.number());
            if peers.is_voter(number) {
                voters.push(member.name.clone());
            }
            asked.push((
                member,
                (number != peers.me().node())
                    .then(|| ramkeep_net::spawn(async move { peers.ask(number, QUESTION, &[]).await })),
            ));
        }
        for (member, asking) in asked {
            let status = match asking {
                None => Some(mine.clone()),
                Some(asking) => match asking.await {
                    Ok(Ok(answer)) => serde_json::from_slice(&answer.body).ok(),
                    _ => None,
                },
            };
            nodes.push(status.unwrap_or_else(|| {
                let mut silent = NodeStatus::default();
                describe(&mut silent, &member);
                silent
            }));
        }
    } else {
        voters.push(mine.node.clone());
        nodes.push(mine.clone());
    }
    if let Some(id) = node.shard.borrow().replica().map(|replica| replica.node().0) {
        mark_removed(&mine.node, id, &mut nodes);
    }
    summed(mine.node, nodes, &voters)
}

/// A node that was removed learns it only when the others turn it away. Until then the primary's word is taken for it.
fn mark_removed(asked: &str, id: u64, nodes: &mut [NodeStatus]) {
    let primary = nodes.iter().find(|status| leads(status));
    if primary.is_none_or(|primary| primary.node == asked || primary.member_ids.contains(&id)) {
        return;
    }
    let own = nodes.iter_mut().filter(|status| status.node == asked);
    own.for_each(|status| (status.state, status.primary) = ("removed".into(), None));
}

fn leads(status: &NodeStatus) -> bool {
    status.state == "primary" && status.has_lease
}

fn summed(asked: String, mut nodes: Vec<NodeStatus>, voters: &[String]) -> ClusterStatus {
    let committed = nodes.iter().map(|status| status.committed_position).max().unwrap_or(0);
    for status in nodes.iter_mut().filter(|status| status.is_reachable) {
        status.lag_entries = Some(committed.saturating_sub(status.applied_position));
    }
    let primary = nodes.iter().find(|status| leads(status)).map(|status| status.node.clone());
    let follows = |status: &&NodeStatus| {
        status.is_reachable && status.primary == primary && voters.contains(&status.node)
    };
    // What a node says that is none of the cluster any more counts for nothing.
    let is_removed = nodes.iter().any(|status| status.node == asked && status.state == "removed");
    let has_quorum =
        primary.is_some() && !is_removed && nodes.iter().filter(follows).count() > voters.len() / 2;
    ClusterStatus { asked, has_quorum, primary, nodes }
}

/// Hands the primary's role over, wherever it is, and waits until that is done.
async fn failover(node: &Rc<Node>, to: Option<String>) -> Result<(), String> {
    let peers = node.peers().ok_or("this node is alone: there is nobody to hand over to")?;
    let target = match &to {
        Some(name) => {
            let member = peers.members().into_iter().find(|member| member.name == *name);
            let member = member.ok_or_else(|| format!("there is no node '{name}'"))?;
            if member.role == MemberRole::Log {
                return Err(format!("node '{name}' holds the log alone and cannot serve"));
            }
            Some(member.number())
        }
        None => None,
    };
    let before = leader(node).ok_or("there is no primary that could hand over")?;
    if target == Some(before.node()) {
        return Ok(());
    }
    let begun_ns = node.clock.monotonic_ns();
    begin_hand_over(node, peers, before, target.unwrap_or(0)).await?;
    while node.clock.monotonic_ns() - begun_ns < HAND_OVER_NS_MAX {
        ramkeep_net::sleep(HAND_OVER_STEP).await;
        let now = leader(node);
        let is_another = match target {
            Some(target) => now.is_some_and(|leader| leader.node() == target),
            None => now.is_some_and(|leader| leader != before),
        };
        // Elected is not yet serving.
        if is_another && cluster(node).await.has_quorum {
            return Ok(());
        }
    }
    Err("the other node did not take over in time; the old primary goes on".into())
}

/// Has the primary begin. It goes on serving until the other may vote.
async fn begin_hand_over(node: &Rc<Node>, peers: &Peers, primary: NodeId, to: u32) -> Result<(), String> {
    let wish = to.to_le_bytes();
    if primary == peers.me() {
        return hand_over_once_ripe(node, &wish).await;
    }
    let begun_ns = node.clock.monotonic_ns();
    loop {
        let answer = peers.ask(primary.node(), HAND_OVER, &wish).await.map_err(|error| error.to_string())?;
        if answer.body.is_empty() {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&answer.body).into_owned();
        wait_for_heir(node, begun_ns, why).await?;
    }
}

/// Begins to hand this primary's role over, as soon as there is somebody who may vote.
pub(crate) async fn hand_over_once_ripe(node: &Rc<Node>, wish: &[u8]) -> Result<(), String> {
    let begun_ns = node.clock.monotonic_ns();
    loop {
        match hand_over(node, wish) {
            Ok(()) => return Ok(()),
            Err(why) => wait_for_heir(node, begun_ns, why).await?,
        }
    }
}

/// Who has started only just may take over soon; any other refusal stands, and so does this one after a while.
async fn wait_for_heir(node: &Node, begun_ns: u64, why: String) -> Result<(), String> {
    let waited_ns = node.clock.monotonic_ns() - begun_ns;
    if why != HandoverRefused::TooFresh.to_string() || waited_ns >= HEIR_WAIT_NS_MAX {
        return Err(why);
    }
    ramkeep_net::sleep(HEIR_STEP).await;
    Ok(())
}

/// Whom this node takes for the primary.
pub(crate) fn leader(node: &Node) -> Option<NodeId> {
    node.shard.borrow().replica().and_then(Replica::leader)
}

/// A peer wishes that this primary hand over. An empty answer: it has begun.
pub(crate) fn hand_over_asked(node: &Rc<Node>, wish: &[u8]) -> Vec<u8> {
    match hand_over(node, wish) {
        Ok(()) => Vec::new(),
        Err(why) => why.into_bytes(),
    }
}

/// Begins to hand this primary's role over: to the node of this number, or to any for 0.
pub(crate) fn hand_over(node: &Rc<Node>, wish: &[u8]) -> Result<(), String> {
    let wish = wish.try_into().map(u32::from_le_bytes).map_err(|_| "a wish that is none")?;
    node.peers().ok_or("this node is alone")?;
    let to = match wish {
        0 => None,
        number => {
            let voters = node.shard.borrow().replica().map(Replica::voters).unwrap_or_default();
            Some(voters.into_iter().find(|voter| voter.node() == number).ok_or("that node has no vote")?)
        }
    };
    let begun = node.with_shard(|shard, now, outputs| shard.transfer(to, now, outputs));
    begun.map(drop).map_err(|refused| refused.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, state: &str, primary: Option<&str>) -> NodeStatus {
        NodeStatus {
            node: name.into(),
            is_reachable: !state.is_empty(),
            state: state.into(),
            has_lease: state == "primary",
            primary: primary.map(str::to_owned),
            ..NodeStatus::default()
        }
    }

    #[test]
    fn a_node_that_the_primary_does_not_name_was_removed_and_vouches_for_no_quorum() {
        for (members, expected) in
            [(vec![1, 2, 3], "replica"), (vec![2, 3], "removed"), (Vec::new(), "removed")]
        {
            let primary = NodeStatus { member_ids: members, ..node("b", "primary", Some("b")) };
            let mut nodes = vec![node("a", "replica", Some("b")), primary, node("c", "replica", Some("b"))];
            mark_removed("a", 1, &mut nodes);
            assert_eq!(nodes[0].state, expected);
            let status = summed("a".into(), nodes, &["a".into(), "b".into(), "c".into()]);
            assert_eq!(status.has_quorum, expected == "replica");
        }
    }

    #[test]
    fn a_replicas_lag_is_what_it_has_not_applied_of_what_is_committed() {
        let at = |name: &str, state: &str, committed_position, applied_position| NodeStatus {
            committed_position,
            applied_position,
            ..node(name, state, Some("a"))
        };
        let nodes = vec![at("a", "primary", 40, 40), at("b", "replica", 39, 31), at("c", "", 0, 0)];
        let status = summed("b".into(), nodes, &["a".into(), "b".into(), "c".into()]);
        let lags: Vec<Option<u64>> = status.nodes.iter().map(|status| status.lag_entries).collect();
        assert_eq!(lags, [Some(0), Some(9), None]);
    }

    #[test]
    fn a_quorum_is_a_primary_with_a_lease_and_a_majority_that_follows_it() {
        let primary = node("a", "primary", Some("a"));
        let replica = node("b", "replica", Some("a"));
        let silent = node("c", "", None);
        let lost = node("b", "replica", None);
        for (nodes, expected) in [
            (vec![primary.clone(), replica.clone(), silent.clone()], true),
            (vec![primary.clone(), lost.clone(), silent.clone()], false),
            (vec![replica.clone(), replica, silent.clone()], false),
            (vec![node("alone", "primary", Some("alone"))], true),
            (vec![NodeStatus { has_lease: false, ..primary }, lost, silent], false),
        ] {
            let voters: Vec<String> = nodes.iter().map(|status| status.node.clone()).collect();
            let mut with_learners = nodes.clone();
            with_learners.extend(["d", "e", "f"].map(|name| node(name, "replica", Some("a"))));
            for nodes in [nodes, with_learners] {
                let status = summed("a".into(), nodes, &voters);
                assert_eq!(status.has_quorum, expected, "{status:?}");
            }
        }
    }
}
