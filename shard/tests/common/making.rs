//! A snapshot being made: what a node's driver does with it, a step at a time.

use super::{Node, PLACE};
use ramkeep_engine::rdb::{Foot, Head};
use ramkeep_log::{Position, Term};
use ramkeep_shard::{Begin, Certainty, Slice};

/// What the driver holds of it.
pub struct Making {
    pub head: Head,
    bytes: Vec<u8>,
    foot: Option<Foot>,
    /// The state at its position, which it must be equal to.
    digest: u128,
}

/// What came of a step.
pub enum Step {
    More,
    /// The file, which may be given its name.
    Whole(Vec<u8>),
    Void,
}

pub fn begin(node: &mut Node) -> Option<Making> {
    let mut begun = Begin::Never;
    node.with(|shard, now, outputs| begun = shard.begin_snapshot(PLACE, now, outputs));
    let Begin::Begun(head) = begun else { return None };
    node.wants_snapshot = false;
    Some(Making { head, bytes: Vec::new(), foot: None, digest: node.digest() })
}

pub fn step(node: &mut Node, making: &mut Making) -> Step {
    if making.foot.is_none() {
        let mut slice = Slice::Void;
        node.with(|shard, _, _| slice = shard.snapshot_slice(&mut making.bytes));
        match slice {
            Slice::More => {}
            Slice::Last(foot) => {
                assert_eq!(foot.digest, making.digest, "a snapshot is the state at its position");
                making.foot = Some(foot);
            }
            Slice::Void => return Step::Void,
        }
        return Step::More;
    }
    match node.shard.snapshot_certainty() {
        Certainty::Certain => Step::Whole(making.bytes.clone()),
        Certainty::Waiting => Step::More,
        Certainty::Void => Step::Void,
    }
}

pub fn put(node: &mut Node, head: &Head, file: Vec<u8>) {
    node.disk.snapshot = (Position(head.position), Term(head.term));
    node.disk.held = file;
}

pub fn end(node: &mut Node) {
    node.with(|shard, now, outputs| shard.snapshot_ended(Ok(1), now, outputs));
}
