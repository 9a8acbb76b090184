//! Reads: of a primary that is new, and of replicas whose clients say how old an answer may be.

use crate::{bugs, pause_ms};
use ramkeep_sim::scene::{Client, Trio, play};

/// J6: the next primary has the entry that was acknowledged and does not know that it was committed. Asked before its own
/// first entry is committed, it answers nothing.
/// Caught: M8, service before all of earlier terms is applied.
#[test]
fn a_new_primary_answers_no_read_before_it_knows_what_was_committed() {
    for seed in 0..10 {
        play(110 + seed, move |world| async move {
            let trio = Trio::start(world, bugs());
            let (old, client) = trio.primary().await;
            assert_eq!(client.told("SET k 0").await, "+OK\r\n");
            trio.agree().await;
            let others = trio.others(old);
            let mut asked = Vec::new();
            for other in others {
                let reader = trio.connect(other).await;
                assert_eq!(reader.told("GET k").await, "$1\r\n0\r\n");
                asked.push(reader);
            }
            // In the log of another, with a few more behind it; how far it is committed is told with the next message.
            for number in 1..=3 {
                assert_eq!(client.told(&format!("SET k {number}")).await, "+OK\r\n");
            }
            // With what it was about to say of the commit.
            trio.world.power_loss(trio.nodes[old]);
            // Its first entry takes its time.
            others.iter().for_each(|other| trio.slow_disk(*other, 150_000));
            let mut answered = 0;
            for _ in 0..150 {
                for (reader, other) in asked.iter_mut().zip(others) {
                    match reader.ask("GET k").await {
                        Ok(answer) if answer.starts_with('-') => {}
                        Ok(answer) => {
                            assert_eq!(answer, "$1\r\n3\r\n", "seed {seed}");
                            answered += 1;
                        }
                        Err(_) => *reader = trio.connect(other).await,
                    }
                }
                if answered > 5 {
                    return;
                }
                pause_ms(10).await;
            }
            panic!("nobody serves");
        });
    }
}

/// What a story of a replica's reader does to the others in one of its rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Nothing,
    /// Entries do not reach the replica.
    Cut,
    /// They come later.
    Stalled,
    /// The replica stands still with the question before it.
    Paused,
    /// The primary dies with the write acknowledged.
    Killed,
    /// The primary is cut off and does not know it.
    Parted,
}

const HARMS: [Harm; 6] = [Harm::Nothing, Harm::Cut, Harm::Stalled, Harm::Paused, Harm::Killed, Harm::Parted];

/// A connection to a node, which is asked itself and whose answers may be so old.
async fn careful(trio: &Trio, index: usize, consistency: &str) -> Client {
    let reader = trio.connect(index).await;
    loop {
        let told = reader.told("READONLY").await;
        if told == "+OK\r\n" {
            break;
        }
        pause_ms(10).await;
    }
    assert_eq!(reader.told(&format!("CLIENT READ-CONSISTENCY {consistency}")).await, "+OK\r\n");
    reader
}

/// Writes numbers one after the other, harms somebody after each, and asks a replica: what it answers must hold what was
/// acknowledged `age_ms` before the question (`None`: anything), and never be older than its answer before. Where anything
/// will do, the node asked is the one that leads at first, and is cut off with what nobody else has.
fn read_at_a_replica(seed: u64, consistency: &'static str, age_ms: Option<u64>) {
    play(seed, move |world| async move {
        let trio = Trio::start(world, bugs());
        let (first, _) = trio.primary().await;
        let replica = if age_ms.is_some() { trio.others(first)[0] } else { first };
        let mut reader = careful(&trio, replica, consistency).await;
        let mut acknowledged = Vec::new();
        let (mut answered, mut newest_seen) = (0, 0);
        for round in 0..30_u64 {
            let number = 100 + round;
            let (primary, writer) = trio.primary().await;
            let harm = HARMS[((round + seed) % 6) as usize];
            if harm == Harm::Cut {
                trio.world.cut(trio.nodes[primary], trio.nodes[replica]);
            } else if harm == Harm::Stalled {
                let length = std::time::Duration::from_millis(400);
                trio.world.stall(trio.nodes[primary], trio.nodes[replica], length);
            }
            assert_eq!(writer.told(&format!("SET k {number}")).await, "+OK\r\n");
            acknowledged.push((trio.world.now_ns(), number));
            match harm {
                Harm::Paused => trio.world.pause(trio.nodes[replica]),
                Harm::Killed => trio.world.kill(trio.nodes[primary]),
                Harm::Parted => trio.part(primary),
                _ => {}
            }
            if harm == Harm::Parted && primary == replica {
                // Executed there, and overwritten later.
                let lost = trio.connect(primary).await;
                let _ = lost.say(&format!("SET k {}", 9_000 + number)).await;
                pause_ms(2_500).await;
            }
            pause_ms(age_ms.filter(|age_ms| *age_ms > 0).map_or(0, |age_ms| age_ms + 50)).await;
            let asked_ns = trio.world.now_ns();
            let is_asked = reader.say("GET k").await.is_ok();
            if harm == Harm::Paused {
                pause_ms(200 + seed % 5 * 300).await;
                trio.world.resume(trio.nodes[replica]);
            }
            match reader.hear().await {
                Ok(answer) if is_asked && answer.starts_with('$') => {
                    let seen: u64 =
                        answer.split("\r\n").nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
                    let due = |(at_ns, _): &&(u64, u64)| {
                        age_ms.is_some_and(|age_ms| at_ns + age_ms * 1_000_000 <= asked_ns)
                    };
                    let least = acknowledged.iter().filter(due).map(|(_, number)| *number).max().unwrap_or(0);
                    assert!(seen >= least, "seed {seed}, {harm:?}: {seen} where {least} was acknowledged");
                    assert!(seen >= newest_seen, "seed {seed}, {harm:?}: back from {newest_seen} to {seen}");
                    (answered, newest_seen) = (answered + 1, seen);
                }
                // Refused: nobody could tell how fresh it is.
                Ok(_) => {}
                Err(_) => {
                    trio.start_node_again(replica);
                    reader = careful(&trio, replica, consistency).await;
                    newest_seen = 0;
                }
            }
            trio.world.heal_all();
            (0..3).for_each(|index| trio.start_node_again(index));
        }
        assert!(answered >= 15, "seed {seed}: {answered} answers");
    });
}

/// Caught: a read at a replica that rests on a question asked before it, or on none.
#[test]
fn a_linearizable_read_at_a_replica_shows_what_was_acknowledged_before_it() {
    (150..160).for_each(|seed| read_at_a_replica(seed, "LINEARIZABLE", Some(0)));
}

/// Looks for: an age that is counted from the answer and not from the question.
#[test]
fn a_bounded_read_at_a_replica_is_no_older_than_its_bound() {
    (160..166).for_each(|seed| read_at_a_replica(seed, "BOUNDED 150", Some(150)));
}

/// Looks for: a replica that shows what it has not applied, or starts anew from something older.
#[test]
fn an_eventual_read_at_a_replica_never_goes_back() {
    (166..172).for_each(|seed| read_at_a_replica(seed, "EVENTUAL", None));
}
