//! How a cluster comes to be, once.
//!
//! Lives here: agreeing on the roster, and who must stay out. Not here: its file's bytes (`roster`), elections.
//!
//! One member, the first by name, draws up the roster when all others have told it that they know of none; it is on
//! its disk before it takes part. All others take part only with a roster that a peer gave them and that names their
//! own directory. So:
//!
//! - a member that comes back with an empty directory finds a roster that names another one, and never votes under
//!   its old id: it asks to be replaced (`joining`);
//! - a member that was slow to start is named by the directory it already had, and joins;
//! - two rosters cannot both have served: the second needs every member's word that it knows no first. A node that has not
//!   looked yet, or whose data are damaged, gives no such word.
//!
//! Invariant: nothing is voted, acknowledged or served before the roster is on this disk and names this directory.

use crate::peers::{Peers, names};
use crate::roster::{Founder, ROSTER_FILE, Roster, RosterError};
use ramkeep_engine::config::Settings;
use ramkeep_log::{FOUNDER, NodeId, Uuid};
use ramkeep_net::{Clock, Disk};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// The question for the roster.
pub const QUESTION: u8 = 1;
/// Between two rounds of asking.
const ROUND: Duration = Duration::from_millis(100);
/// How often a waiting node says what it waits for.
const TOLD_NS: u64 = 5_000_000_000;

/// Why a node cannot be part of its cluster.
#[derive(Debug, thiserror::Error)]
pub enum FoundingError {
    #[error("roster file: {0}")]
    Roster(#[from] RosterError),
    #[error("roster file: {0}")]
    Disk(#[from] io::Error),
    #[error(
        "the cluster knows member '{name}' by another data directory ({known}, this one is {found}). If the old \
         directory is lost, this node must be replaced, so that it does not vote as one that remembers; it has \
         not taken part"
    )]
    OtherDirectory { name: String, known: Uuid, found: Uuid },
    #[error("the cluster was founded without a member '{0}'")]
    Unknown(String),
    #[error(
        "member '{0}' founded the cluster with other members than 'member' lines name here. A node that is to be added \
         to it needs 'join-cluster yes'"
    )]
    OtherMembers(String),
}

/// Who this node is.
#[derive(Clone, Copy)]
pub struct Me<'a> {
    pub settings: &'a Settings,
    pub member: NodeId,
    pub directory: Uuid,
    pub cluster: Uuid,
    /// Its directory holds no log.
    pub is_blank: bool,
}

/// What a node answers: its roster, or an empty one. None: it does not know yet, or asks to be replaced, and nobody may
/// take its word for there being no cluster.
pub(crate) fn answer(peers: &Peers) -> Option<Vec<u8>> {
    match peers.roster() {
        Some(roster) => Some(roster.encode()),
        None => peers.is_unfounded().then(Vec::new),
    }
}

impl Me<'_> {
    /// Whether the roster names this directory.
    fn check(&self, roster: &Roster) -> Result<(), FoundingError> {
        let name = self.settings.node_name.clone();
        match roster.directory_of(self.member) {
            Some(known) if known == self.directory && roster.cluster == self.cluster => Ok(()),
            Some(known) => Err(FoundingError::OtherDirectory { name, known, found: self.directory }),
            None => Err(FoundingError::Unknown(name)),
        }
    }

    /// Whether the roster has exactly the configured members.
    fn check_members(&self, roster: &Roster, from: &str) -> Result<(), FoundingError> {
        let mut configured: Vec<u32> = self.settings.members.iter().map(|member| member.number()).collect();
        configured.sort_unstable();
        let founded = roster.voters().into_iter().map(NodeId::node);
        if founded.eq(configured) { Ok(()) } else { Err(FoundingError::OtherMembers(from.to_owned())) }
    }

    /// Whether this node was a member, or is to be added: then it may ask for an id.
    fn may_ask(&self, roster: &Roster) -> bool {
        let is_named = roster.founders.iter().any(|founder| founder.member.node() == self.member.node());
        is_named || self.settings.join_cluster || self.member.incarnation() > FOUNDER
    }

    fn is_founder(&self) -> bool {
        let first = self.settings.members.iter().map(|member| &member.name).min();
        !self.settings.join_cluster && first == Some(&self.settings.node_name)
    }
}

