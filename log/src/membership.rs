//! Who keeps the shard's log: every member, and how far a change of them has come.
//!
//! Lives here: the membership, its bytes, the changes that are legal. Not here: agreeing on one (`replica`), who asks
//! for one.
//!
//! A change of voters goes through joint consensus: from its first entry on, what is decided needs a majority of those
//! who vote from then on *and* of those who voted before; its second entry leaves the latter behind. Each entry carries
//! the whole membership, so none depends on the one before it.
//!
//! Invariant: a legal membership has at most one voter in a zone, so that a zone that fails costs one vote; and an
//! incarnation that was replaced never comes back.

use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState};

use crate::types::{NodeId, Uuid};

const VERSION: u8 = 1;
/// No membership is larger.
const MEMBERS_MAX: usize = 64;
/// Nodes that left, whose last incarnation is remembered.
const RETIRED_MAX: usize = 1024;
/// Longest name or address.
const TEXT_BYTES_MAX: usize = 255;
/// Incarnation of those who founded the cluster.
pub const FOUNDER: u32 = 1;
const HEAD_BYTES: usize = 4;
const MEMBER_BYTES: usize = 40;

const FLAG_VOTES: u8 = 1;
const FLAG_VOTED: u8 = 2;
const FLAG_LOG_ONLY: u8 = 4;

/// One member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub node: NodeId,
    /// The data directory that it is known by.
    pub directory: Uuid,
    /// Name of the node.
    pub name: String,
    /// Zone that it stands in.
    pub zone: String,
    /// It keeps the log and no data.
    pub is_log_only: bool,
    /// It is a voter. One that neither votes nor voted is a learner: it is fed and does not count.
    pub votes: bool,
    /// It was a voter before the change that is under way.
    pub voted: bool,
    /// The voter whose place a learner takes once it has caught up; zero if it takes none.
    pub replaces: NodeId,
    /// Where other nodes reach it, `host:port`.
    pub peer_address: String,
    /// Where clients reach it, `host:port`.
    pub client_address: String,
}

/// All members, in rising order of their ids. Its bytes, all integers little-endian:
///
/// | offset | bytes | field                                                                          |
/// |-------:|------:|--------------------------------------------------------------------------------|
/// |      0 |     1 | format version, now 1                                                          |
/// |      1 |     1 | number of members                                                              |
/// |      2 |     2 | number of nodes that left                                                      |
/// |      4 |       | members, each: id (8), UUID of its directory (16), voter that it replaces (8), |
/// |        |       | flags (1: bit 0 votes, bit 1 voted before the change under way, bit 2 keeps    |
/// |        |       | the log alone), zero (3), then the lengths (1 each) and the bytes of name,     |
/// |        |       | zone, address for nodes, address for clients                                    |
/// |        |     8 | for each node that left: its last id                                            |
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    members: Vec<Member>,
    /// Last id of every node that left, in rising order.
    retired: Vec<NodeId>,
}

/// Why bytes are no membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// Written by another version.
    #[error("membership of format version {0}, this program reads {VERSION}")]
    Version(u8),
    /// They do not add up.
    #[error("a membership that no replica would write")]
    Senseless,
}

/// Why the members are not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    /// Ask the primary.
    #[error("this node is not the primary, or not yet ready to serve")]
    NotPrimary,
    /// One at a time.
    #[error("a change of members is under way")]
    UnderWay,
    /// No such node.
    #[error("there is no such member")]
    Unknown,
    /// It is there already.
    #[error("a member of this name exists already")]
    Exists,
    /// The member to be replaced answers.
    #[error("the member that it would replace is alive")]
    Alive,
    /// A change needs a majority, with one to spare.
    #[error("another voter is not heard")]
    Unhealthy,
    /// Losing one of them would stop writes.
    #[error(
        "less than three zones with a voter would be left: add another zone's node first, or replace this one"
    )]
    TooFew,
    /// What votes afterwards could decide nothing.
    #[error("no majority of those who would vote is heard")]
    NoMajority,
    /// It would be the voter of its zone from now on.
    #[error("the other member of its zone has not caught up yet")]
    Lagging,
    /// The bounds of a membership.
    #[error("there are or were too many members")]
    TooMany,
    /// A zone that fails must cost one vote.
    #[error("its zone has a voter already")]
    ZoneTaken,
    /// It is the one that would carry the change out.
    #[error("it is the primary: let it hand over first")]
    IsPrimary,
    /// The log cannot take the entry now.
    #[error("the log has no room")]
    NoRoom,
}

