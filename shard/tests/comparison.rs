//! Replicas digest their data at marked positions and compare: those that are alike agree, whatever is written
//! meanwhile; one that passed an entry over is found.

use crate::common::{Disk, Node, Setup, WrongClock};
use crate::disk::Random;
use ramkeep_engine::session::SessionId;
use ramkeep_log::NodeId;
use ramkeep_shard::{Mutant, State};

const TICK_NS: u64 = 50_000_000;

struct Trio {
    nodes: Vec<Node>,
    true_ns: u64,
}

impl Trio {
    /// Three voters; those that are named pass entries over.
    fn start(seed: u64, wrong: &[usize]) -> Trio {
        let voters: Vec<NodeId> = (1..=3).map(|number| NodeId::of(number, 1)).collect();
        let node = |(number, id): (usize, &NodeId)| {
            let mutant = wrong.contains(&number).then_some(Mutant::EntryNotApplied);
            let setup = Setup {
                voters: &voters,
                log_only: &[],
                clock: WrongClock::default(),
                mutant,
                moves_sessions: false,
            };
            Node::start(Disk::new(*id), *id, seed + number as u64, setup, 0).expect("a fresh disk")
        };
        let nodes = voters.iter().enumerate().map(node).collect();
        let mut trio = Trio { nodes, true_ns: 0 };
        while trio.primary().is_none() {
            trio.pass();
        }
        trio
    }

    fn primary(&self) -> Option<usize> {
        self.nodes.iter().position(|node| node.shard.is_leading())
    }

    /// Everything that was sent arrives.
    fn deliver(&mut self) {
        loop {
            let mut sent = Vec::new();
            for node in &mut self.nodes {
                let from = node.id;
                sent.extend(node.sent.drain(..).map(|(to, message)| (from, to, message)));
            }
            if sent.is_empty() {
                return;
            }
            for (from, to, message) in sent {
                let taker = self.nodes.iter_mut().find(|node| node.id == to).expect("a member");
                taker.receive(from, message);
            }
        }
    }

    fn pass(&mut self) {
        self.true_ns += TICK_NS;
        for number in 0..self.nodes.len() {
            self.nodes[number].true_ns = self.true_ns;
            self.nodes[number].tick();
        }
        self.deliver();
    }

    fn say(&mut self, session: SessionId, command: &str) {
        let primary = self.primary().expect("nothing disturbs it");
        self.nodes[primary].say(session, command);
        self.nodes[primary].end_turn();
        self.deliver();
    }

    /// Marks a position, and digests at each node's own pace while commands go on.
    fn compare(&mut self, session: SessionId, random: &mut Random) {
        let primary = self.primary().expect("nothing disturbs it");
        self.nodes[primary].with(|shard, now, outputs| shard.mark(now, outputs));
        self.deliver();
        for _ in 0..200 {
            let number = random.below(3) as usize;
            self.nodes[number].shard.digest_slice();
            if random.below(3) == 0 {
                let command = command(random);
                self.say(session, &command);
            }
        }
        self.nodes.iter_mut().for_each(|node| while node.shard.digest_slice() {});
        self.pass();
        self.pass();
    }

    /// These tell each other of their newest digests.
    fn tell(&mut self, numbers: &[usize]) {
        for from in numbers {
            let digest = self.nodes[*from].shard.digested().expect("marked and committed");
            let id = self.nodes[*from].id;
            for to in numbers.iter().filter(|to| *to != from) {
                self.nodes[*to].with(|shard, now, outputs| shard.digest_told(id, digest, now, outputs));
            }
        }
    }
}

fn command(random: &mut Random) -> String {
    let key = random.below(300);
    match random.below(12) {
        0 => format!("DEL key{key}"),
        1 => format!("HSET hash{key} field{} {}", random.below(100), random.next()),
        2 => "SWAPDB 0 3".into(),
        3 => format!("MOVE key{key} 3"),
        4 => format!("PEXPIRE key{key} {}", random.below(400)),
        5 if random.below(8) == 0 => "FLUSHDB".into(),
        _ => format!("SET key{key} {}", random.next()),
    }
}

#[test]
fn replicas_agree_whatever_is_written_while_they_digest() {
    for seed in 0..6 {
        let (mut trio, mut random) = (Trio::start(seed * 10, &[]), Random(seed));
        let primary = trio.primary().expect("just elected");
        let session = trio.nodes[primary].open();
        let mut before = 0;
        for _ in 0..4 {
            (0..100).for_each(|_| trio.say(session, &command(&mut random)));
            trio.compare(session, &mut random);
            trio.tell(&[0, 1, 2]);
            for node in &trio.nodes {
                let digest = node.shard.digested().expect("marked and committed");
                assert!(digest.position.0 > before);
                assert_eq!(node.shard.engine.log.digest_agreed, 3);
                assert_eq!(node.shard.divergence(), None);
            }
            before = trio.nodes[0].shard.digested().expect("as before").position.0;
        }
        // The third comes again under a new id, with the same data; it is no member yet as far as the first knows.
        let digest = trio.nodes[2].shard.digested().expect("as before");
        trio.nodes[0].with(|shard, now, outputs| shard.digest_told(NodeId::of(3, 2), digest, now, outputs));
        assert_eq!(trio.nodes[0].shard.engine.log.digest_agreed, 3, "it is one, not two");
    }
}

