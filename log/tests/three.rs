//! Three voters in one test: elections, commits, partitions, crashes, with messages as values.

use crate::common::cluster::{Cluster, id};
use crate::common::*;
use ramkeep_log::*;

#[test]
fn three_elect_commit_and_agree() {
    let mut cluster = Cluster::new(3, 1);
    let primary = cluster.elect().unwrap();
    let position = cluster.node(primary).replica.propose(b"one".to_vec()).unwrap();
    cluster.deliver_all().unwrap();
    for voter in cluster.voters.clone() {
        assert!(cluster.node(voter).replica.committed() >= position);
        assert_eq!(cluster.node(voter).payloads(), [b"one".to_vec()]);
        assert_eq!(cluster.node(voter).replica.leader(), Some(primary));
    }
}

#[test]
fn nobody_campaigns_or_votes_right_after_the_start() {
    let mut cluster = Cluster::new(3, 2);
    cluster.ticks(23).unwrap();
    assert!(cluster.nodes.values().all(|node| node.replica.term() == Term(0)));
    cluster.elect().unwrap();
}

#[test]
fn a_commit_needs_two_disks_but_not_the_primarys_own() {
    let mut cluster = Cluster::new(3, 3);
    let primary = cluster.elect().unwrap();
    cluster.node(primary).slow_disk = true;
    let position = cluster.node(primary).replica.propose(b"mine is slow".to_vec()).unwrap();
    cluster.deliver_all().unwrap();
    assert!(cluster.node(primary).replica.committed() >= position);
    assert!(cluster.node(primary).replica.persisted() < position);
    // With both followers slow as well nothing commits.
    let followers: Vec<NodeId> = cluster.voters.iter().copied().filter(|it| *it != primary).collect();
    for follower in &followers {
        cluster.node(*follower).slow_disk = true;
    }
    let position = cluster.node(primary).replica.propose(b"all are slow".to_vec()).unwrap();
    cluster.deliver_all().unwrap();
    assert!(cluster.node(primary).replica.committed() < position);
}

#[test]
fn a_primary_cut_off_loses_lease_and_role_and_its_tail_is_overwritten() {
    let mut cluster = Cluster::new(3, 4);
    let old = cluster.elect().unwrap();
    cluster.ticks(4).unwrap();
    let now_ns = cluster.now_ns;
    assert!(cluster.node(old).replica.lease_valid(now_ns));
    cluster.isolate(old);
    let position = cluster.node(old).replica.propose(b"never committed".to_vec()).unwrap();
    cluster.ticks(9).unwrap();
    let now_ns = cluster.now_ns;
    assert!(!cluster.node(old).replica.lease_valid(now_ns), "450 ms after the last answer");
    assert!(cluster.nodes.values().filter(|node| node.replica.lease_valid(now_ns)).count() == 0);
    cluster.ticks(40).unwrap();
    assert_ne!(cluster.node(old).replica.role(), Role::Primary);
    let new = cluster.primary().expect("the other two elected one");
    assert_ne!(new, old);
    let second = cluster.node(new).replica.propose(b"committed".to_vec()).unwrap();
    cluster.deliver_all().unwrap();
    cluster.cut.clear();
    cluster.ticks(10).unwrap();
    assert!(cluster.node(old).replica.committed() >= second);
    assert_eq!(cluster.node(old).payloads(), [b"committed".to_vec()]);
    assert_ne!(cluster.node(old).replica.term_of(position), Some(Term(1)));
    // The superseded tail stays superseded after a restart.
    cluster.stop(old).unwrap().kill(true);
    cluster.start(old).unwrap();
    cluster.ticks(40).unwrap();
    assert_eq!(cluster.node(old).payloads(), [b"committed".to_vec()]);
}

