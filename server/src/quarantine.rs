//! Data that a node cannot go on with are set aside, and the node asks to be replaced.
//!
//! Lives here: what counts as such data, the folder that they go to, the way from an unusable directory to a new one.
//! Not here: finding damage (`ramkeep-log`), asking and answering (`joining`), reading what the new directory has
//! (`start`).
//!
//! A node of a cluster whose directory is damaged, belongs to somebody else, or is from before it was replaced, asks under
//! a directory that does not exist yet: its UUID is drawn and written nowhere. Only once the primary has made it a learner,
//! which takes all other voters, does the old content go to a folder of its own, and the new identity is written. So
//! where two of three are damaged nobody is admitted, nothing is moved, and both keep asking.
//!
//! A crash at any step is harmless. The old identity goes first, durably: a directory that holds a log, snapshots or a
//! roster and no identity is damaged, and asks again under another UUID; the learner that was made for this one makes room.
//!
//! Invariant: from the moment the node asks nothing goes out under its old id, so what admits it rests on the disks of the
//! others. Nothing is ever removed from a folder, or put into one that exists; with as many as may be kept the node waits for
//! its operator.

use crate::founding::{self, Me};
use crate::joining;
use crate::log_driver::segment_number;
use crate::node::Node;
use crate::roster::ROSTER_FILE;
use crate::snapshot;
use crate::start::{Directory, IDENTITY_FILE, StartError, check_sizes, draw_identity};
use ramkeep_engine::config::Settings;
use ramkeep_net::Disk;
use std::rc::Rc;
use std::time::Duration;

/// Folders begin with this; the time in seconds since 1970 follows.
pub const FOLDER_PREFIX: &str = "quarantine-";
const STEP: Duration = Duration::from_millis(1);

/// Whether a node with these settings may ask to be replaced for the sake of its data: there must be somebody to ask.
pub(crate) fn is_allowed(settings: &Settings) -> bool {
    let has_others = settings.members.iter().any(|member| member.name != settings.node_name);
    has_others && settings.quarantines_max > 0
}

/// The folders that are there.
async fn folders(disk: &dyn Disk) -> Result<Vec<String>, StartError> {
    let mut folders = disk.folders().await.map_err(StartError::Directory)?;
    folders.retain(|name| name.starts_with(FOLDER_PREFIX));
    Ok(folders)
}

/// An error if no further folder may be made.
async fn check_room(disk: &dyn Disk, settings: &Settings, why: &str) -> Result<(), StartError> {
    let folders = folders(disk).await?;
    if folders.len() < settings.quarantines_max {
        return Ok(());
    }
    Err(StartError::Quarantines { why: why.to_owned(), folders: folders.join(", ") })
}

/// Asks to be replaced, for as long as it takes, and makes the directory a new one once it is. The node has no replica then;
/// what the directory holds is to be read as at a start.
pub(crate) async fn rejoin(node: &Rc<Node>, directory: &Directory, why: &str) -> Result<(), StartError> {
    let settings = node.shard.borrow().engine.config.settings().clone();
    let disk = Rc::clone(directory.disk());
    check_room(&*disk, &settings, why).await?;
    tracing::error!(
        why,
        "the data here cannot be gone on with: this node asks to be replaced. They stay as they are until it is, and are \
         then set aside"
    );
    let peers = Rc::clone(node.peers().expect("only a member of a cluster asks"));
    let before = directory.layout();
    let identity = draw_identity(&node.host, &settings, (before.sector_bytes, before.segment_bytes));
    let layout = identity.layout(before.shard);
    check_sizes(layout)?;
    peers.leave(identity.member, identity.directory);
    let me = Me {
        settings: &settings,
        member: identity.member,
        directory: identity.directory,
        cluster: identity.cluster,
        is_blank: true,
    };
    let founded = founding::told(&settings, &peers, &node.clock).await;
    let id = joining::ask(&settings, &peers, &node.clock).await;
    // What was begun for the old replica comes to an end before its files go.
    node.with_shard(|shard, _, outputs| shard.begin_afresh(outputs));
    while node.log.is_busy() || node.holdings.are_claimed() {
        ramkeep_net::sleep(STEP).await;
    }
    set_aside(node, &*disk, why).await?;
    let roster = joining::settle(me, &*disk, &layout, id, founded).await?;
    node.holdings.clear();
    node.log.begin_anew(layout);
    directory.become_new(node, layout, id, roster.clone()).await?;
    peers.rename(id);
    peers.found(roster);
    node.rejoined();
    Ok(())
}

/// Moves everything into a folder of its own, step by step: the identity before all else, and while anything is left also
/// something by which a start sees that it is no new directory.
async fn set_aside(node: &Node, disk: &dyn Disk, why: &str) -> Result<(), StartError> {
    let taken = folders(disk).await?;
    let mut second = node.clock.wall_us() / 1_000_000;
    let folder = loop {
        let folder = format!("{FOLDER_PREFIX}{second}");
        if !taken.contains(&folder) {
            break folder;
        }
        second += 1;
    };
    let mut names = disk.list().await.map_err(StartError::Directory)?;
    names.sort_by_key(|name| step_of(name));
    for names in names.chunk_by(|left, right| step_of(left) == step_of(right)) {
        disk.set_aside(&folder, names.to_vec()).await.map_err(StartError::Directory)?;
    }
    tracing::warn!(
        folder,
        why,
        "the data were set aside: this folder of the data directory stays until somebody deletes it"
    );
    Ok(())
}

fn step_of(name: &str) -> u8 {
    match name {
        IDENTITY_FILE => 0,
        ROSTER_FILE => 4,
        name if segment_number(name).is_some() => 3,
        name if snapshot::position_of(name).is_some() => 1,
        _ => 2,
    }
}
