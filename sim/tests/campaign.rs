//! Campaigns: many seeds of one node under attack, the seeded bugs that they must find, and determinism.
//!
//! `SIM_SEEDS=n` runs more seeds, `SIM_SECONDS=n` as many as fit, `SIM_FIRST=n` begins there, `SIM_SEED=n` replays one
//! (with `SIM_DAMAGE=1` or `SIM_CLUSTER=1` one of those campaigns), `SIM_MS=n` sets the simulated time of each, `SIM_TRACE=1` prints
//! each seed's trace hash, `SIM_HISTORY=FILE` writes the last seed's history.
#![cfg(any(madsim, feature = "sim"))]
#![allow(clippy::disallowed_methods, reason = "a test reads its settings and writes its report")]

#[cfg(all(feature = "sim", not(madsim)))]
compile_error!("campaigns need RUSTFLAGS='--cfg madsim'; `cargo sim` sets it");

#[cfg(madsim)]
mod under_madsim {
    use ramkeep_log::{Mutant as LogMutant, Mutants};
    use ramkeep_shard::Mutant as ShardMutant;
    use ramkeep_sim::campaign::node::Bugs;
    use ramkeep_sim::campaign::options::{Fault, Options, Purpose};
    use ramkeep_sim::campaign::run::{Verdict, run};
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    const SEEDS: u64 = 60;
    const DAMAGE_SEEDS: u64 = 30;
    const CLUSTER_SEEDS: u64 = 40;
    /// States that a cluster campaign must come to.
    const REACHED: [&str; 4] = [
        "took up leadership",
        "deposed and frozen",
        "frozen, then all was committed",
        "no lease, with replies withheld",
    ];
    const DURATION_MS: u64 = 10_000;
    const SEEDS_PER_BUG_MAX: u64 = 100;
    /// What three zones must lose takes more than what one loses.
    const CLUSTER_SEEDS_PER_BUG_MAX: u64 = 200;
    const FIRST_SEED: u64 = 1;

    fn setting(name: &str) -> Option<u64> {
        std::env::var(name).ok().and_then(|text| text.parse().ok())
    }

    fn is_set(name: &str) -> bool {
        std::env::var_os(name).is_some()
    }

    fn options(seed: u64, purpose: Purpose) -> Options {
        Options::draw(seed, setting("SIM_MS").unwrap_or(DURATION_MS), purpose)
    }

    fn tell_failure(options: &Options, verdict: &Verdict) {
        let purpose = match options.purpose {
            Purpose::Survive => "",
            Purpose::Detect => "SIM_DAMAGE=1 ",
            Purpose::Cluster => "SIM_CLUSTER=1 ",
        };
        println!("failed seed {}; replay: {purpose}SIM_SEED={} cargo sim", options.seed, options.seed);
        println!("{options}\ntrace hash: {:016x}", verdict.trace_hash);
        verdict.complaints.iter().for_each(|complaint| println!("{complaint}"));
        println!("{}", verdict.report);
    }

    /// What a row of seeds came to.
    #[derive(Default)]
    struct Tally {
        seeds: u64,
        answered: u64,
        failed: u64,
        /// Runs with each fault, and how often it came.
        faults: BTreeMap<String, u64>,
        /// Runs in which damage was found, by the kind of damage.
        detected: BTreeMap<&'static str, u64>,
        /// Rare states and how often there were.
        reached: BTreeMap<&'static str, u64>,
    }

    impl Tally {
        fn add(&mut self, options: &Options, verdict: &Verdict) {
            if is_set("SIM_TRACE") {
                println!("seed {} trace hash: {:016x}", options.seed, verdict.trace_hash);
            }
            self.seeds += 1;
            self.answered += verdict.answered;
            for (fault, count) in &verdict.faults {
                *self.faults.entry(fault.clone()).or_default() += count;
            }
            for (state, count) in &verdict.reached {
                *self.reached.entry(state).or_default() += count;
            }
            if let Some(why) = &verdict.detected {
                let kinds = Fault::DETECTED.iter().filter(|fault| options.has(**fault));
                kinds.for_each(|fault| *self.detected.entry(fault.name()).or_default() += 1);
                if is_set("SIM_TRACE") {
                    println!("seed {} detected: {why}", options.seed);
                }
            }
            if !verdict.is_passed() {
                self.failed += 1;
                tell_failure(options, verdict);
            }
            if let Some(path) = std::env::var_os("SIM_HISTORY") {
                let mut file = std::fs::File::create(path).expect("the history's file can be made");
                verdict.history.write(&mut file, verdict.faults.clone()).expect("the history can be written");
            }
        }
    }

