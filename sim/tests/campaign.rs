//! Campaigns: many seeds of one node and of three zones under attack, the seeded bugs that they must find, and determinism.
//!
//! `SIM_SEEDS=n` runs more seeds, `SIM_SECONDS=n` as many as fit, `SIM_FIRST=n` begins there, `SIM_SEED=n` replays one
//! (with `SIM_DAMAGE=1`, `SIM_CLUSTER=1` or `SIM_EXCEED=1` one of those campaigns), `SIM_MS=n` sets the simulated time of each,
//! `SIM_REPLAYED=n` runs so many of three zones twice, `SIM_TRACE=1` prints each seed's trace hash, `SIM_HISTORY=FILE`
//! writes the last seed's history.
#![cfg(any(madsim, feature = "sim"))]
#![allow(clippy::disallowed_methods, reason = "a test reads its settings and writes its report")]

#[cfg(all(feature = "sim", not(madsim)))]
compile_error!("campaigns need RUSTFLAGS='--cfg madsim'; `cargo sim` sets it");

#[cfg(madsim)]
mod under_madsim {
    use ramkeep_net::{PointCounts, WRITTEN_NOT_SYNCED};
    use ramkeep_server::point::{self, WRITE_ISSUED, WRITE_MADE};
    use ramkeep_sim::campaign::bugs;
    use ramkeep_sim::campaign::node::Bugs;
    use ramkeep_sim::campaign::options::{Fault, Options, Purpose};
    use ramkeep_sim::campaign::run::{Verdict, crash_points, run};
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    const SEEDS: u64 = 60;
    const DAMAGE_SEEDS: u64 = 30;
    const CLUSTER_SEEDS: u64 = 60;
    const EXCEED_SEEDS: u64 = 40;
    const HARMED: &str = "two members were harmed at once";
    /// In so much simulated time three zones come to every named place of the code, and end a process at each.
    const SECONDS_FOR_ALL_POINTS: u64 = 200_000;
    /// States that a cluster campaign must come to.
    const REACHED: [&str; 7] = [
        "took up leadership",
        "deposed and frozen",
        "frozen, then all was committed",
        "no lease, with replies withheld",
        "lost its disk, and votes again",
        "noticed that it was damaged, and votes again",
        "an operator replaced a member",
    ];
    /// Named places that a cluster campaign must come to: how snapshots are made, how the log is cut, how members get
    /// what it does not hold any more.
    const VISITED: [&str; 5] = [
        point::SNAPSHOT_NAMED,
        point::CUT_DONE,
        point::SNAPSHOT_FETCHED,
        point::FETCHED_AFTER_BREAK,
        point::ANEW_OVER_DATA,
    ];
    const DURATION_MS: u64 = 10_000;
    const SEEDS_PER_BUG_MAX: u64 = 100;
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
            Purpose::Exceed => "SIM_EXCEED=1 ",
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
        /// Named places of the code.
        points: BTreeMap<&'static str, PointCounts>,
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
            for (point, counts) in &verdict.points {
                let sum = self.points.entry(point).or_default();
                sum.visits += counts.visits;
                sum.ends += counts.ends;
            }
            if let Some(why) = &verdict.detected {
                let kinds =
                    Fault::DETECTED.iter().chain([&Fault::TwoHarmed]).filter(|fault| options.has(**fault));
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

    fn report(name: &str, purpose: Purpose, tally: &Tally) {
        println!(
            "{name}: {} seeds, {} calls answered, faults {:?}, detected {:?}, reached {:?}, {} failed",
            tally.seeds, tally.answered, tally.faults, tally.detected, tally.reached, tally.failed
        );
        let ends: u64 = tally.points.values().map(|counts| counts.ends).sum();
        let unseen: Vec<_> = crash_points(purpose)
            .filter(|point| tally.points.get(point).is_none_or(|counts| counts.ends == 0))
            .collect();
        println!("{name}: {ends} ends at named places; none at {unseen:?}");
        let visits = |place: &&'static str| tally.points.get(place).map_or(0, |counts| counts.visits);
        let snapshots = point::OF_SNAPSHOTS.iter().map(|place| (*place, visits(place)));
        println!("{name}: visits {:?}", snapshots.collect::<Vec<_>>());
        assert_eq!(tally.failed, 0, "seeds failed; the lines above replay them");
    }

    /// Whether a campaign is meant: all are, unless one seed of one of them is replayed or a kind is asked for.
    fn is_meant(purpose: Purpose) -> bool {
        match asked_for() {
            Some(asked) => purpose == asked,
            None => setting("SIM_SEED").is_none() || purpose == Purpose::Survive,
        }
    }

    /// The one kind of campaign that is asked for.
    fn asked_for() -> Option<Purpose> {
        let kinds = [
            ("SIM_DAMAGE", Purpose::Detect),
            ("SIM_CLUSTER", Purpose::Cluster),
            ("SIM_EXCEED", Purpose::Exceed),
        ];
        kinds.into_iter().find(|(name, _)| is_set(name)).map(|(_, purpose)| purpose)
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
        report(name, purpose, &tally);
        tally
    }

    #[test]
    fn campaigns_find_nothing() {
        if is_meant(Purpose::Survive) {
            let tally = play("campaign", Purpose::Survive, SEEDS);
            assert!(tally.answered > 50 * tally.seeds, "idle runs test nothing");
            // Both ways of writing the log, and ends within each.
            for point in [WRITE_ISSUED, WRITE_MADE, WRITTEN_NOT_SYNCED] {
                let is_reached = tally.points.get(point).is_some_and(|counts| counts.ends > 0);
                assert!(is_reached || tally.seeds < SEEDS, "no end at: {point}");
            }
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
            for place in VISITED {
                let visits = tally.points.get(place).map_or(0, |counts| counts.visits);
                assert!(visits > 0 || tally.seeds < CLUSTER_SEEDS, "no run came to: {place}");
            }
            let simulated_s = tally.seeds * setting("SIM_MS").unwrap_or(DURATION_MS) / 1000;
            for point in crash_points(Purpose::Cluster).filter(|_| simulated_s >= SECONDS_FOR_ALL_POINTS) {
                assert!(tally.points.get(point).is_some_and(|counts| counts.ends > 0), "no end at: {point}");
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

    /// Two of three zones harmed at once are more than the promise covers. What is served then is right all the same.
    #[test]
    fn what_three_zones_cannot_survive_is_never_served() {
        if !is_meant(Purpose::Exceed) {
            return;
        }
        let tally = play("exceeding campaign", Purpose::Exceed, EXCEED_SEEDS);
        let count = |name: &str| tally.detected.get(name).copied().unwrap_or(0);
        let (harmed, stopped) =
            (tally.reached.get(HARMED).copied().unwrap_or(0), count(Fault::TwoHarmed.name()));
        println!("exceeding campaign: {harmed} clusters harmed, {stopped} serve no more, the others rightly");
        assert!(
            tally.seeds < EXCEED_SEEDS || (stopped > 0 && stopped < harmed),
            "one of the two was never met"
        );
    }

    #[test]
    fn the_same_seed_runs_the_same_way_twice() {
        let some =
            [(3, Purpose::Survive), (11, Purpose::Survive), (5, Purpose::Detect), (2, Purpose::Cluster)];
        let more = (1..=setting("SIM_REPLAYED").unwrap_or(0)).map(|seed| (seed, Purpose::Cluster));
        for (seed, purpose) in some.into_iter().chain(more) {
            let hashes = [(); 2].map(|()| run(&options(seed, purpose), Bugs::default()).trace_hash);
            assert_eq!(hashes[0], hashes[1], "seed {seed}");
        }
    }

    /// The comparison of hashes sees what leaks into a run from outside.
    #[test]
    fn a_leak_into_the_simulation_is_seen() {
        let bugs = Bugs { is_chance_leaked: true, ..Bugs::default() };
        let options = options(3, Purpose::Cluster);
        let hashes = [(); 2].map(|()| run(&options, bugs).trace_hash);
        assert_ne!(hashes[0], hashes[1], "M29 is not found");
    }

    /// Every bug that we know how to make is found, or the campaign proves nothing.
    #[test]
    fn seeded_bugs_are_found() {
        if setting("SIM_SEED").is_some() || asked_for().is_some() {
            return;
        }
        let only = std::env::var("SIM_BUG").unwrap_or_default();
        let (mut missed, mut rows, mut black_box) = (Vec::new(), Vec::new(), 0);
        for bug in bugs::all().into_iter().filter(|bug| bug.name.contains(&only) || bug.number == only) {
            let found = bugs::find(&bug, SEEDS_PER_BUG_MAX, DURATION_MS);
            println!("{}", found.row(&bug));
            rows.push(found.row(&bug));
            black_box += usize::from(found.black_box.is_some());
            if found.first.is_none() {
                missed.push(bug.name);
            }
        }
        assert!(missed.is_empty(), "not found within {SEEDS_PER_BUG_MAX} seeds: {missed:?}");
        assert!(black_box * 3 >= rows.len() * 2, "only {black_box} of {} as a black box", rows.len());
        if let Some(path) = std::env::var_os("SIM_TABLE") {
            write_table(std::path::Path::new(&path), &rows);
        }
    }

    const TABLE_BEGIN: &str = "<!-- seeded bugs: written by SIM_TABLE=docs/src/simulation.md cargo sim -->\n";
    const TABLE_END: &str = "<!-- end of seeded bugs -->";

    /// Puts the rows between the two marks of a page.
    fn write_table(path: &std::path::Path, rows: &[String]) {
        let page = std::fs::read_to_string(path).expect("the page can be read");
        let (before, rest) = page.split_once(TABLE_BEGIN).expect("the page has its mark");
        let (_, after) = rest.split_once(TABLE_END).expect("the page has its end mark");
        let head = "| | seeded bug | campaign | first seed that finds it | first seed as a black box |\n|---|---|---|---|---|";
        let page = format!("{before}{TABLE_BEGIN}{head}\n{}\n{TABLE_END}{after}", rows.join("\n"));
        std::fs::write(path, page).expect("the page can be written");
    }
}