impl Membership {
    /// Voters of which nothing else is known.
    #[must_use]
    pub fn of_voters(voters: &[NodeId]) -> Self {
        let voter = |node: &NodeId| Member { node: *node, votes: true, ..Member::default() };
        Self::new(voters.iter().map(voter).collect())
    }

    /// These members.
    #[must_use]
    pub fn new(mut members: Vec<Member>) -> Self {
        members.sort_unstable_by_key(|member| member.node);
        Self { members, retired: Vec::new() }
    }

    /// Every member.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    pub(crate) fn members_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.iter_mut()
    }

    /// The member with this id.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&Member> {
        self.members.iter().find(|member| member.node == node)
    }

    /// Those who vote.
    #[must_use]
    pub fn voters(&self) -> Vec<NodeId> {
        self.members.iter().filter(|member| member.votes).map(|member| member.node).collect()
    }

    /// Whether it votes.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.get(node).is_some_and(|member| member.votes)
    }

    /// Whether a change of voters has begun and not ended.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        self.members.iter().any(|member| member.voted)
    }

    /// Whether this id was replaced or removed: whoever comes with it is to be turned away.
    #[must_use]
    pub fn is_retired(&self, node: NodeId) -> bool {
        self.get(node).is_none() && self.last_incarnation(node.node()) >= node.incarnation()
    }

    /// Whether this node was a member and is none any more, under any id.
    #[must_use]
    pub fn has_left(&self, node: u32) -> bool {
        self.last_incarnation(node) > 0 && self.members.iter().all(|member| member.node.node() != node)
    }

    /// The id under which a node becomes a member that was none at the founding, or under another id. Founders alone
    /// have the first incarnation.
    #[must_use]
    pub(crate) fn next_id(&self, node: u32) -> NodeId {
        NodeId::of(node, self.last_incarnation(node).max(FOUNDER) + 1)
    }

    /// Whether a learner is on its way to a vote, or a change of voters has begun.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.is_joint() || self.members.iter().any(|member| self.is_wanted(member))
    }

    /// A learner that takes somebody's place, or whose zone has no voter. An extra replica stays a learner.
    pub(crate) fn is_wanted(&self, member: &Member) -> bool {
        let has_voter = |zone: &str| self.members.iter().any(|it| it.votes && it.zone == zone);
        !member.votes && !member.voted && (member.replaces != NodeId(0) || !has_voter(&member.zone))
    }

    pub(crate) fn is_within_bounds(&self) -> bool {
        self.members.len() <= MEMBERS_MAX && self.retired.len() <= RETIRED_MAX
    }

    /// Last incarnation of the node that was ever a member; zero if none was.
    #[must_use]
    pub fn last_incarnation(&self, node: u32) -> u32 {
        let ids = self.members.iter().map(|member| member.node).chain(self.retired.iter().copied());
        ids.filter(|id| id.node() == node).map(NodeId::incarnation).max().unwrap_or(0)
    }

    /// Whether at most one voter stands in each zone, no id is there twice, and somebody keeps the data.
    #[must_use]
    pub fn is_legal(&self) -> bool {
        let voters: Vec<&Member> = self.members.iter().filter(|member| member.votes).collect();
        let are_apart = voters.iter().enumerate().all(|(index, member)| {
            member.zone.is_empty() || voters[index + 1..].iter().all(|other| other.zone != member.zone)
        });
        let are_sorted = self.members.windows(2).all(|pair| pair[0].node < pair[1].node)
            && self.retired.windows(2).all(|pair| pair[0].node() < pair[1].node());
        let is_data_kept = voters.iter().any(|voter| !voter.is_log_only);
        let is_known = self.members.first().is_some_and(|member| member.node != NodeId(0));
        are_apart && are_sorted && is_data_kept && is_known && self.members.len() <= MEMBERS_MAX
    }

    /// With one learner more. An earlier learner of the same node, which never voted, leaves for it.
    #[must_use]
    pub fn with_learner(&self, learner: Member) -> Self {
        let mut next = self.clone();
        let is_old = |member: &Member| member.node.node() == learner.node.node() && !member.votes;
        let old: Vec<NodeId> = next.members.iter().filter(|it| is_old(it)).map(|it| it.node).collect();
        if !old.is_empty() {
            next.begin_joint();
            old.into_iter().for_each(|node| next.leave(node));
        }
        next.members.push(Member { votes: false, voted: false, ..learner });
        next.members.sort_unstable_by_key(|member| member.node);
        next
    }

    /// The learner votes from now on, and whom it replaces does not.
    #[must_use]
    pub fn with_promoted(&self, learner: NodeId) -> Self {
        let mut next = self.clone();
        next.begin_joint();
        let mut replaces = NodeId(0);
        if let Some(member) = next.members.iter_mut().find(|member| member.node == learner) {
            member.votes = true;
            replaces = std::mem::take(&mut member.replaces);
        }
        if let Some(old) = next.members.iter_mut().find(|member| member.node == replaces) {
            old.votes = false;
        }
        next
    }

    /// The learner votes from now on in the place of this voter.
    pub(crate) fn with_heir(&self, learner: NodeId, old: NodeId) -> Self {
        let mut next = self.clone();
        next.members.iter_mut().filter(|it| it.node == learner).for_each(|it| it.replaces = old);
        next.with_promoted(learner)
    }

    /// Without this member.
    #[must_use]
    pub fn without(&self, node: NodeId) -> Self {
        let mut next = self.clone();
        if next.is_voter(node) {
            next.begin_joint();
            next.members.iter_mut().filter(|member| member.node == node).for_each(|it| it.votes = false);
        } else {
            next.leave(node);
        }
        // Whoever was to take its place takes none.
        next.members.iter_mut().filter(|it| it.replaces == node).for_each(|it| it.replaces = NodeId(0));
        next
    }

    /// After the change under way.
    #[must_use]
    pub fn settled(&self) -> Self {
        let mut next = self.clone();
        let leaving: Vec<NodeId> =
            next.members.iter().filter(|it| it.voted && !it.votes).map(|it| it.node).collect();
        leaving.into_iter().for_each(|node| next.leave(node));
        next.members.iter_mut().for_each(|member| member.voted = false);
        next
    }

    fn begin_joint(&mut self) {
        self.members.iter_mut().for_each(|member| member.voted = member.votes);
    }

    fn leave(&mut self, node: NodeId) {
        self.members.retain(|member| member.node != node);
        self.retired.retain(|old| old.node() != node.node());
        self.retired.push(node);
        self.retired.sort_unstable();
    }

    /// In the library's form.
    pub(crate) fn conf_state(&self) -> ConfState {
        let of = |which: fn(&Member) -> bool| -> Vec<u64> {
            self.members.iter().filter(|member| which(member)).map(|member| member.node.0).collect()
        };
        ConfState {
            voters: of(|member| member.votes),
            voters_outgoing: of(|member| member.voted),
            learners: of(|member| !member.votes && !member.voted),
            ..ConfState::default()
        }
    }

    /// What leads from here to `next`, in the library's form.
    pub(crate) fn change_to(&self, next: &Self) -> ConfChangeV2 {
        let mut change = ConfChangeV2::default();
        if self.is_joint() {
            // Leaving: the library calls that a change of nothing.
            return change;
        }
        let mut changes: Vec<ConfChangeSingle> = Vec::new();
        let mut add = |kind: ConfChangeType, node: NodeId| {
            let mut single = ConfChangeSingle { node_id: node.0, ..ConfChangeSingle::default() };
            single.set_change_type(kind);
            changes.push(single);
        };
        for member in &next.members {
            let before = self.get(member.node);
            match before {
                Some(before) if before.votes && !member.votes => add(ConfChangeType::RemoveNode, member.node),
                Some(before) if before.votes == member.votes => {}
                _ if member.votes => add(ConfChangeType::AddNode, member.node),
                _ => add(ConfChangeType::AddLearnerNode, member.node),
            }
        }
        for gone in self.members.iter().filter(|member| next.get(member.node).is_none()) {
            add(ConfChangeType::RemoveNode, gone.node);
        }
        if next.is_joint() {
            change.set_transition(ConfChangeTransition::Explicit);
        }
        change.set_changes(changes.into());
        change
    }

    /// Its bytes.
    ///
    /// # Panics
    ///
    /// If a name or an address is longer than 255 bytes, or there are more members than a membership may have.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.members.len() <= MEMBERS_MAX && self.retired.len() <= RETIRED_MAX, "bounds hold");
        let mut bytes = vec![VERSION, self.members.len() as u8];
        bytes.extend_from_slice(&(self.retired.len() as u16).to_le_bytes());
        for member in &self.members {
            bytes.extend_from_slice(&member.node.0.to_le_bytes());
            bytes.extend_from_slice(&member.directory.0);
            bytes.extend_from_slice(&member.replaces.0.to_le_bytes());
            let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
            let flags = flag(member.votes, FLAG_VOTES)
                | flag(member.voted, FLAG_VOTED)
                | flag(member.is_log_only, FLAG_LOG_ONLY);
            bytes.extend_from_slice(&[flags, 0, 0, 0]);
            let texts = [&member.name, &member.zone, &member.peer_address, &member.client_address];
            for text in texts {
                assert!(text.len() <= TEXT_BYTES_MAX, "names and addresses are checked before");
                bytes.push(text.len() as u8);
            }
            texts.into_iter().for_each(|text| bytes.extend_from_slice(text.as_bytes()));
        }
        for node in &self.retired {
            bytes.extend_from_slice(&node.0.to_le_bytes());
        }
        bytes
    }

    /// Reads its bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, MembershipError> {
        let version = *bytes.first().ok_or(MembershipError::Senseless)?;
        if version != VERSION {
            return Err(MembershipError::Version(version));
        }
        Self::read(bytes).filter(Self::is_legal).ok_or(MembershipError::Senseless)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (head, mut rest) = bytes.split_at_checked(HEAD_BYTES)?;
        let retired_count = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let mut members = Vec::new();
        for _ in 0..head[1] {
            let (fixed, behind) = rest.split_at_checked(MEMBER_BYTES)?;
            rest = behind;
            let flags = fixed[32];
            if flags & !(FLAG_VOTES | FLAG_VOTED | FLAG_LOG_ONLY) != 0 || fixed[33..36] != [0; 3] {
                return None;
            }
            let mut texts = [const { String::new() }; 4];
            for (text, length) in texts.iter_mut().zip(&fixed[36..40]) {
                let (found, behind) = rest.split_at_checked(usize::from(*length))?;
                *text = String::from_utf8(found.to_vec()).ok()?;
                rest = behind;
            }
            let [name, zone, peer_address, client_address] = texts;
            members.push(Member {
                node: NodeId(u64::from_le_bytes(fixed[..8].try_into().ok()?)),
                directory: Uuid(fixed[8..24].try_into().ok()?),
                replaces: NodeId(u64::from_le_bytes(fixed[24..32].try_into().ok()?)),
                is_log_only: flags & FLAG_LOG_ONLY != 0,
                votes: flags & FLAG_VOTES != 0,
                voted: flags & FLAG_VOTED != 0,
                name,
                zone,
                peer_address,
                client_address,
            });
        }
        let (ids, left) = rest.as_chunks::<8>();
        let retired: Vec<NodeId> = ids.iter().map(|id| NodeId(u64::from_le_bytes(*id))).collect();
        (left.is_empty() && retired.len() == retired_count && retired_count <= RETIRED_MAX)
            .then_some(Self { members, retired })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(number: u32, incarnation: u32, zone: &str) -> Member {
        Member {
            node: NodeId::of(number, incarnation),
            directory: Uuid([number as u8; 16]),
            name: format!("n{number}"),
            zone: zone.into(),
            votes: true,
            peer_address: "127.0.0.1:1".into(),
            client_address: "127.0.0.1:2".into(),
            ..Member::default()
        }
    }

    fn three() -> Membership {
        Membership::new(vec![member(1, 1, "a"), member(2, 1, "b"), member(3, 1, "c")])
    }

    fn replacement() -> Member {
        Member { replaces: NodeId::of(2, 1), ..member(2, 2, "b") }
    }

    #[test]
    fn a_replacement_goes_from_learner_to_voter_and_the_old_one_never_comes_back() {
        let learning = three().with_learner(replacement());
        assert!(!learning.is_joint() && !learning.is_voter(NodeId::of(2, 2)));
        assert_eq!(three().change_to(&learning).changes.len(), 1);
        let joint = learning.with_promoted(NodeId::of(2, 2));
        assert!(joint.is_joint() && joint.is_legal());
        assert_eq!(joint.voters(), [NodeId::of(1, 1), NodeId::of(2, 2), NodeId::of(3, 1)]);
        assert_eq!(joint.conf_state().voters_outgoing, [1 << 32 | 1, 2 << 32 | 1, 3 << 32 | 1]);
        let settled = joint.settled();
        assert!(!settled.is_joint() && settled.is_retired(NodeId::of(2, 1)));
        assert!(!settled.is_retired(NodeId::of(2, 3)) && !settled.is_retired(NodeId::of(4, 1)));
        assert_eq!(settled.last_incarnation(2), 2);
        assert_eq!(settled.without(NodeId::of(2, 2)).settled().last_incarnation(2), 2);
    }

    #[test]
    fn a_learner_that_lost_its_disk_too_makes_room_for_the_next() {
        let first = three().with_learner(replacement());
        let second = first.with_learner(Member { node: NodeId::of(2, 3), ..replacement() });
        assert!(second.is_joint() && second.is_retired(NodeId::of(2, 2)));
        assert_eq!(second.settled().voters(), three().voters());
        assert_eq!(first.change_to(&second).changes.len(), 2);
    }

    #[test]
    fn two_voters_in_a_zone_are_no_legal_membership() {
        assert!(three().is_legal());
        assert!(!Membership::new(vec![member(1, 1, "a"), member(2, 1, "a")]).is_legal());
        let twice = Membership::new(vec![member(1, 1, "a"), member(1, 1, "b")]);
        assert!(!twice.is_legal());
        assert!(Membership::of_voters(&[NodeId(1), NodeId(2)]).is_legal());
        assert!(!Membership::default().is_legal());
    }

    #[test]
    fn it_reads_back_and_nothing_else_is_one() {
        let all = three().with_learner(replacement()).with_promoted(NodeId::of(2, 2)).settled();
        let bytes = all.encode();
        assert_eq!(Membership::decode(&bytes), Ok(all));
        for length in 0..bytes.len() {
            assert_eq!(Membership::decode(&bytes[..length]), Err(MembershipError::Senseless), "{length}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(Membership::decode(&longer), Err(MembershipError::Senseless));
        let mut newer = bytes;
        newer[0] = 2;
        assert_eq!(Membership::decode(&newer), Err(MembershipError::Version(2)));
    }

    #[test]
    fn a_zone_keeps_its_voter_where_another_member_stands_in_it() {
        let other = Member { votes: false, ..member(7, 2, "b") };
        let four = three().with_learner(other);
        assert!(!four.is_changing(), "an extra replica stays a learner");
        let next = four.with_heir(NodeId::of(7, 2), NodeId::of(2, 1));
        assert!(next.is_joint() && next.is_legal() && next.is_changing());
        let settled = next.settled();
        assert_eq!(settled.voters(), [NodeId::of(1, 1), NodeId::of(3, 1), NodeId::of(7, 2)]);
        assert!(settled.has_left(2) && !settled.has_left(7) && !settled.has_left(9));
        let new_zone = three().with_learner(Member { votes: false, ..member(7, 2, "d") });
        assert!(new_zone.is_changing(), "its zone has no voter yet");
    }

    #[test]
    fn only_founders_have_the_first_incarnation() {
        assert_eq!(three().next_id(9), NodeId::of(9, 2));
        assert_eq!(three().next_id(2), NodeId::of(2, 2));
        let left = three().without(NodeId::of(2, 1)).settled();
        assert_eq!(left.next_id(2), NodeId::of(2, 2));
    }

    #[test]
    fn golden_bytes_hold() {
        let one = Membership::new(vec![Member {
            node: NodeId(7),
            directory: Uuid([9; 16]),
            name: "n".into(),
            zone: "za".into(),
            votes: true,
            is_log_only: false,
            ..Member::default()
        }]);
        let golden = b"\x01\x01\0\0\x07\0\0\0\0\0\0\0\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t\0\0\0\0\0\0\0\0\x01\0\0\0\x01\x02\0\0nza";
        assert_eq!(one.encode(), golden);
    }
}
