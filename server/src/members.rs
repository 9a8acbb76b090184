//! Members listed, added, removed and replaced by an operator through any node.
//!
//! Lives here: what the primary does about such a wish, carrying the wish to it, what it tells of the members. Not here:
//! which changes are legal and how they are agreed on (`ramkeep-log`), nodes that ask by themselves (`joining`),
//! following a change to its end (`cli::member`).
//!
//! A node is added only if it runs and waits for it: so its data directory is known, and nobody waits for a node that
//! was never started.
//!
//! Invariant: the answer OK means that the change has begun; whoever leads carries it on.

use crate::book::described;
use crate::joining;
use crate::node::Node;
use crate::peers::Peers;
use crate::status;
use ramkeep_engine::config::{Member, read_member};
use ramkeep_engine::node::MembersRequest;
use ramkeep_log::{ChangeRefused, Member as LogMember, Membership, NodeId, Replica};
use serde::{Deserialize, Serialize};
use std::rc::Rc;
use std::time::Duration;

/// A wish for a change, in words; an empty answer says that it has begun.
pub const CHANGE: u8 = 6;
/// The question for the members.
pub const LIST: u8 = 7;
/// The primary may have to hand over before it answers, or ask a node that is silent.
const CHANGE_TIME_MAX: Duration = Duration::from_secs(5);
/// A node that is to be added answers within this.
const NEWCOMER_TIME_MAX: Duration = Duration::from_secs(1);
/// A primary that is to leave, and a node that has only just ended, are waited for so long.
const PATIENCE_NS: u64 = 3_000_000_000;
const STEP: Duration = Duration::from_millis(50);

/// One member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    pub node: String,
    pub zone: String,
    /// `engine` or `log`.
    pub role: String,
    /// `voter`; `learner`: fed, does not vote; `joining` or `leaving`: its vote is being given or taken.
    pub standing: String,
    /// Which of the node's ids: a new one each time it becomes a member.
    pub incarnation: u32,
    /// UUID of its data directory.
    pub directory: String,
    /// The node whose place a learner takes once it has caught up.
    pub replaces: Option<String>,
    pub is_primary: bool,
    /// It answers the primary.
    pub is_heard: bool,
    /// Positions of the log that it lacks, as far as the primary knows.
    pub lag: Option<u64>,
    pub peer_address: String,
    pub client_address: String,
}

/// All members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersStatus {
    /// Who answers; the primary where there is one.
    pub asked: String,
    pub primary: Option<String>,
    /// A node is on its way to a vote, or out.
    pub is_changing: bool,
    pub members: Vec<MemberStatus>,
}

/// Does what RAMKEEP MEMBER asks for.
pub(crate) async fn carry_out(node: &Rc<Node>, request: MembersRequest) -> Result<Option<String>, String> {
    let peers = node.peers().ok_or("this node is alone: it has no 'member' lines")?;
    if request == MembersRequest::List {
        return list(node, peers).await.map(Some);
    }
    let answer = match status::leader(node) {
        Some(leader) if leader == peers.me() => change(node, peers, request).await,
        Some(leader) => forward(peers, leader, &request).await,
        None => Err("there is no primary that could change the members".to_owned()),
    };
    answer.map(|()| None)
}

async fn forward(peers: &Peers, primary: NodeId, request: &MembersRequest) -> Result<(), String> {
    let member = peers.member(primary).ok_or("the primary is unknown here")?;
    let asked = peers.ask_within(CHANGE_TIME_MAX, &member, CHANGE, words_of(request).as_bytes()).await;
    let answer = asked.map_err(|error| format!("the primary {} does not answer: {error}", member.name))?;
    if answer.body.is_empty() { Ok(()) } else { Err(String::from_utf8_lossy(&answer.body).into_owned()) }
}

/// A wish as it goes to the primary. Names and addresses hold no spaces.
fn words_of(request: &MembersRequest) -> String {
    match request {
        MembersRequest::List => "list".to_owned(),
        MembersRequest::Add(member) => format!("add {member}"),
        MembersRequest::Remove(name) => format!("remove {name}"),
        MembersRequest::Replace { name, with: None } => format!("replace {name}"),
        MembersRequest::Replace { name, with: Some(member) } => format!("replace {name} {member}"),
    }
}

fn request_of(words: &[u8]) -> Option<MembersRequest> {
    let words: Vec<&[u8]> = words.split(|byte| *byte == b' ').collect();
    let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
    match words.split_first()? {
        (&b"add", line) => read_member(line).ok().map(MembersRequest::Add),
        (&b"remove", [name]) => Some(MembersRequest::Remove(text(name))),
        (&b"replace", [name]) => Some(MembersRequest::Replace { name: text(name), with: None }),
        (&b"replace", [name, line @ ..]) => {
            let with = Some(read_member(line).ok()?);
            Some(MembersRequest::Replace { name: text(name), with })
        }
        _ => None,
    }
}

/// Another node carries a wish here.
pub(crate) async fn change_asked(node: &Rc<Node>, words: &[u8]) -> Vec<u8> {
    let outcome = match (request_of(words), node.peers()) {
        (Some(request), Some(peers)) => change(node, peers, request).await,
        _ => Err("a wish that makes no sense".to_owned()),
    };
    outcome.err().map(String::into_bytes).unwrap_or_default()
}