#[test]
fn a_lagging_follower_is_fed_from_disk() {
    let mut cluster = Cluster::new(3, 5);
    let primary = cluster.elect().unwrap();
    let lagging = *cluster.voters.iter().find(|it| **it != primary).unwrap();
    cluster.isolate(lagging);
    for number in 0..100_u32 {
        let mut payload = number.to_le_bytes().to_vec();
        payload.resize(700, 3);
        cluster.node(primary).replica.propose(payload).unwrap();
        cluster.deliver_all().unwrap();
        if number % 4 == 0 {
            cluster.ticks(1).unwrap();
        }
    }
    cluster.cut.clear();
    cluster.ticks(60).unwrap();
    let primary = cluster.primary().unwrap();
    assert_eq!(cluster.node(lagging).payloads(), cluster.node(primary).payloads());
    assert_eq!(cluster.node(lagging).payloads().len(), 100);
}

#[test]
fn voters_that_started_from_a_snapshot_feed_one_that_lags_behind_it() {
    let mut cluster = Cluster::new(3, 5);
    let primary = cluster.elect().unwrap();
    let lagging = *cluster.voters.iter().find(|it| **it != primary).unwrap();
    cluster.isolate(lagging);
    for number in 0..100_u32 {
        let mut payload = number.to_le_bytes().to_vec();
        payload.resize(700, 3);
        cluster.node(primary).replica.propose(payload).unwrap();
        cluster.deliver_all().unwrap();
        if number % 4 == 0 {
            cluster.ticks(1).unwrap();
        }
    }
    cluster.ticks(10).unwrap();
    for node in cluster.voters.clone() {
        if node != lagging {
            cluster.node(node).snapshot();
            cluster.stop(node);
            cluster.start(node).unwrap();
        }
    }
    cluster.cut.clear();
    cluster.ticks(100).unwrap();
    let primary = cluster.primary().unwrap();
    assert_ne!(primary, lagging, "it lacks what is committed");
    assert_eq!(cluster.node(lagging).payloads(), cluster.node(primary).payloads());
    assert_eq!(cluster.node(lagging).payloads().len(), 100);
}

/// Entries of 700 bytes, so that the log fills several segments of the test's size.
fn fill(cluster: &mut Cluster, count: u32) {
    let primary = cluster.primary().unwrap();
    for number in 0..count {
        let mut payload = number.to_le_bytes().to_vec();
        payload.resize(700, 3);
        cluster.node(primary).replica.propose(payload).unwrap();
        cluster.deliver_all().unwrap();
        if number % 4 == 0 {
            cluster.ticks(1).unwrap();
        }
    }
    cluster.ticks(10).unwrap();
}

#[test]
fn a_voter_that_lags_behind_the_cut_gets_the_snapshot_and_the_log_after_it() {
    let mut cluster = Cluster::new(3, 5);
    let primary = cluster.elect().unwrap();
    let lagging = *cluster.voters.iter().find(|it| **it != primary).unwrap();
    cluster.stop(lagging).unwrap().kill(true);
    fill(&mut cluster, 60);
    // A member that was heard a moment ago is waited for.
    cluster.node(primary).snapshot();
    cluster.ticks(1).unwrap();
    let waited_for = cluster.node(primary).replica.base();
    cluster.ticks(1300).unwrap();
    assert_eq!(cluster.primary(), Some(primary));
    assert!(cluster.node(primary).replica.base() > waited_for, "after a minute it is not");
    fill(&mut cluster, 20);
    cluster.start(lagging).unwrap();
    cluster.ticks(80).unwrap();
    assert_eq!(cluster.installed, 1);
    assert_eq!(cluster.node(lagging).payloads(), cluster.node(primary).payloads());
    assert_eq!(cluster.node(lagging).payloads().len(), 80);
    // What it holds now is as good as what the others hold.
    cluster.stop(primary).unwrap().kill(true);
    cluster.elect().unwrap();
    assert_eq!(cluster.node(lagging).payloads().len(), 80);
}