/// Three of which the second passes entries over and follows, with data; and a client of the primary.
fn trio_with_a_wrong_follower() -> (Trio, SessionId) {
    let mut trios = (0..30).map(|seed| Trio::start(100 + seed, &[1]));
    let mut trio = trios.find(|trio| trio.primary() != Some(1)).expect("each may win");
    let primary = trio.primary().expect("just elected");
    let session = trio.nodes[primary].open();
    (0..200).for_each(|number| trio.say(session, &format!("SET key{number} value")));
    (trio, session)
}

#[test]
fn one_that_passed_an_entry_over_is_found_and_fenced() {
    let (mut trio, session) = trio_with_a_wrong_follower();
    trio.compare(session, &mut Random(5));
    trio.tell(&[0, 1, 2]);
    for (number, node) in trio.nodes.iter().enumerate() {
        let found = node.shard.divergence().expect("found everywhere");
        assert_eq!((&*found.odd, found.is_known), (&[trio.nodes[1].id][..], true));
        assert_eq!(node.shard.engine.log.digest_differs, found.position.0);
        assert_eq!(matches!(node.shard.state(), State::Fenced(_)), number == 1);
    }
}

#[test]
fn of_two_that_differ_neither_is_fenced() {
    let (mut trio, session) = trio_with_a_wrong_follower();
    let primary = trio.primary().expect("it leads");
    trio.compare(session, &mut Random(5));
    trio.tell(&[primary, 1]);
    for number in [primary, 1] {
        let found = trio.nodes[number].shard.divergence().expect("found by both");
        assert!(!found.is_known);
        assert!(!matches!(trio.nodes[number].shard.state(), State::Fenced(_)));
    }
}

impl Trio {
    /// Memory of one of them goes wrong; its log does not.
    fn spoil(&mut self, number: usize) {
        let data = &mut self.nodes[number].shard.engine.data;
        data.flush_all();
        data.forget_effects();
    }

    /// Lets time pass in which the primary may mark, and those who have digested tell each other.
    fn settle(&mut self, numbers: &[usize]) {
        for _ in 0..60 {
            self.pass();
            self.digest();
        }
        self.tell(numbers);
    }

    /// All digest at a mark, and nothing is written meanwhile.
    fn mark_and_tell(&mut self, numbers: &[usize]) {
        let primary = self.primary().expect("nothing disturbs it");
        self.nodes[primary].with(|shard, now, outputs| shard.mark(now, outputs));
        self.deliver();
        self.digest();
        self.pass();
        self.pass();
        self.tell(numbers);
    }

    fn digest(&mut self) {
        self.nodes.iter_mut().for_each(|node| while node.shard.digest_slice() {});
    }
}

/// Three of which the third is not asked, with data; the numbers of the primary and the other one.
fn two_of_three() -> (Trio, [usize; 2]) {
    let mut trio = Trio::start(500, &[]);
    let primary = trio.primary().expect("just elected");
    let session = trio.nodes[primary].open();
    (0..200).for_each(|number| trio.say(session, &format!("SET key{number} value")));
    (trio, [primary, (primary + 1) % 3])
}

#[test]
fn of_two_the_replica_reads_its_log_again_and_both_agree() {
    let (mut trio, two @ [primary, other]) = two_of_three();
    trio.spoil(other);
    trio.mark_and_tell(&two);
    for number in two {
        assert!(!trio.nodes[number].shard.divergence().expect("found by both").is_known);
    }
    trio.settle(&two);
    assert_eq!(trio.nodes[other].rebuilds, 0, "a third one may be heard yet");
    for _ in 0..2 {
        trio.settle(&two);
    }
    assert_eq!((trio.nodes[primary].rebuilds, trio.nodes[other].rebuilds), (0, 1));
    assert_eq!(trio.primary(), Some(primary));
    for number in two {
        assert_eq!(trio.nodes[number].shard.divergence(), None);
    }
}

#[test]
fn of_two_the_primary_hands_over_and_reads_its_log_again_if_the_replica_was_right() {
    let (mut trio, two @ [primary, other]) = two_of_three();
    trio.spoil(primary);
    trio.mark_and_tell(&two);
    for _ in 0..6 {
        trio.settle(&two);
    }
    assert_ne!(trio.primary(), Some(primary), "it has handed over");
    assert_eq!((trio.nodes[primary].rebuilds, trio.nodes[other].rebuilds), (1, 1));
    // Whoever leads by now may know of no doubt.
    trio.mark_and_tell(&two);
    for number in two {
        assert_eq!(trio.nodes[number].shard.divergence(), None);
        assert!(!matches!(trio.nodes[number].shard.state(), State::Fenced(_)));
    }
}