    /// Seeds of this run: one that is replayed, so many, or as many as fit in a time.
    fn seeds(count: u64) -> impl Iterator<Item = u64> {
        let first = setting("SIM_FIRST").unwrap_or(FIRST_SEED);
        let replayed = setting("SIM_SEED");
        let until = setting("SIM_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let count = match (replayed, until) {
            (Some(_), _) => 1,
            (None, Some(_)) => u64::MAX - first,
            (None, None) => setting("SIM_SEEDS").unwrap_or(count),
        };
        let first = replayed.unwrap_or(first);
        (first..first + count).take_while(move |_| until.is_none_or(|until| Instant::now() < until))
    }

    fn report(name: &str, tally: &Tally) {
        println!(
            "{name}: {} seeds, {} calls answered, faults {:?}, detected {:?}, reached {:?}, {} failed",
            tally.seeds, tally.answered, tally.faults, tally.detected, tally.reached, tally.failed
        );
        assert_eq!(tally.failed, 0, "seeds failed; the lines above replay them");
    }

    /// Whether a campaign is meant: all are, unless one seed of one of them is replayed or a kind is asked for.
    fn is_meant(purpose: Purpose) -> bool {
        match (is_set("SIM_DAMAGE"), is_set("SIM_CLUSTER"), setting("SIM_SEED").is_some()) {
            (false, false, false) => true,
            (false, false, true) => purpose == Purpose::Survive,
            (damage, cluster, _) => {
                (damage && purpose == Purpose::Detect) || (cluster && purpose == Purpose::Cluster)
            }
        }
    }

    fn play(name: &str, purpose: Purpose, count: u64) -> Tally {
        let mut tally = Tally::default();
        let began = Instant::now();
        for seed in seeds(count) {
            let options = options(seed, purpose);
            tally.add(&options, &run(&options, Bugs::default()));
        }
        let simulated_s = tally.seeds * setting("SIM_MS").unwrap_or(DURATION_MS) / 1000;
        println!("{name}: {simulated_s} simulated seconds in {:.1} s", began.elapsed().as_secs_f64());
        report(name, &tally);
        tally
    }

    #[test]
    fn campaigns_find_nothing() {
        if is_meant(Purpose::Survive) {
            let tally = play("campaign", Purpose::Survive, SEEDS);
            assert!(tally.answered > 50 * tally.seeds, "idle runs test nothing");
        }
    }

    /// Nothing acknowledged is lost, nobody sees what is not durable, and three zones serve again once they can.
    #[test]
    fn three_zones_lose_nothing() {
        if is_meant(Purpose::Cluster) {
            let tally = play("cluster campaign", Purpose::Cluster, CLUSTER_SEEDS);
            assert!(tally.answered > 50 * tally.seeds, "idle runs test nothing");
            for state in REACHED {
                let is_reached = tally.reached.contains_key(state);
                assert!(is_reached || tally.seeds < CLUSTER_SEEDS, "no run came to: {state}");
            }
        }
    }

    /// What one node cannot survive it finds: it refuses to serve, or answers rightly.
    #[test]
    fn damage_is_never_served() {
        if !is_meant(Purpose::Detect) {
            return;
        }
        let tally = play("damage campaign", Purpose::Detect, DAMAGE_SEEDS);
        for fault in [Fault::BitRot, Fault::ReadError, Fault::MisdirectedWrite] {
            let is_found = tally.detected.contains_key(fault.name());
            assert!(is_found || tally.seeds < DAMAGE_SEEDS, "{} was never met", fault.name());
        }
    }

    #[test]
    fn the_same_seed_runs_the_same_way_twice() {
        let seeds =
            [(3, Purpose::Survive), (11, Purpose::Survive), (5, Purpose::Detect), (2, Purpose::Cluster)];
        for (seed, purpose) in seeds {
            let hashes = [(); 2].map(|()| run(&options(seed, purpose), Bugs::default()).trace_hash);
            assert_eq!(hashes[0], hashes[1], "seed {seed}");
        }
    }