#[test]
fn a_voter_behind_the_cut_of_a_new_primary_is_fed_from_its_log_where_a_snapshot_took_it_near_enough() {
    let mut cluster = Cluster::new(3, 5);
    let primary = cluster.elect().unwrap();
    let lagging = *cluster.voters.iter().find(|it| **it != primary).unwrap();
    cluster.stop(lagging).unwrap().kill(true);
    fill(&mut cluster, 60);
    cluster.node(primary).snapshot();
    cluster.ticks(1300).unwrap();
    cluster.start(lagging).unwrap();
    // The pointer is on its way; until the voter has the file the primary makes the next snapshot.
    while cluster.node(lagging).wants.is_none() {
        cluster.tick().unwrap();
        cluster.deliver_all().unwrap();
    }
    let wants = cluster.node(lagging).wants;
    let covered = cluster.node(primary).disk.held.covered.clone();
    fill_without_fetch(&mut cluster, 30);
    let lag = cluster.node(lagging);
    let (_, position, term) = wants.unwrap();
    (lag.disk.snapshot, lag.disk.held.covered) = ((position, term), covered);
    let (voters, now_ns) = (cluster.voters.clone(), cluster.now_ns);
    cluster.node(primary).snapshot();
    cluster.restart_anew(lagging, &voters, now_ns);
    cluster.ticks(60).unwrap();
    assert_eq!(cluster.installed, 0, "no second snapshot was needed");
    assert_eq!(cluster.node(lagging).payloads().len(), 90);
}

#[test]
fn a_voter_without_its_disk_is_replaced_and_then_the_others_may_fail_one_after_another() {
    for seed in [4, 5] {
        let mut cluster = Cluster::new(3, seed);
        let primary = cluster.elect().unwrap();
        let lost = *cluster.voters.iter().find(|it| **it != primary).unwrap();
        fill(&mut cluster, 60);
        cluster.node(primary).snapshot();
        cluster.wipe(lost);
        fill(&mut cluster, 20);
        cluster.ticks(60).unwrap();
        let members = cluster.node(primary).replica.members().clone();
        let new = NodeId::of(lost.node(), 2);
        assert!(members.is_voter(new) && members.is_retired(lost) && !members.is_joint());
        assert_eq!(members.voters().len(), 3);
        assert_eq!(cluster.node(new).payloads().len(), 80);
        for gone in cluster.voters.clone() {
            if gone != new {
                cluster.stop(gone).unwrap().kill(true);
                cluster.elect().unwrap();
                assert_eq!(cluster.node(new).payloads().len(), 80);
                cluster.start(gone).unwrap();
                cluster.ticks(60).unwrap();
            }
        }
    }
}

#[test]
fn a_voter_that_is_heard_is_not_replaced_and_a_change_needs_the_others() {
    let mut cluster = Cluster::new(3, 8);
    let primary = cluster.elect().unwrap();
    let others: Vec<NodeId> = cluster.voters.iter().copied().filter(|it| *it != primary).collect();
    cluster.ticks(2).unwrap();
    let now_ns = cluster.now_ns;
    let newcomer = |node: NodeId| Newcomer {
        number: node.node(),
        directory: Uuid([8; 16]),
        described: Member::default(),
    };
    let ask = |cluster: &mut Cluster, node: NodeId, now_ns| {
        cluster.node(primary).replica.admit(&newcomer(node), now_ns)
    };
    assert_eq!(ask(&mut cluster, others[0], now_ns), Err(ChangeRefused::Alive));
    assert_eq!(ask(&mut cluster, primary, now_ns), Err(ChangeRefused::Alive));
    assert_eq!(ask(&mut cluster, id(9), now_ns), Err(ChangeRefused::Unknown));
    let later_ns = now_ns + 600_000_000;
    assert_eq!(ask(&mut cluster, others[0], later_ns), Err(ChangeRefused::Unhealthy));
    let follower = cluster.node(others[0]);
    assert_eq!(follower.replica.admit(&newcomer(others[1]), later_ns), Err(ChangeRefused::NotPrimary));
    assert_eq!(cluster.node(primary).replica.remove_member(others[0], now_ns), Err(ChangeRefused::TooFew));
    assert_eq!(cluster.node(primary).replica.remove_member(primary, now_ns), Err(ChangeRefused::IsPrimary));
}

