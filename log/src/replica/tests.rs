//! The replica against single messages of a peer.

use super::*;
use crate::segment::Layout;
use crate::types::{CommittedEntry, ShardId, Uuid};
use crate::writer::Written;

fn follower() -> Replica {
    let layout = Layout {
        shard: ShardId(0),
        directory: Uuid([1; 16]),
        cluster: Uuid([2; 16]),
        sector_bytes: 512,
        segment_bytes: 64 << 10,
    };
    let (me, peer) = (NodeId(1), NodeId(2));
    let options = Options::new(layout, me, vec![me, peer]);
    let recovered = Recovered {
        tail: crate::recovery::Tail { next_segment: 1, ..Default::default() },
        terms: vec![Default::default()],
        ..Recovered::default()
    };
    let mut replica = Replica::new(options, recovered, 1, 0);
    let _ = run(&mut replica);
    replica
}

/// Does what the disk would do; gives back what was handed out.
fn run(replica: &mut Replica) -> Vec<CommittedEntry> {
    let mut committed = Vec::new();
    loop {
        let mut outputs = Vec::new();
        replica.drain(&mut outputs);
        if outputs.is_empty() {
            return committed;
        }
        for output in outputs {
            match output {
                Output::Write { segment, offset, bytes } => {
                    replica.written(Written { segment, offset, bytes }, 0)
                }
                Output::Prepare { segment, .. } => replica.prepared(segment, 0),
                Output::SaveHardState { generation, .. } => replica.saved(generation, 0),
                Output::Committed { entries } => committed.extend(entries),
                _ => {}
            }
        }
    }
}

fn message(kind: MessageType, term: u64) -> RaftMessage {
    let mut message = RaftMessage { from: 2, to: 1, term, ..RaftMessage::default() };
    message.set_msg_type(kind);
    message
}

fn entry(position: u64, origin_term: u64) -> raft::eraftpb::Entry {
    to_raft(Entry {
        position: Position(position),
        term: Term(3),
        origin_term: Term(origin_term),
        kind: EntryKind::Normal,
        payload: bytes::Bytes::from_static(b"payload"),
    })
}

#[test]
fn an_entry_of_another_origin_is_handed_out_without_its_payload() {
    let mut replica = follower();
    let mut append = message(MessageType::MsgAppend, 3);
    append.entries = vec![entry(1, 3), entry(2, 2)].into();
    append.commit = 2;
    replica.receive(NodeId(2), Message(append), 0);
    let payloads: Vec<_> = run(&mut replica).into_iter().map(|entry| entry.payload).collect();
    assert_eq!(payloads, ["payload", ""]);
}

#[test]
fn a_forwarded_proposal_is_dropped() {
    let mut replica = follower();
    let mut heartbeat = message(MessageType::MsgHeartbeat, 3);
    heartbeat.commit = 0;
    replica.receive(NodeId(2), Message(heartbeat), 0);
    let mut proposal = message(MessageType::MsgPropose, 0);
    proposal.entries = vec![entry(0, 3)].into();
    let mut outputs = Vec::new();
    replica.drain(&mut outputs);
    let _ = run(&mut replica);
    replica.receive(NodeId(2), Message(proposal), 0);
    outputs.clear();
    replica.drain(&mut outputs);
    assert_eq!(outputs, [], "it is neither taken nor sent on");
}

#[test]
fn a_heartbeat_beyond_the_log_means_that_durable_entries_are_gone() {
    let mut replica = follower();
    let mut heartbeat = message(MessageType::MsgHeartbeat, 3);
    heartbeat.commit = 7;
    replica.receive(NodeId(2), Message(heartbeat), 0);
    assert_eq!(replica.fenced(), Some(FenceReason::LostDurable));
}

#[test]
fn a_change_of_members_that_cannot_be_read_stops_the_replica() {
    let mut replica = follower();
    let mut append = message(MessageType::MsgAppend, 3);
    let mut change = entry(1, 3);
    change.set_entry_type(raft::eraftpb::EntryType::EntryConfChangeV2);
    append.entries = vec![change].into();
    append.commit = 1;
    replica.receive(NodeId(2), Message(append), 0);
    assert_eq!(run(&mut replica), []);
    assert_eq!(replica.fenced(), Some(FenceReason::UnknownEntry));
}