/// Begins a change, as primary.
async fn change(node: &Rc<Node>, peers: &Rc<Peers>, request: MembersRequest) -> Result<(), String> {
    let members = members(node)?;
    match request {
        MembersRequest::List => Ok(()),
        MembersRequest::Add(member) => {
            if members.members().iter().any(|it| it.name == member.name) {
                return Err(ChangeRefused::Exists.to_string());
            }
            let newcomer = introduced(peers, &member).await?;
            begin(node, |replica, now_ns| replica.add_member(newcomer.clone(), now_ns).map(drop)).await
        }
        MembersRequest::Remove(name) => {
            // A learner first: so a replacement that does not get on is called off.
            let named = || members.members().iter().filter(|member| member.name == name);
            let member = named().find(|member| !member.votes).or(named().next());
            let leaving = member.ok_or_else(|| no_such(&members, &name))?.node;
            if leaving == peers.me() {
                let request = MembersRequest::Remove(name);
                return leave_to_another(node, peers, &request).await;
            }
            begin(node, |replica, now_ns| replica.remove_member(leaving, now_ns)).await
        }
        MembersRequest::Replace { name, with } => {
            let old = members.members().iter().filter(|member| member.name == name).find(|it| it.votes);
            let old =
                old.ok_or_else(|| match members.members().iter().any(|member| member.name == name) {
                    true => format!("node '{name}' does not vote: remove it, and add the other one"),
                    false => no_such(&members, &name),
                })?;
            if old.node == peers.me() {
                let request = MembersRequest::Replace { name, with };
                return leave_to_another(node, peers, &request).await;
            }
            let with = with.or_else(|| peers.member(old.node)).ok_or("its address is unknown here")?;
            let newcomer = LogMember { replaces: old.node, ..introduced(peers, &with).await? };
            begin(node, |replica, now_ns| replica.add_member(newcomer.clone(), now_ns).map(drop)).await
        }
    }
}

fn no_such(members: &Membership, name: &str) -> String {
    let mut names: Vec<&str> = members.members().iter().map(|member| &*member.name).collect();
    names.sort_unstable();
    format!("there is no member '{name}'; there are {}", names.join(", "))
}

fn members(node: &Node) -> Result<Membership, String> {
    let shard = node.shard.borrow();
    shard.replica().map(|replica| replica.members().clone()).ok_or_else(|| "this node is starting".to_owned())
}

/// The node as it is where the operator says: it must run and wait, configured as what it is to become.
async fn introduced(peers: &Peers, member: &Member) -> Result<LogMember, String> {
    let (name, address) = (&member.name, &member.peer_address);
    let asked = peers.ask_within(NEWCOMER_TIME_MAX, member, joining::WAITING, &[]).await;
    let answer = asked.map_err(|error| {
        format!(
            "node '{name}' does not answer at {address}: {error}. Start it first, with an empty directory (a new node \
             with 'join-cluster yes'): it waits there"
        )
    })?;
    let Some(waiting) = joining::waiting(&answer.body) else {
        return Err(format!(
            "node '{name}' runs and holds data: it does not wait to become a member. Stop it, and start it with an \
             empty directory"
        ));
    };
    let own =
        waiting.map_err(|why| format!("node '{name}' does not say what it is configured to be: {why}"))?;
    check_same(member, &own)?;
    let node = NodeId::of(member.number(), 0);
    Ok(LogMember { node, directory: answer.directory, ..described(member) })
}

/// A node of another zone than it believes would be a second voter there; one of another role could not do its part.
fn check_same(wanted: &Member, own: &Member) -> Result<(), String> {
    if (&wanted.zone, wanted.role) == (&own.zone, own.role) {
        return Ok(());
    }
    Err(format!(
        "node '{}' would be of zone '{}' and role '{}', and its own configuration says zone '{}' and role '{}': they \
         must be the same",
        wanted.name,
        wanted.zone,
        wanted.role.word(),
        own.zone,
        own.role.word(),
    ))
}

/// Has the replica begin a change. A member that has only just ended still counts as alive for a moment.
async fn begin(
    node: &Rc<Node>,
    change: impl Fn(&mut Replica, u64) -> Result<(), ChangeRefused>,
) -> Result<(), String> {
    let begun_ns = node.clock.monotonic_ns();
    loop {
        let outcome = node.with_shard(|shard, now, outputs| shard.change_members(now, outputs, &change));
        match outcome {
            Ok(()) => return Ok(()),
            Err(ChangeRefused::Alive | ChangeRefused::Lagging)
                if node.clock.monotonic_ns() - begun_ns < PATIENCE_NS =>
            {
                ramkeep_net::sleep(STEP).await;
            }
            Err(refused) => return Err(refused.to_string()),
        }
    }
}

