//! Bugs made on purpose, and how a campaign finds each: proof that it would find others.
//!
//! Lives here: the list, with the number that the catalogue of such bugs gives them, and the search for the first seed
//! that finds one. Not here: the places that break (`log::mutant`, `shard::Mutant`, the simulated disk).

use std::fmt;

use ramkeep_log::{Mutant as LogMutant, Mutants};
use ramkeep_shard::Mutant as ShardMutant;

use super::node::Bugs;
use super::options::{Options, Purpose};
use super::run::{Verdict, run};

pub struct SeededBug {
    /// In the catalogue: M1 to M30; none for one that is ours.
    pub number: &'static str,
    pub name: &'static str,
    pub bugs: Bugs,
    pub purpose: Purpose,
}

/// Every one of them, those of one node first.
pub fn all() -> Vec<SeededBug> {
    let log = |mutant| Bugs { log: Mutants { on: Some(mutant) }, ..Bugs::default() };
    let shard = |mutant| Bugs { shard: Some(mutant), ..Bugs::default() };
    let no_directory_sync = Bugs { is_directory_sync_forgotten: true, ..Bugs::default() };
    let no_snapshot_sync = Bugs { is_snapshot_sync_forgotten: true, ..Bugs::default() };
    let one = |number, name, bugs| SeededBug { number, name, bugs, purpose: Purpose::Survive };
    let three = |number, name, bugs| SeededBug { number, name, bugs, purpose: Purpose::Cluster };
    let damaged = |number, name, bugs| SeededBug { number, name, bugs, purpose: Purpose::Detect };
    vec![
        one("M1", "reply before the commit (gate)", shard(ShardMutant::AcknowledgeBeforeCommit)),
        one("M2", "acknowledged before the sync", log(LogMutant::AcknowledgedBeforeSync)),
        one("M3, M30", "failed or half-done write taken for a good one", log(LogMutant::SyncErrorIgnored)),
        damaged("M4", "bad record in the middle taken for the tail", log(LogMutant::DamageTakenForTail)),
        one("M15", "EXEC split into an entry for each command", shard(ShardMutant::SplitTransactions)),
        one(
            "M16",
            "EXEC ignores changes of watched keys that are not committed yet",
            shard(ShardMutant::WatchIgnoresUncommitted),
        ),
        one("M18", "expired keys deleted without an entry", shard(ShardMutant::ExpiryNotLogged)),
        one("M19", "uncommitted value visible to reads", shard(ShardMutant::UncommittedVisible)),
        one("M21", "first entry after a loaded snapshot applied twice", shard(ShardMutant::AppliedTwice)),
        one("M22", "snapshot says one entry more than it holds", shard(ShardMutant::SnapshotOffByOne)),
        one("M22", "log cut below a snapshot that was not synced", no_snapshot_sync),
        one("M23", "directory of new segments not synced", no_directory_sync),
        damaged("M24", "checksum of a loaded snapshot ignored", shard(ShardMutant::SnapshotChecksumIgnored)),
        one("", "tail read at recovery not written again", log(LogMutant::TailNotWrittenAgain)),
        three("M1", "reply before a majority has it", shard(ShardMutant::AcknowledgeBeforeCommit)),
        three("M2", "acknowledged before the sync", log(LogMutant::AcknowledgedBeforeSync)),
        three("M3, M30", "failed or half-done write taken for a good one", log(LogMutant::SyncErrorIgnored)),
        three(
            "M5",
            "a vote told before it is saved, and asked for again at once",
            log(LogMutant::VoteForgotten),
        ),
        three("M6", "reads without a lease", shard(ShardMutant::LeaseIgnored)),
        three("M7", "a lease by the wall clock", shard(ShardMutant::LeaseByWallClock)),
        three(
            "M8",
            "service before all of earlier terms is applied",
            shard(ShardMutant::ServesBeforeApplied),
        ),
        three("M10", "vote for a log that lacks committed entries", log(LogMutant::VotesForAnyLog)),
        three("M11", "voters change in one step, without joint majorities", log(LogMutant::JointSkipped)),
        three(
            "M16",
            "EXEC ignores changes of watched keys that are not committed yet",
            shard(ShardMutant::WatchIgnoresUncommitted),
        ),
        three("M18", "expiry not logged", shard(ShardMutant::ExpiryNotLogged)),
        three("M19", "uncommitted value visible", shard(ShardMutant::UncommittedVisible)),
        three("M20", "a deposed primary keeps what was overwritten", shard(ShardMutant::OverwrittenKept)),
        three("M21", "first entry after a loaded snapshot applied twice", shard(ShardMutant::AppliedTwice)),
        three(
            "M26",
            "replies of unknown outcome dropped, their connections go on",
            shard(ShardMutant::DroppedRepliesGoOn),
        ),
        three("M27", "an empty directory passes for the one that was lost", log(LogMutant::DirectoryOfNode)),
        three("", "a frozen primary answers reads", shard(ShardMutant::FrozenServes)),
        three("", "a replica passes over entries", shard(ShardMutant::EntryNotApplied)),
    ]
}