    struct SeededBug {
        name: &'static str,
        bugs: Bugs,
        purpose: Purpose,
    }

    fn seeded_bugs() -> Vec<SeededBug> {
        let log = |mutant| Bugs { log: Mutants { on: Some(mutant) }, ..Bugs::default() };
        let shard = |mutant| Bugs { shard: Some(mutant), ..Bugs::default() };
        let no_directory_sync = Bugs { is_directory_sync_forgotten: true, ..Bugs::default() };
        let survive = |name, bugs| SeededBug { name, bugs, purpose: Purpose::Survive };
        let cluster = |name, bugs| SeededBug { name, bugs, purpose: Purpose::Cluster };
        let detect = |name, bugs| SeededBug { name, bugs, purpose: Purpose::Detect };
        vec![
            survive("acknowledged before the sync", log(LogMutant::AcknowledgedBeforeSync)),
            survive("failed sync taken for a good one", log(LogMutant::SyncErrorIgnored)),
            detect("bad record in the middle taken for the tail", log(LogMutant::DamageTakenForTail)),
            survive("directory of new segments not synced", no_directory_sync),
            survive("uncommitted value visible to reads", shard(ShardMutant::UncommittedVisible)),
            survive("EXEC split into an entry for each command", shard(ShardMutant::SplitTransactions)),
            survive("tail read at recovery not written again", log(LogMutant::TailNotWrittenAgain)),
            survive("reply before the commit (gate)", shard(ShardMutant::AcknowledgeBeforeCommit)),
            survive("expired keys deleted without an entry", shard(ShardMutant::ExpiryNotLogged)),
            cluster(
                "three zones: reply before a majority has it",
                shard(ShardMutant::AcknowledgeBeforeCommit),
            ),
            cluster("three zones: acknowledged before the sync", log(LogMutant::AcknowledgedBeforeSync)),
            cluster("three zones: failed sync taken for a good one", log(LogMutant::SyncErrorIgnored)),
            cluster("reads without a lease", shard(ShardMutant::LeaseIgnored)),
            cluster("vote for a log that lacks committed entries", log(LogMutant::VotesForAnyLog)),
            cluster("three zones: uncommitted value visible", shard(ShardMutant::UncommittedVisible)),
            cluster("three zones: expiry not logged", shard(ShardMutant::ExpiryNotLogged)),
            cluster("a deposed primary keeps what was overwritten", shard(ShardMutant::OverwrittenKept)),
            survive("snapshot says one entry more than it holds", shard(ShardMutant::SnapshotOffByOne)),
        ]
    }

    /// How the run of a seed shows the bug, if it does.
    fn symptom(seed: u64, bug: &SeededBug) -> Option<&'static str> {
        let options = options(seed, bug.purpose);
        let played = std::panic::catch_unwind(|| run(&options, bug.bugs));
        let Ok(verdict) = played else { return Some("an assertion stops the node") };
        match (verdict.is_passed(), verdict.report.violations.first()) {
            (true, _) => None,
            (false, Some(violation)) => Some(violation.checker),
            (false, None) => Some("the node does not come back as it was"),
        }
    }

    /// Every bug that we know how to make is found, or the campaign proves nothing.
    #[test]
    fn seeded_bugs_are_found() {
        if setting("SIM_SEED").is_some() || is_set("SIM_DAMAGE") || is_set("SIM_CLUSTER") {
            return;
        }
        let mut missed = Vec::new();
        println!("| seeded bug | first seed that finds it | how it shows |\n|---|---:|---|");
        let only = std::env::var("SIM_BUG").unwrap_or_default();
        for bug in seeded_bugs().into_iter().filter(|bug| bug.name.contains(&only)) {
            let count = match bug.purpose {
                Purpose::Cluster => CLUSTER_SEEDS_PER_BUG_MAX,
                Purpose::Survive | Purpose::Detect => SEEDS_PER_BUG_MAX,
            };
            let mut seeds = FIRST_SEED..FIRST_SEED + count;
            match seeds.find_map(|seed| Some((seed, symptom(seed, &bug)?))) {
                Some((seed, how)) => println!("| {} | {seed} | {how} |", bug.name),
                None => missed.push(bug.name),
            }
        }
        assert!(missed.is_empty(), "not found in the seeds that each may take: {missed:?}");
    }
}