/// This primary is to leave: another one does it, once it leads.
async fn leave_to_another(node: &Rc<Node>, peers: &Peers, request: &MembersRequest) -> Result<(), String> {
    status::hand_over_once_ripe(node, &0_u32.to_le_bytes())
        .await
        .map_err(|why| format!("it is the primary, and cannot hand over: {why}"))?;
    let begun_ns = node.clock.monotonic_ns();
    let mut last = "it is the primary, and nobody took over".to_owned();
    while node.clock.monotonic_ns() - begun_ns < PATIENCE_NS {
        ramkeep_net::sleep(STEP).await;
        let Some(primary) = status::leader(node).filter(|leader| *leader != peers.me()) else { continue };
        match forward(peers, primary, request).await {
            // Elected is not yet serving.
            Err(why) if why == ChangeRefused::NotPrimary.to_string() => last = why,
            outcome => return outcome,
        }
    }
    Err(last)
}

/// The members, as the primary knows them where there is one.
async fn list(node: &Rc<Node>, peers: &Peers) -> Result<String, String> {
    if node.is_turned_away() {
        return Err(NO_MEMBER.to_owned());
    }
    if let Some(primary) = status::leader(node).filter(|leader| *leader != peers.me())
        && let Ok(answer) = peers.ask(primary.node(), LIST, &[]).await
        && let Ok(text) = String::from_utf8(answer.body)
    {
        return Ok(text);
    }
    Ok(own_list(node, peers))
}

/// What a node that was removed says.
pub const NO_MEMBER: &str = "this node is no member any more: it was replaced or removed";

pub(crate) fn list_asked(node: &Rc<Node>) -> Vec<u8> {
    node.peers().map_or_else(Vec::new, |peers| own_list(node, peers).into_bytes())
}

fn own_list(node: &Node, peers: &Peers) -> String {
    let shard = node.shard.borrow();
    let mut status = MembersStatus { asked: peers.name(peers.me()), ..MembersStatus::default() };
    if let Some(replica) = shard.replica() {
        let members = replica.members();
        status.primary = replica.leader().map(|leader| peers.name(leader));
        status.is_changing = members.is_changing() || replica.members_at_end().is_none();
        status.members = members.members().iter().map(|member| told(member, replica, peers)).collect();
        let now_ns = node.clock.monotonic_ns();
        for (told, member) in status.members.iter_mut().zip(members.members()) {
            let heard_ns = replica.heard_ns(member.node);
            told.is_heard = member.node == replica.node()
                || heard_ns.is_some_and(|heard_ns| now_ns < heard_ns + replica.election_timeout_ns());
        }
    }
    status
        .members
        .sort_by(|left, right| (&left.node, left.incarnation).cmp(&(&right.node, right.incarnation)));
    serde_json::to_string(&status).expect("text and numbers")
}

fn told(member: &LogMember, replica: &Replica, peers: &Peers) -> MemberStatus {
    let standing = match (member.votes, member.voted) {
        (true, _) if !replica.members().is_joint() => "voter",
        (true, true) => "voter",
        (true, false) => "joining",
        (false, true) => "leaving",
        (false, false) => "learner",
    };
    let last = replica.last().0;
    let follower = replica.followers().into_iter().find(|follower| follower.node == member.node);
    MemberStatus {
        node: member.name.clone(),
        zone: member.zone.clone(),
        role: if member.is_log_only { "log".into() } else { "engine".into() },
        standing: standing.into(),
        incarnation: member.node.incarnation(),
        directory: member.directory.to_string(),
        replaces: (member.replaces != NodeId(0)).then(|| peers.name(member.replaces)),
        is_primary: replica.leader() == Some(member.node),
        is_heard: false,
        lag: match follower {
            Some(follower) => Some(last.saturating_sub(follower.matched.0)),
            None => (member.node == replica.node()).then_some(0),
        },
        peer_address: member.peer_address.clone(),
        client_address: member.client_address.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_becomes_no_other_than_it_is_configured_to_be() {
        let member = |line: &str| {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            read_member(&words).expect("a line")
        };
        let own = member("d a engine 127.0.0.1:1 127.0.0.1:2");
        assert_eq!(
            check_same(&member("d a engine 10.0.0.1:7 10.0.0.1:8"), &own),
            Ok(()),
            "reached elsewhere"
        );
        for (line, part) in [
            ("d zz engine 127.0.0.1:1 127.0.0.1:2", "zone 'zz' and role 'engine', and its own"),
            ("d a log 127.0.0.1:1 127.0.0.1:2", "zone 'a' and role 'log', and its own"),
        ] {
            let why = check_same(&member(line), &own).expect_err(line);
            assert!(why.contains(part) && why.contains("says zone 'a' and role 'engine'"), "{why}");
        }
    }

    #[test]
    fn a_wish_goes_to_the_primary_and_reads_back() {
        let line = "d zd engine 127.0.0.1:1 127.0.0.1:2";
        for words in
            [format!("add {line}"), "remove d".into(), "replace c".into(), format!("replace c {line}")]
        {
            let request = request_of(words.as_bytes()).expect("a wish");
            assert_eq!(words_of(&request), words);
        }
        for senseless in ["", "list", "add d", "remove", "replace c d", "explode"] {
            assert_eq!(request_of(senseless.as_bytes()), None, "{senseless}");
        }
    }
}