/// A node in a zone of its own becomes a member; gives its id.
fn add(cluster: &mut Cluster, number: u32, zone: &str) -> Result<NodeId, ChangeRefused> {
    let (primary, now_ns) = (cluster.primary().unwrap(), cluster.now_ns);
    let member = Member {
        node: id(number),
        directory: Uuid([number as u8; 16]),
        name: format!("n{number}"),
        zone: zone.into(),
        ..Member::default()
    };
    let added = cluster.node(primary).replica.add_member(member, now_ns)?;
    cluster.collect().unwrap();
    cluster.deliver_all().unwrap();
    Ok(added)
}

fn start(cluster: &mut Cluster, added: NodeId) {
    cluster.down.insert(added, Disk::new(added));
    cluster.start(added).unwrap();
    cluster.ticks(40).unwrap();
}

fn remove(cluster: &mut Cluster, node: NodeId) -> Result<(), ChangeRefused> {
    let (primary, now_ns) = (cluster.primary().unwrap(), cluster.now_ns);
    cluster.node(primary).replica.remove_member(node, now_ns)?;
    cluster.collect().unwrap();
    cluster.ticks(40).unwrap();
    Ok(())
}

#[test]
fn a_new_zone_gets_a_vote_a_second_node_of_it_none_until_the_first_leaves() {
    for seed in 0..6 {
        let mut cluster = Cluster::new(3, 70 + seed);
        let primary = cluster.elect().unwrap();
        fill(&mut cluster, 40);
        let members = |cluster: &mut Cluster| cluster.node(primary).replica.members().clone();
        let first = add(&mut cluster, 9, "d").unwrap();
        assert_eq!(first, NodeId::of(9, 2), "founders alone have the first incarnation");
        assert!(!members(&mut cluster).is_voter(first), "a learner first");
        let other = cluster.voters.iter().copied().find(|it| *it != primary).unwrap();
        assert_eq!(remove(&mut cluster, other), Err(ChangeRefused::UnderWay));
        assert_eq!(add(&mut cluster, 8, "e"), Err(ChangeRefused::UnderWay));
        start(&mut cluster, first);
        assert_eq!(members(&mut cluster).voters().len(), 4);
        let second = add(&mut cluster, 8, "d").unwrap();
        start(&mut cluster, second);
        assert!(!members(&mut cluster).is_changing() && !members(&mut cluster).is_voter(second));
        assert_eq!(cluster.node(second).payloads().len(), 40);
        remove(&mut cluster, first).unwrap();
        let now = members(&mut cluster);
        assert!(now.is_voter(second) && now.is_retired(first) && now.voters().len() == 4, "{now:?}");
        remove(&mut cluster, second).unwrap();
        assert_eq!(members(&mut cluster).voters(), cluster.voters);
        let refused = cluster.voters.iter().copied().filter(|it| *it != primary).map(|it| {
            let now_ns = cluster.now_ns;
            cluster.nodes.get_mut(&primary).unwrap().replica.remove_member(it, now_ns)
        });
        assert!(refused.into_iter().all(|it| it == Err(ChangeRefused::TooFew)));
    }
}

