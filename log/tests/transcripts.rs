//! Transcripts: what replicas do, as text in and text out. Each file in `transcripts/` cites its rule.
//!
//! A line `> command` is run; the lines up to the next command are what it must print. Commands:
//!
//! | command                 | meaning                                                                        |
//! |-------------------------|--------------------------------------------------------------------------------|
//! | `nodes N`               | start N voters, called 1..N                                                    |
//! | `ticks N`               | N ticks of 50 ms, all messages delivered in between                             |
//! | `tick`                  | one tick, nothing delivered                                                    |
//! | `deliver`               | deliver until all is quiet                                                     |
//! | `elect`                 | let time pass until a primary may serve; prints `primary`                       |
//! | `isolate X` / `heal`    | cut a node off / mend all                                                      |
//! | `propose X TEXT[*N]`    | propose the text, N times over, at X; prints its position or why not            |
//! | `slow X` / `sync X`     | writes of X stay in flight / are synced from now on                              |
//! | `step X`                | the write of X in flight is synced, the next stays in flight                    |
//! | `fail X`                | the write in flight fails                                                      |
//! | `kill X` / `power X`    | the process dies, writes in flight stay cached / are lost but for every 2nd sector |
//! | `start X`               | start it again; prints the report                                              |
//! | `damage X POSITION`     | flip a bit in the frame of a position                                           |
//! | `state X` / `data X`    | prints role and positions / committed payloads                                 |
//!
//! X is a node's number, or `primary`, or `old`, the node last isolated, killed or failed.

use crate::common::cluster::{Cluster, id};
use crate::common::*;
use ramkeep_log::*;

struct Script {
    cluster: Cluster,
    old: NodeId,
}

impl Script {
    fn node(&mut self, word: &str) -> NodeId {
        match word {
            "primary" => self.cluster.primary().expect("there is a primary"),
            "old" => self.old,
            number => id(number.parse().expect("a node's number")),
        }
    }

    fn run(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let argument = words.get(1).copied().unwrap_or_default();
        match words[0] {
            "nodes" => self.cluster = Cluster::new(argument.parse().unwrap(), 1),
            "ticks" => self.cluster.ticks(argument.parse().unwrap()).unwrap(),
            "tick" => self.cluster.tick().unwrap(),
            "deliver" => self.cluster.deliver_all().unwrap(),
            "heal" => self.cluster.cut.clear(),
            "elect" => return self.cluster.elect().map_or_else(|none| none, |_| "primary".into()),
            _ => return self.run_at(&words, argument),
        }
        String::new()
    }

    fn run_at(&mut self, words: &[&str], argument: &str) -> String {
        let node = self.node(argument);
        let now_ns = self.cluster.now_ns;
        match words[0] {
            "isolate" => {
                self.old = node;
                self.cluster.isolate(node);
            }
            "propose" => {
                let payload = match words[2].split_once('*') {
                    Some((text, count)) => text.repeat(count.parse().unwrap()),
                    None => words[2].to_string(),
                };
                let proposed = self.cluster.node(node).replica.propose(payload.into_bytes());
                self.cluster.collect().unwrap();
                return match proposed {
                    Ok(position) => format!("position {}", position.0),
                    Err(refused) => format!("refused: {refused}"),
                };
            }
            "slow" => self.cluster.node(node).slow_disk = true,
            "sync" => {
                self.cluster.node(node).slow_disk = false;
                self.cluster.node(node).sync(now_ns);
                self.cluster.collect().unwrap();
            }
            "step" => {
                self.cluster.node(node).sync_log(now_ns);
                self.cluster.collect().unwrap();
            }
            "fail" => {
                self.old = node;
                let (segment, offset, bytes) =
                    self.cluster.node(node).disk.in_flight.take().expect("a write in flight");
                self.cluster.node(node).replica.write_failed(Written { segment, offset, bytes }, now_ns);
                self.cluster.collect().unwrap();
                self.cluster.messages.clear();
                return format!("fenced: {}", self.cluster.node(node).fenced.expect("it is fenced"));
            }
            "kill" | "power" => {
                self.old = node;
                let disk = self.cluster.stop(node).expect("it is up");
                if words[0] == "kill" { disk.kill(true) } else { disk.lose_odd_sectors() }
            }
            "start" => return self.start(node),
            "damage" => self.damage(node, Position(words[2].parse().unwrap())),
            "state" => return self.state(node),
            "data" => {
                let payloads = self.cluster.node(node).payloads();
                let texts: Vec<String> =
                    payloads.iter().map(|it| String::from_utf8_lossy(it).into_owned()).collect();
                return texts.join(" ");
            }
            unknown => panic!("unknown command {unknown}"),
        }
        String::new()
    }

    fn start(&mut self, node: NodeId) -> String {
        if let Err(error) = self.cluster.start(node) {
            return error.split_once(": ").map_or(error.clone(), |(_, why)| why.to_string());
        }
        let report = &self.cluster.node(node).report;
        let torn = report.torn.map_or("nothing torn".into(), |why| format!("torn tail ({why})"));
        format!("{torn}, {} frames cut, {} written again", report.cut_frames, report.rewritten_frames)
    }

    fn damage(&mut self, node: NodeId, position: Position) {
        let disk = self.cluster.down.get_mut(&node).expect("it is down");
        for (segment, bytes) in &mut disk.segments {
            let is_wanted = |it: &Inspected| match &it.verdict {
                Verdict::Good(frame) | Verdict::Unchained(frame) => {
                    frame.position == position && matches!(frame.kind, FrameKind::Entry(_))
                }
                _ => false,
            };
            if let Some(found) = Inspector::new(layout(), *segment, bytes).find(is_wanted) {
                bytes[found.offset as usize + FRAME_HEAD_BYTES / 2] ^= 1;
                return;
            }
        }
        panic!("no frame of {position:?}");
    }

    fn state(&mut self, node: NodeId) -> String {
        let replica = &self.cluster.node(node).replica;
        format!(
            "{:?} term {} last {} durable {} committed {}",
            replica.role(),
            replica.term().0,
            replica.last().0,
            replica.persisted().0,
            replica.committed().0,
        )
    }
}

#[test]
fn replicas_do_what_the_transcripts_say() {
    let transcripts = [
        ("torn tail", include_str!("transcripts/torn_tail.txt")),
        ("damage", include_str!("transcripts/damage.txt")),
        ("restart", include_str!("transcripts/restart_hold_off.txt")),
        ("own sync", include_str!("transcripts/commit_without_own_sync.txt")),
        ("superseded", include_str!("transcripts/superseded_tail.txt")),
        ("proposals", include_str!("transcripts/proposals.txt")),
        ("fence", include_str!("transcripts/fence.txt")),
    ];
    let mut failures = Vec::new();
    for (name, text) in transcripts {
        let mut script = Script { cluster: Cluster::new(1, 1), old: id(1) };
        let mut expected: Vec<&str> = Vec::new();
        let mut printed = String::from("");
        let mut command = "";
        for line in text.lines().chain(["> deliver"]) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some(next) = line.strip_prefix("> ") else {
                expected.push(line);
                continue;
            };
            if printed != expected.join("\n") {
                failures
                    .push(format!("{name}: `{command}` printed\n{printed}\nnot\n{}", expected.join("\n")));
            }
            expected.clear();
            command = next;
            printed = script.run(next);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