/// How the run of a seed shows a bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Symptom {
    /// A checker of what clients were answered.
    Answers(&'static str),
    /// Shown to any user: a node that does not start, serve or agree with the others.
    Outside(&'static str),
    /// Only the campaign, which looks inside, sees it.
    Inside(String),
    /// One of the node's own assertions stops it.
    Assertion,
}

impl Symptom {
    /// Found without looking inside and without the help of assertions.
    pub fn is_black_box(&self) -> bool {
        matches!(self, Symptom::Answers(_) | Symptom::Outside(_))
    }
}

impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Symptom::Answers(checker) => f.write_str(checker),
            Symptom::Outside(what) => f.write_str(what),
            Symptom::Inside(what) => write!(f, "{what} (seen inside)"),
            Symptom::Assertion => f.write_str("an assertion stops the node"),
        }
    }
}

/// What the run of this seed shows of the bug, if anything.
pub fn symptom(seed: u64, duration_ms: u64, bug: &SeededBug) -> Option<Symptom> {
    let options = Options::draw(seed, duration_ms, bug.purpose);
    let played = std::panic::catch_unwind(|| run(&options, bug.bugs));
    let Ok(verdict) = played else { return Some(Symptom::Assertion) };
    (!verdict.is_passed()).then(|| of_verdict(&verdict))
}

fn of_verdict(verdict: &Verdict) -> Symptom {
    if let Some(violation) = verdict.report.violations.first() {
        return Symptom::Answers(violation.checker);
    }
    const OUTSIDE: [(&str, &str); 8] = [
        ("refused to start", "a node refuses to start"),
        ("serves after", "a node does not serve again"),
        ("not serve", "a node does not serve again"),
        ("says that replicas differ", "INFO says that replicas differ"),
        ("hold different data", "replicas differ"),
        ("do not catch up", "a replica does not catch up"),
        ("do not all vote", "a node that lost its disk does not vote again"),
        ("LOADAOF", "the log does not give the data"),
    ];
    let complaint = verdict.complaints.first().cloned().unwrap_or_else(|| "undecided".into());
    match OUTSIDE.iter().find(|(part, _)| complaint.contains(part)) {
        Some((_, what)) => Symptom::Outside(what),
        None => Symptom::Inside(complaint),
    }
}

/// The first seed that finds it, and the first that does so as a black box.
pub struct Found {
    pub first: Option<(u64, Symptom)>,
    pub black_box: Option<(u64, Symptom)>,
}

/// Looks for it in seeds from 1 on.
pub fn find(bug: &SeededBug, seeds_max: u64, duration_ms: u64) -> Found {
    let mut found = Found { first: None, black_box: None };
    for seed in 1..=seeds_max {
        let Some(symptom) = symptom(seed, duration_ms, bug) else { continue };
        let is_black_box = symptom.is_black_box();
        if found.first.is_none() {
            found.first = Some((seed, symptom.clone()));
        }
        if is_black_box {
            found.black_box = Some((seed, symptom));
            break;
        }
    }
    found
}

impl Found {
    /// A row of the table in the documentation.
    pub fn row(&self, bug: &SeededBug) -> String {
        let place = match bug.purpose {
            Purpose::Survive => "one node",
            Purpose::Detect => "one node, damage",
            Purpose::Cluster => "three zones",
            Purpose::Exceed => "three zones, two harmed",
        };
        let shown = |found: &Option<(u64, Symptom)>| match found {
            Some((seed, symptom)) => format!("{seed}: {symptom}"),
            None => "–".to_string(),
        };
        let (first, black_box) = (shown(&self.first), shown(&self.black_box));
        format!("| {} | {} | {place} | {first} | {black_box} |", bug.number, bug.name)
    }
}