/// Few entries make a short log, and yet it may be beyond what the log still holds.
#[test]
fn who_needs_a_snapshot_gets_no_vote_before_it_has_it() {
    let mut cluster = Cluster::new(3, 91);
    let primary = cluster.elect().unwrap();
    fill(&mut cluster, 60);
    cluster.node(primary).snapshot();
    let new = add(&mut cluster, 9, "d").unwrap();
    assert!(cluster.node(primary).replica.base() > Position::ZERO, "the log was cut");
    cluster.down.insert(new, Disk::new(new));
    cluster.start(new).unwrap();
    for _ in 0..60 {
        cluster.tick().unwrap();
        cluster.deliver_all().unwrap();
    }
    let is_voter = |cluster: &mut Cluster| cluster.node(primary).replica.members().is_voter(new);
    assert!(!is_voter(&mut cluster));
    cluster.fetch(new, false).unwrap();
    cluster.ticks(40).unwrap();
    assert!(is_voter(&mut cluster) && cluster.installed == 1);
    assert_eq!(cluster.node(new).payloads().len(), 60);
}

#[test]
fn whoever_left_changes_nothing_any_more() {
    let mut cluster = Cluster::new(3, 90);
    let primary = cluster.elect().unwrap();
    let gone = add(&mut cluster, 9, "d").unwrap();
    start(&mut cluster, gone);
    remove(&mut cluster, gone).unwrap();
    let term = cluster.node(primary).replica.term();
    // It hears nobody any more, and would campaign.
    cluster.ticks(200).unwrap();
    assert_eq!((cluster.primary(), cluster.node(primary).replica.term()), (Some(primary), term));
    fill(&mut cluster, 5);
    assert!(cluster.node(gone).payloads().len() < 5, "it gets nothing");
}

/// Like [`fill`], while nobody gets a snapshot.
fn fill_without_fetch(cluster: &mut Cluster, count: u32) {
    let primary = cluster.primary().unwrap();
    for number in 0..count {
        let mut payload = number.to_le_bytes().to_vec();
        payload.resize(700, 3);
        cluster.node(primary).replica.propose(payload).unwrap();
        cluster.deliver_all().unwrap();
    }
}

#[test]
fn a_read_round_answers_and_a_transfer_ends_the_lease() {
    let mut cluster = Cluster::new(3, 6);
    let primary = cluster.elect().unwrap();
    cluster.ticks(4).unwrap();
    assert!(cluster.node(primary).replica.read_index(77));
    cluster.deliver_all().unwrap();
    assert_eq!(cluster.node(primary).reads.last().unwrap().0, 77);
    let heir = *cluster.voters.iter().find(|it| **it != primary).unwrap();
    assert!(cluster.node(primary).replica.transfer(heir));
    let now_ns = cluster.now_ns;
    assert!(!cluster.node(primary).replica.lease_valid(now_ns));
    assert_eq!(cluster.node(primary).replica.propose(vec![1]), Err(Refused::Transferring));
    cluster.deliver_all().unwrap();
    assert_eq!(cluster.primary(), Some(heir));
}

#[test]
fn a_failed_write_fences_and_the_others_go_on() {
    let mut cluster = Cluster::new(3, 7);
    let primary = cluster.elect().unwrap();
    cluster.node(primary).slow_disk = true;
    cluster.node(primary).replica.propose(b"x".to_vec()).unwrap();
    cluster.collect().unwrap();
    let now_ns = cluster.now_ns;
    let (segment, offset, bytes) = cluster.node(primary).disk.in_flight.take().unwrap();
    cluster.node(primary).replica.write_failed(Written { segment, offset, bytes }, now_ns);
    cluster.collect().unwrap();
    assert_eq!(cluster.node(primary).fenced, Some(FenceReason::WriteFailed));
    assert_eq!(cluster.node(primary).replica.role(), Role::Follower);
    assert_eq!(cluster.node(primary).replica.propose(vec![1]), Err(Refused::Fenced));
    cluster.messages.clear();
    let next = cluster.elect().unwrap();
    assert_ne!(next, primary);
}

