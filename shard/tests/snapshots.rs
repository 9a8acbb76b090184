//! Snapshots of one voter: made in slices between commands, cut below, crashed at every step, loaded again.

use crate::common::making::{Making, Step, begin, end, put, step};
use crate::common::{Disk, Node, Setup, WrongClock};
use crate::disk::{ALONE, Random};

fn start(disk: Disk, seed: u64) -> Node {
    try_start(disk, seed).unwrap_or_else(|why| panic!("{why}"))
}

fn try_start(disk: Disk, seed: u64) -> Result<Node, String> {
    let setup = Setup {
        voters: &[ALONE],
        log_only: &[],
        clock: WrongClock::default(),
        mutant: None,
        moves_sessions: false,
    };
    Node::start(disk, ALONE, seed, setup, 0)
}

fn command(random: &mut Random) -> String {
    let key = random.below(60);
    match random.below(16) {
        0 => format!("DEL key{key}"),
        1 => format!("HSET hash{key} field{} {}", random.below(300), random.next()),
        2 => format!("RENAME key{key} key{}", random.below(60)),
        3 => format!("COPY key{key} key{} REPLACE", random.below(60)),
        4 => format!("MOVE key{key} 3"),
        5 if random.below(4) == 0 => "SWAPDB 0 3".into(),
        6 if random.below(12) == 0 => "FLUSHDB".into(),
        7 => format!("PEXPIRE key{key} {}", random.below(400)),
        8 => format!("SETRANGE key{key} {} x", random.below(150_000)),
        9 => format!("APPEND key{key} {}", "tail".repeat(random.below(80) as usize)),
        10 => format!("SET other{} {}", random.below(3000), random.next()),
        _ => format!("SET key{key} {}", random.next()),
    }
}

/// Lives of one disk: commands, snapshots, a crash at any step, and what is found after it.
fn lives(seed: u64) -> (usize, usize) {
    let mut random = Random(seed);
    let mut disk = Disk::new(ALONE);
    let mut digest = None;
    let (mut made, mut cut) = (0, 0);
    for round in 0..4 {
        let mut node = start(disk, seed * 10 + round);
        if let Some(digest) = digest {
            assert_eq!(node.digest(), digest, "seed {seed}: all that was acknowledged is there");
        }
        let session = node.open();
        let mut making: Option<Making> = None;
        for _ in 0..random.below(120) {
            for _ in 0..random.below(5) {
                let command = command(&mut random);
                node.say(session, &command);
            }
            if random.below(3) > 0 {
                node.end_turn();
            }
            if random.below(10) == 0 {
                node.true_ns += 50_000_000;
                node.tick();
            }
            if random.below(12) == 0 && making.is_none() {
                node.say(session, "BGSAVE");
                making = begin(&mut node);
            }
            for _ in 0..random.below(4) {
                let Some(begun) = &mut making else { break };
                let file = match step(&mut node, begun) {
                    Step::More => continue,
                    Step::Whole(file) => file,
                    Step::Void => panic!("a single voter gives no snapshot up"),
                };
                put(&mut node, &begun.head.clone(), file);
                making = None;
                // A crash between the name and the cut is one of the cases.
                if random.below(5) > 0 {
                    let segments = node.disk.segments.len();
                    end(&mut node);
                    cut += segments.saturating_sub(node.disk.segments.len());
                    made += 1;
                } else {
                    break;
                }
            }
            assert_eq!(node.fenced, None, "seed {seed}");
        }
        node.end_turn();
        digest = Some(node.digest());
        disk = node.disk;
        disk.kill(random.below(2) == 0);
    }
    (made, cut)
}

#[test]
fn what_a_snapshot_and_the_log_after_it_hold_is_what_was_there() {
    let (mut made, mut cut) = (0, 0);
    for seed in 0..150 {
        let (more_made, more_cut) = lives(seed);
        made += more_made;
        cut += more_cut;
    }
    assert!(made > 150 && cut > 100, "too little happened: {made} made, {cut} segments cut");
}

#[test]
fn a_damaged_snapshot_is_never_loaded() {
    let mut node = start(Disk::new(ALONE), 1);
    let session = node.open();
    for number in 0..40 {
        node.ask(session, &format!("SET key{number} {}", "value".repeat(number)));
    }
    node.say(session, "BGSAVE");
    let mut making = begin(&mut node).expect("it was asked for");
    let file = loop {
        if let Step::Whole(file) = step(&mut node, &mut making) {
            break file;
        }
    };
    put(&mut node, &making.head.clone(), file.clone());
    end(&mut node);
    let disk = node.disk;
    for at in 0..file.len() {
        let mut disk = disk.clone();
        disk.held[at] ^= 1 << (at % 8);
        let outcome = try_start(disk, 2);
        assert!(outcome.is_err(), "byte {at} of the snapshot is wrong");
    }
    start(disk, 3);
}

#[test]
fn a_snapshot_waits_for_the_commit_of_what_it_holds() {
    let mut node = start(Disk::new(ALONE), 1);
    let session = node.open();
    node.ask(session, "SET key 1");
    node.slow_disk = true;
    node.say(session, "SET key 2");
    node.say(session, "BGSAVE");
    let mut making = begin(&mut node).expect("it was asked for");
    for _ in 0..20 {
        let step = step(&mut node, &mut making);
        assert!(matches!(step, Step::More), "its position is not durable anywhere");
    }
    node.sync();
    assert!(matches!(step(&mut node, &mut making), Step::Whole(_)));
}