/// Waits until another node gives the roster of the cluster; this one takes part under another id than its old one.
pub(crate) async fn told(settings: &Settings, peers: &Peers, clock: &Clock) -> Roster {
    let mut told_ns = 0;
    loop {
        for member in peers.book().iter().filter(|member| member.name != settings.node_name) {
            if let Ok(answer) = peers.ask(member.number(), QUESTION, &[]).await
                && let Ok(roster) = Roster::decode(&answer.body)
            {
                return roster;
            }
        }
        if told_ns == 0 || clock.monotonic_ns().saturating_sub(told_ns) >= TOLD_NS {
            told_ns = clock.monotonic_ns();
            tracing::info!("waiting for a node that takes part in the cluster");
        }
        clock.sleep(ROUND).await;
    }
}

/// What came of it.
pub(crate) enum Found {
    /// This node takes part.
    Founder(Roster),
    /// The cluster was founded with another directory of this node, or without it, and this one is empty.
    Stranger(Roster),
}

/// Gives the roster: from the disk, from a peer, or drawn up here. Waits for as long as that takes.
pub(crate) async fn found(
    me: Me<'_>,
    peers: &Rc<Peers>,
    disk: &dyn Disk,
    clock: &Clock,
) -> Result<Found, FoundingError> {
    if disk.list().await?.iter().any(|name| name == ROSTER_FILE) {
        let roster = Roster::decode(&disk.read_file(ROSTER_FILE).await?)?;
        me.check(&roster)?;
        // Its name may be one that could not be synced: see the identity's.
        if me.is_blank {
            disk.write_file_atomic(ROSTER_FILE, roster.encode()).await?;
        }
        return Ok(Found::Founder(roster));
    }
    peers.set_unfounded();
    let mut told_ns = clock.monotonic_ns();
    loop {
        let mut founders = vec![Founder { member: me.member, directory: me.directory }];
        let mut missing = Vec::new();
        for member in me.settings.members.iter().filter(|member| member.name != me.settings.node_name) {
            match peers.ask(member.number(), QUESTION, &[]).await {
                Ok(answer) if answer.body.is_empty() => {
                    founders.push(Founder { member: answer.member, directory: answer.directory });
                }
                Ok(answer) => {
                    let roster = Roster::decode(&answer.body)?;
                    let checked = me.check(&roster);
                    let is_stranger = checked.is_err() && me.is_blank && me.may_ask(&roster);
                    if is_stranger {
                        return Ok(Found::Stranger(roster));
                    }
                    me.check_members(&roster, &member.name)?;
                    checked?;
                    disk.write_file_atomic(ROSTER_FILE, roster.encode()).await?;
                    tracing::info!(from = member.name, "joined the cluster");
                    return Ok(Found::Founder(roster));
                }
                Err(error) => {
                    tracing::debug!(member = member.name, %error, "a member cannot be asked yet");
                    missing.push(member.number());
                }
            }
        }
        if missing.is_empty() && me.is_founder() {
            let roster = Roster::new(me.cluster, founders);
            disk.write_file_atomic(ROSTER_FILE, roster.encode()).await?;
            tracing::info!("founded the cluster");
            return Ok(Found::Founder(roster));
        }
        if clock.monotonic_ns().saturating_sub(told_ns) >= TOLD_NS {
            told_ns = clock.monotonic_ns();
            let who =
                if missing.is_empty() { "the first member".into() } else { names(me.settings, missing) };
            match me.settings.join_cluster {
                true => tracing::info!("waiting for the cluster that this node is to join: {who}"),
                false => {
                    tracing::info!("waiting for {who} to found the cluster: all members must be there once")
                }
            }
        }
        clock.sleep(ROUND).await;
    }
}