/// One cluster's life under one seed, with any number of nodes down at once.
fn life(seed: u64, mutants: Mutants) -> Result<(Reached, Vec<String>), String> {
    let mut random = Random(seed);
    let mut cluster = Cluster::new(3, seed);
    cluster.mutants = mutants;
    let mut leaders: std::collections::BTreeMap<Term, NodeId> = Default::default();
    for _ in 0..2500 {
        cluster.disturb(&mut random)?;
        for (id, node) in &cluster.nodes {
            if node.replica.role() == Role::Primary {
                let leader = *leaders.entry(node.replica.term()).or_insert(*id);
                if leader != *id {
                    return Err(format!("two primaries in {:?}", node.replica.term()));
                }
            }
            if let Some(reason) = node.fenced {
                return Err(format!("{id:?} is fenced: {reason}"));
            }
        }
        let leases = cluster.nodes.values().filter(|node| node.replica.lease_valid(cluster.now_ns)).count();
        if leases > 1 {
            return Err("two leases at once".into());
        }
    }
    cluster.cut.clear();
    for voter in cluster.voters.clone() {
        if cluster.down.contains_key(&voter) {
            cluster.start(voter)?;
        }
        let now_ns = cluster.now_ns;
        if let Some(node) = cluster.nodes.get_mut(&voter) {
            node.slow_disk = false;
            node.sync(now_ns);
        }
    }
    cluster.ticks(160)?;
    let primary = cluster.elect()?;
    let members = cluster.node(primary).replica.members().clone();
    if members.is_joint() || !cluster.voters.iter().all(|voter| members.is_voter(*voter)) {
        return Err(format!("a change of members does not come to its end: {members:?}"));
    }
    let position =
        cluster.node(primary).replica.propose(b"the end".to_vec()).map_err(|error| error.to_string())?;
    cluster.ticks(20)?;
    for (id, node) in &cluster.nodes {
        if node.replica.committed() < position {
            let (role, last, base) = (node.replica.role(), node.replica.last(), node.replica.base());
            let (committed, snapshot, wants) = (node.replica.committed(), node.disk.snapshot, node.wants);
            return Err(format!(
                "{id:?} ({role:?}) does not catch up with {position:?}: {base:?} {committed:?} {last:?} {snapshot:?} \
                 {wants:?}, primary {primary:?}, its base {:?}, snapshot {:?}, {:?}, {:?}",
                cluster.nodes[&primary].replica.base(),
                cluster.nodes[&primary].disk.snapshot,
                cluster.nodes[&primary].replica.followers(),
                cluster.nodes[&primary].replica.members().voters(),
            ));
        }
    }
    let reached = Reached {
        committed: cluster.history.len(),
        installed: cluster.installed,
        replaced: cluster.replaced,
    };
    Ok((reached, cluster.trace))
}

/// What was reached in a life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reached {
    committed: usize,
    installed: usize,
    replaced: usize,
}

#[test]
fn committed_entries_survive_every_life() {
    let mut all = Reached::default();
    for seed in 0..150 {
        let (reached, _) =
            life(seed, Mutants::default()).unwrap_or_else(|lost| panic!("seed {seed}: {lost}"));
        all.committed += reached.committed;
        all.installed += reached.installed;
        all.replaced += reached.replaced;
    }
    println!("{all:?}");
    assert!(all.committed > 3000 && all.installed > 30 && all.replaced > 30, "too little happened: {all:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 11] {
        let first = life(seed, Mutants::default()).unwrap();
        let second = std::thread::scope(|scope| {
            scope.spawn(|| life(seed, Mutants::default()).unwrap()).join().unwrap()
        });
        assert_eq!(first, second, "seed {seed}");
    }
}

#[cfg(feature = "mutants")]
#[test]
fn seeded_bugs_are_found_by_three_voters_too() {
    for mutant in [Mutant::AcknowledgedBeforeSync, Mutant::TailNotWrittenAgain] {
        let found = (0..150).find_map(|seed| life(seed, Mutants { on: Some(mutant) }).err());
        assert!(found.is_some(), "{mutant:?} is not found");
    }
}

#[test]
fn ids_hold_node_and_incarnation() {
    assert_eq!((id(3).node(), id(3).incarnation()), (3, 1));
}
