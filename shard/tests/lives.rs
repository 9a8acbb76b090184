//! Lives of a shard: everything that can go wrong, by seed, against what must hold always and at the end.

use crate::common::cluster::{Cluster, Faults};
use crate::disk::Random;
use ramkeep_shard::{Mutant, State};

/// What was reached in a life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reached {
    committed: usize,
    replies: usize,
    frozen: usize,
    rebuilds: usize,
    snapshots: usize,
    installed: usize,
    replaced: usize,
    /// Members that agreed at one mark, at most.
    agreed: u64,
}

fn life(seed: u64, mutant: Option<Mutant>) -> Result<(Reached, Vec<String>), String> {
    let mut random = Random(seed);
    let mut cluster = Cluster::with_wrong_clocks(3, seed, mutant);
    let faults = Faults::draw(&mut random);
    for _ in 0..if faults.makes_snapshots() { 3000 } else { 2000 } {
        cluster.disturb(faults, &mut random)?;
    }
    let primary = cluster.heal()?;
    let session = cluster.node(primary).open();
    cluster.node(primary).say(session, "SET the end");
    cluster.node(primary).end_turn();
    cluster.ticks(20)?;
    let told = cluster.node(primary).hear(session);
    if told != "+OK\r\n" {
        return Err(format!("the primary does not serve after everything is mended: {told:?}"));
    }
    let with_data = cluster.nodes.values().filter(|node| !node.shard.is_log_only());
    let data: Vec<u128> = with_data.map(|node| node.digest()).collect();
    if data.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err("replicas differ at the end".into());
    }
    cluster.compare()?;
    cluster.history.check()?;
    let standing = |node: &crate::common::Node| node.is(&State::Following) || node.is(&State::Leading);
    if !cluster.nodes.values().all(standing) {
        return Err("a replica neither leads nor follows at the end".into());
    }
    let reached = Reached {
        committed: cluster.history.committed_count(),
        replies: cluster.replies,
        frozen: cluster.frozen_seen,
        rebuilds: cluster.nodes.values().map(|node| node.rebuilds).sum::<usize>() + cluster.rebuilds_seen,
        snapshots: cluster.made,
        installed: cluster.installed,
        replaced: cluster.replaced,
        agreed: cluster.agreed,
    };
    Ok((reached, cluster.trace))
}

#[test]
fn what_was_acknowledged_lasts_and_what_was_not_committed_is_never_seen() {
    let mut all = Reached::default();
    for seed in 0..300 {
        let (reached, _) = life(seed, None).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        all.committed += reached.committed;
        all.replies += reached.replies;
        all.frozen += reached.frozen;
        all.rebuilds += reached.rebuilds;
        all.snapshots += reached.snapshots;
        all.installed += reached.installed;
        all.replaced += reached.replaced;
        all.agreed = all.agreed.max(reached.agreed);
    }
    println!("{all:?}");
    assert!(all.committed > 3000 && all.replies > 6000, "too little happened: {all:?}");
    assert!(all.frozen > 100 && all.rebuilds > 30, "rare states were not reached: {all:?}");
    assert!(
        all.snapshots > 100 && all.installed > 10 && all.replaced > 10,
        "rare states were not reached: {all:?}"
    );
    assert_eq!(all.agreed, 3, "no mark was digested by all: {all:?}");
}

#[test]
fn the_same_seed_gives_the_same_life() {
    for seed in [5, 23] {
        let first = life(seed, None).unwrap();
        let second = std::thread::scope(|scope| scope.spawn(|| life(seed, None).unwrap()).join().unwrap());
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn seeded_bugs_are_found_within_four_hundred_lives() {
    for mutant in [Mutant::AcknowledgeBeforeCommit, Mutant::UncommittedVisible, Mutant::LeaseIgnored] {
        let found = (0..400).find_map(|seed| Some((seed, life(seed, Some(mutant)).err()?)));
        println!("{mutant:?}: {found:?}");
        assert!(found.is_some(), "{mutant:?} is not found");
    }
}
