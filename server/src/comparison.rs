//! Digests of the data on their way to other nodes.
//!
//! Lives here: the task that digests between commands, a digest's bytes on the wire, what is printed of a difference.
//! Not here: when data are digested, what follows from a difference (`ramkeep-shard`).

use crate::node::Node;
use ramkeep_log::{Position, Term};
use ramkeep_shard::{Divergence, RANGES, StateDigest};
use std::rc::Rc;
use std::time::Duration;

/// Between two slices: a digest has time.
const REST: Duration = Duration::from_millis(1);
const BYTES: usize = 16 + 16 * RANGES;

/// Digests the data whenever the shard wants it, slice by slice.
pub async fn digest_when_wanted(node: Rc<Node>) {
    loop {
        node.digest_wanted.notified().await;
        while node.with_shard(|shard, _, _| shard.digest_slice()) {
            node.wake_paused();
            ramkeep_net::sleep(REST).await;
        }
        node.wake_paused();
    }
}

/// Says what was found, loudly: nothing of it heals by itself.
pub(crate) fn tell(node: &Node, found: &Divergence) {
    let names = |member: &ramkeep_log::NodeId| {
        node.peers().map_or_else(|| "unknown".to_owned(), |peers| peers.name(*member))
    };
    let odd: Vec<String> = found.odd.iter().map(names).collect();
    tracing::error!(
        position = found.position.0,
        differing = odd.join(", "),
        is_certain_who = found.is_known,
        ranges = ?found.ranges,
        "REPLICAS DIFFER: they hold different data after the same position; no log is cut and no snapshot removed"
    );
}

/// Position (8), term (8), then the sum of each range (16), little-endian.
pub(crate) fn encode(digest: &StateDigest, buffer: &mut Vec<u8>) {
    buffer.extend_from_slice(&digest.position.0.to_le_bytes());
    buffer.extend_from_slice(&digest.term.0.to_le_bytes());
    digest.ranges.iter().for_each(|sum| buffer.extend_from_slice(&sum.to_le_bytes()));
}

pub(crate) fn decode(bytes: &[u8]) -> Option<StateDigest> {
    let (head, sums) = bytes.split_at_checked(16).filter(|_| bytes.len() == BYTES)?;
    let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let mut ranges = [0; RANGES];
    for (range, sum) in ranges.iter_mut().zip(sums.chunks_exact(16)) {
        *range = u128::from_le_bytes(sum.try_into().expect("sixteen bytes"));
    }
    Some(StateDigest { position: Position(number(0)), term: Term(number(8)), ranges })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_and_other_lengths_are_none() {
        let ranges = std::array::from_fn(|range| u128::MAX - range as u128);
        let digest = StateDigest { position: Position(5), term: Term(2), ranges };
        let mut bytes = Vec::new();
        encode(&digest, &mut bytes);
        assert_eq!(decode(&bytes), Some(digest));
        for length in 0..BYTES {
            assert_eq!(decode(&bytes[..length]), None);
        }
    }
}
