//! Campaigns: many seeds of one node under attack, the seeded bugs that they must find, and determinism.
//!
//! `SIM_SEEDS=n` runs more seeds, `SIM_SEED=n` replays one, `SIM_MS=n` sets the simulated time of each,
//! `SIM_TRACE=1` prints each seed's trace hash, `SIM_HISTORY=FILE` writes the last seed's history.
#![cfg(any(madsim, feature = "sim"))]
#![allow(clippy::disallowed_methods, reason = "a test reads its settings and writes its report")]

#[cfg(all(feature = "sim", not(madsim)))]
compile_error!("campaigns need RUSTFLAGS='--cfg madsim'; `cargo sim` sets it");

#[cfg(madsim)]
mod under_madsim {
    use ramkeep_log::{Mutant as LogMutant, Mutants};
    use ramkeep_shard::Mutant as ShardMutant;
    use ramkeep_sim::campaign::options::{Options, Purpose};
    use ramkeep_sim::campaign::run::{Bugs, Verdict, run};
    use std::collections::BTreeMap;

    const SEEDS: u64 = 30;
    const DURATION_MS: u64 = 10_000;
    const SEEDS_PER_BUG_MAX: u64 = 100;
    const FIRST_SEED: u64 = 1;

    fn setting(name: &str) -> Option<u64> {
        std::env::var(name).ok().and_then(|text| text.parse().ok())
    }

    fn play(seed: u64, bugs: Bugs) -> (Options, Verdict) {
        let duration_ms = setting("SIM_MS").unwrap_or(DURATION_MS);
        let options = Options::draw(seed, duration_ms, Purpose::Survive);
        let verdict = run(&options, bugs);
        (options, verdict)
    }

    fn tell_failure(options: &Options, verdict: &Verdict) {
        println!("failed seed {}; replay: SIM_SEED={} cargo sim", options.seed, options.seed);
        println!("{options}\ntrace hash: {:016x}", verdict.trace_hash);
        verdict.complaints.iter().for_each(|complaint| println!("{complaint}"));
        println!("{}", verdict.report);
    }

    #[test]
    fn campaigns_find_nothing() {
        let seeds: Vec<u64> = match setting("SIM_SEED") {
            Some(seed) => vec![seed],
            None => (FIRST_SEED..FIRST_SEED + setting("SIM_SEEDS").unwrap_or(SEEDS)).collect(),
        };
        let (mut answered, mut failed) = (0, 0);
        let mut faults: BTreeMap<String, u64> = BTreeMap::new();
        for seed in &seeds {
            let (options, verdict) = play(*seed, Bugs::default());
            if std::env::var_os("SIM_TRACE").is_some() {
                println!("seed {seed} trace hash: {:016x}", verdict.trace_hash);
            }
            answered += verdict.answered;
            for (fault, count) in &verdict.faults {
                *faults.entry(fault.clone()).or_default() += count;
            }
            if !verdict.is_passed() {
                failed += 1;
                tell_failure(&options, &verdict);
            }
            if let Some(path) = std::env::var_os("SIM_HISTORY") {
                let mut file = std::fs::File::create(path).expect("the history's file can be made");
                verdict.history.write(&mut file, verdict.faults.clone()).expect("the history can be written");
            }
        }
        println!(
            "campaign: {} seeds, {answered} calls answered, faults {faults:?}, {failed} failed",
            seeds.len()
        );
        assert_eq!(failed, 0, "seeds failed; the lines above replay them");
        assert!(answered > 100 * seeds.len() as u64, "idle runs test nothing");
    }

    #[test]
    fn the_same_seed_runs_the_same_way_twice() {
        for seed in [3, 11] {
            let hashes = [(); 2].map(|()| play(seed, Bugs::default()).1.trace_hash);
            assert_eq!(hashes[0], hashes[1], "seed {seed}");
        }
    }

    /// Every bug that we know how to make is found, or the campaign proves nothing.
    #[test]
    fn seeded_bugs_are_found() {
        if setting("SIM_SEED").is_some() {
            return;
        }
        let log = |mutant| Bugs { log: Mutants { on: Some(mutant) }, ..Bugs::default() };
        let shard = |mutant| Bugs { shard: Some(mutant), ..Bugs::default() };
        let bugs = [
            ("acknowledged before sync (log)", log(LogMutant::AcknowledgedBeforeSync)),
            ("sync error ignored", log(LogMutant::SyncErrorIgnored)),
            ("tail not written again", log(LogMutant::TailNotWrittenAgain)),
            ("acknowledged before commit (gate)", shard(ShardMutant::AcknowledgeBeforeCommit)),
            ("uncommitted value visible", shard(ShardMutant::UncommittedVisible)),
            ("EXEC split in two entries", shard(ShardMutant::SplitTransactions)),
            ("expiry not logged", shard(ShardMutant::ExpiryNotLogged)),
        ];
        let mut missed = Vec::new();
        for (name, bug) in bugs {
            let seeds = FIRST_SEED..FIRST_SEED + SEEDS_PER_BUG_MAX;
            // An assertion that stops the node counts as found, too.
            let is_caught = |seed: &u64| {
                std::panic::catch_unwind(|| play(*seed, bug).1.is_passed()).map_or(true, |passed| !passed)
            };
            let found = seeds.into_iter().find(is_caught);
            match found {
                Some(seed) => println!("bug found: {name}: seed {seed}"),
                None => missed.push(name),
            }
        }
        assert!(missed.is_empty(), "not found in {SEEDS_PER_BUG_MAX} seeds: {missed:?}");
    }
}
