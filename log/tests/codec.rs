//! Everything that is read from a wire or a disk: the same bytes back, and no panic from any bytes.

use std::collections::BTreeMap;

use crate::common::cluster::Cluster;
use crate::common::*;
use proptest::prelude::*;
use ramkeep_log::*;

/// Real messages of every type that a life of three replicas brings about.
fn messages() -> Vec<Message> {
    let mut random = Random(99);
    let mut cluster = Cluster::new(3, 99);
    let mut found: BTreeMap<(&'static str, usize), Message> = BTreeMap::new();
    for _ in 0..6000 {
        cluster.disturb(&mut random).unwrap();
        for (_, _, message) in &cluster.messages {
            let mut bytes = Vec::new();
            message.encode(ShardId(0), &mut bytes);
            found.entry((message.name(), bytes.len() / 512)).or_insert_with(|| message.clone());
        }
    }
    found.into_values().collect()
}

#[test]
fn messages_come_back_as_they_were_sent() {
    let messages = messages();
    let kinds: std::collections::BTreeSet<_> = messages.iter().map(Message::name).collect();
    assert!(kinds.len() >= 8, "{kinds:?}");
    for message in messages {
        let mut bytes = Vec::new();
        message.encode(ShardId(5), &mut bytes);
        assert_eq!(Message::decode(ShardId(5), &bytes.clone().into()), Ok(message));
        assert_eq!(Message::decode(ShardId(6), &bytes.into()), Err(MessageError::Shard(5)));
    }
}

/// A peer that says anything must not make a replica panic, whatever the checksum says.
#[test]
fn mangled_messages_with_good_checksums_never_panic() {
    let messages = messages();
    let mut random = Random(5);
    let mut cluster = Cluster::new(3, 5);
    cluster.elect().unwrap();
    let mut taken = 0;
    for round in 0..60_000_u64 {
        let message = &messages[random.below(messages.len() as u64) as usize];
        let mut bytes = Vec::new();
        message.encode(ShardId(0), &mut bytes);
        for _ in 0..random.below(3) {
            let at = 8 + random.below(bytes.len() as u64 - 8).min(random.below(200)) as usize;
            let at = at.min(bytes.len() - 1);
            bytes[at] = match random.below(3) {
                0 => random.next() as u8,
                1 => random.below(4) as u8,
                _ => bytes[at].wrapping_add(1),
            };
        }
        let crc = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        let Ok(message) = Message::decode(ShardId(0), &bytes.into()) else { continue };
        taken += 1;
        let (now_ns, from, to) = (cluster.now_ns, message.from(), message.to());
        let Some(node) = cluster.nodes.get_mut(&to) else { continue };
        node.replica.receive(from, message, now_ns);
        node.run(now_ns);
        node.sent.clear();
        if round % 50 == 0 {
            cluster.now_ns += TICK_NS;
            let now_ns = cluster.now_ns;
            cluster.nodes.values_mut().for_each(|node| {
                node.replica.tick(now_ns);
                let _ = node.replica.propose(vec![1; 20]);
                node.run(now_ns);
                node.sent.clear();
            });
        }
        // A wild committed position fences a node, which is right; it starts anew so that the test goes on.
        if cluster.nodes[&to].fenced.is_some()
            || cluster.nodes[&to].replica.term().0 > 1 << 40
            || round % 3000 == 0
        {
            let seed = cluster.seed + 1;
            cluster = Cluster::new(3, seed);
            cluster.elect().unwrap();
        }
    }
    assert!(taken > 10_000, "{taken}");
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = Message::decode(ShardId(0), &bytes.clone().into());
        let _ = Frame::decode(&layout(), &bytes, LogOffset(16_384));
        let _ = SegmentHead::decode(&layout(), &bytes, 1);
        let _ = HardState::read(&layout(), ALONE, &bytes);
        let _ = Identity::decode(&bytes);
        let _ = Inspector::new(layout(), 1, &bytes).count();
    }

    #[test]
    fn a_hard_state_survives_the_loss_of_either_slot(term in 1_u64..1 << 40, lost in 0_usize..2, at in 0_usize..512) {
        let state = HardState {
            generation: 8,
            term: Term(term),
            vote: NodeId(3),
            committed: Position(term / 2),
            member: ALONE,
            transferred: term % 2 == 0,
        };
        let mut file = state.encode(&layout());
        file.extend(HardState { generation: 9, ..state }.encode(&layout()));
        file[lost * 512 + at] ^= 0x10;
        let read = HardState::read(&layout(), ALONE, &file).unwrap();
        prop_assert_eq!(HardState { generation: 0, ..read }, HardState { generation: 0, ..state });
        // The next save repairs the lost slot first.
        prop_assert_eq!(HardState::slot_of(read.generation + 1), lost);
    }
}

#[test]
fn a_vote_file_without_a_good_slot_does_not_vote() {
    let file = HardState::new_file(&layout(), ALONE);
    assert_eq!(HardState::read(&layout(), ALONE, &file).unwrap().term, Term(0));
    assert_eq!(HardState::read(&layout(), ALONE, &[]), Err(HardStateError::BothDamaged));
    assert_eq!(HardState::read(&layout(), ALONE, &vec![0; 1024]), Err(HardStateError::BothDamaged));
    assert_eq!(HardState::read(&layout(), NodeId(2), &file), Err(HardStateError::Foreign));
    let elsewhere = Layout { directory: Uuid([1; 16]), ..layout() };
    assert_eq!(HardState::read(&elsewhere, ALONE, &file), Err(HardStateError::Foreign));
}

#[test]
fn an_identity_is_read_back_or_refused() {
    let identity = Identity {
        directory: Uuid([1; 16]),
        cluster: Uuid([2; 16]),
        member: NodeId::of(4, 2),
        sector_bytes: Layout::SECTOR_BYTES,
        segment_bytes: Layout::SEGMENT_BYTES,
    };
    let file = identity.encode();
    assert_eq!(Identity::decode(&file), Ok(identity));
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 1;
        assert_eq!(Identity::decode(&damaged), Err(IdentityError::Damaged), "byte {at}");
    }
}
