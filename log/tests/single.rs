//! One voter: what it acknowledged is there after any crash of its own disk.

use crate::common::*;
use ramkeep_log::*;

#[test]
fn a_single_voter_leads_at_once_and_finds_its_entries_again() {
    let mut node = alone(Disk::new(ALONE), 1).unwrap();
    assert!(node.replica.is_ready_primary());
    assert!(node.replica.lease_valid(0));
    for number in 0..100_u32 {
        let position = node.replica.propose(number.to_le_bytes().to_vec()).unwrap();
        assert_eq!(position, node.replica.last());
        node.run(0);
        assert_eq!(node.replica.committed(), position);
    }
    let before = node.payloads();
    assert_eq!(before.len(), 100);
    let again = alone(node.disk, 2).unwrap();
    assert_eq!(again.payloads(), before);
    assert!(again.replica.is_ready_primary());
    assert!(again.replica.term() > node.replica.term());
}

/// What a look at the log's files finds: frames in the chain, whole ones beside it, and the size of damaged ranges.
fn looked_at(disk: &Disk) -> (usize, usize, Vec<u64>) {
    let (mut good, mut unchained, mut bad) = (0, 0, Vec::new());
    for (segment, bytes) in &disk.segments {
        for found in Inspector::new(layout(), *segment, bytes) {
            match found.verdict {
                Verdict::Good(_) => good += 1,
                Verdict::Unchained(_) => unchained += 1,
                Verdict::Bad(_) => bad.push(found.bytes),
                Verdict::Blank => {}
            }
        }
    }
    (good, unchained, bad)
}

#[test]
fn a_look_at_the_files_sees_one_chain_over_restarts_and_one_damaged_range() {
    let mut node = alone(Disk::new(ALONE), 1).unwrap();
    for seed in 2..6 {
        for _ in 0..5 {
            node.replica.propose(vec![1; 3 * layout().sector_bytes as usize]).unwrap();
            node.run(0);
        }
        node = alone(node.disk, seed).unwrap();
    }
    assert!(node.disk.segments.len() > 4, "each start begins a segment");
    let (good, unchained, bad) = looked_at(&node.disk);
    assert!(good > 20 && unchained == 0 && bad.is_empty(), "{good} good, {unchained} unchained, {bad:?} bad");
    let sector = u64::from(layout().sector_bytes);
    let (segment, bytes) = node.disk.segments.iter_mut().next().unwrap();
    let large = Inspector::new(layout(), *segment, bytes).find(|found| found.bytes > 3 * sector).unwrap();
    bytes[large.offset as usize + FRAME_HEAD_BYTES] ^= 1;
    let damaged = looked_at(&node.disk).2;
    assert!(damaged.len() == 1 && damaged[0] >= 3 * sector, "{damaged:?}");
}

/// Runs a node with a slow disk and stops it somewhere with a write in flight.
/// Gives back what was acknowledged and what was only proposed.
fn work(node: &mut Node, random: &mut Random, next: &mut u64) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut proposed: Vec<(Position, Vec<u8>)> = Vec::new();
    let base = node.payloads();
    node.slow_disk = false;
    for _ in 0..random.below(40) {
        for _ in 0..=random.below(6) {
            let mut payload = next.to_le_bytes().to_vec();
            payload.resize(8 + random.below(1500) as usize, (*next % 251) as u8);
            let Ok(position) = node.replica.propose(payload.clone()) else { continue };
            *next += 1;
            proposed.push((position, payload));
        }
        node.run(0);
        if node.disk.in_flight.is_some() && random.below(4) > 0 {
            node.sync_log(0);
            node.run(0);
        }
        node.slow_disk = random.below(3) == 0;
        if random.below(8) == 0 {
            node.replica.tick(TICK_NS * (1 + random.below(1000)));
        }
        match random.below(24) {
            0 => node.snapshot(),
            1 => node.make_snapshot(),
            _ => {}
        }
    }
    let acknowledged = node.replica.committed();
    let payloads_of = |kept: &dyn Fn(Position) -> bool| -> Vec<Vec<u8>> {
        proposed.iter().filter(|(position, _)| kept(*position)).map(|(_, payload)| payload.clone()).collect()
    };
    let mut acked = base;
    acked.extend(payloads_of(&|position| position <= acknowledged));
    (acked, payloads_of(&|position| position > acknowledged))
}

/// The log holds everything acknowledged, then a beginning of what was proposed after it.
fn check_kept(found: &[Vec<u8>], acknowledged: &[Vec<u8>], proposed: &[Vec<u8>]) -> Result<(), String> {
    let kept = acknowledged.len();
    if found.len() < kept || found[..kept] != *acknowledged {
        return Err(format!("{} found of {kept} acknowledged", found.len()));
    }
    let more = &found[kept..];
    if more.len() > proposed.len() || *more != proposed[..more.len()] {
        return Err(format!("{} more found than were proposed, or others", more.len()));
    }
    Ok(())
}

/// Six lives of one disk under one seed. `Err` tells what was lost or why it did not start; `Ok` how many tails
/// were torn.
fn six_lives(seed: u64, mutants: Mutants) -> Result<u64, String> {
    let mut random = Random(seed);
    let mut disk = Disk::new(ALONE);
    let (mut next, mut torn) = (0, 0);
    // What must be there, and what may follow it.
    let (mut acknowledged, mut proposed) = (Vec::new(), Vec::new());
    for round in 0..6 {
        let mut node = Node::start_with(disk, ALONE, &[ALONE], seed * 10 + round, 0, mutants)
            .map_err(|error| error.to_string())?;
        torn += u64::from(node.report.torn.is_some());
        check_kept(&node.payloads(), &acknowledged, &proposed)?;
        (acknowledged, proposed) = work(&mut node, &mut random, &mut next);
        disk = node.disk;
        match random.below(3) {
            0 => disk.lose_power(&mut random),
            keeps => disk.kill(keeps == 1),
        }
    }
    Ok(torn)
}

#[test]
fn any_subset_of_the_last_writes_sectors_recovers_all_that_was_acknowledged() {
    let torn: u64 = (0..1000)
        .map(|seed| six_lives(seed, Mutants::default()).unwrap_or_else(|lost| panic!("seed {seed}: {lost}")))
        .sum();
    assert!(torn > 200, "torn tails must be common here: {torn}");
}

#[cfg(feature = "mutants")]
#[test]
fn seeded_bugs_that_lose_acknowledged_writes_are_found() {
    for mutant in [Mutant::AcknowledgedBeforeSync, Mutant::TailNotWrittenAgain] {
        let found =
            (0..300).find_map(|seed| Some((seed, six_lives(seed, Mutants { on: Some(mutant) }).err()?)));
        assert!(found.is_some(), "{mutant:?} is not found");
    }
}

#[test]
fn a_crash_inside_recovery_loses_nothing() {
    for seed in 0..1000 {
        let mut random = Random(seed ^ 0xABCD);
        let mut node = alone(Disk::new(ALONE), seed).unwrap();
        let mut next = 0;
        let (acknowledged, proposed) = work(&mut node, &mut random, &mut next);
        let mut disk = node.disk;
        disk.kill(random.below(2) == 0);
        for round in 0..5 {
            let mut node = start_slowly(disk, seed + round);
            for _ in 0..random.below(4) {
                node.sync_vote(0);
                node.run(0);
                if random.below(2) == 0 {
                    node.sync_log(0);
                    node.run(0);
                }
            }
            disk = node.disk;
            if random.below(2) == 0 { disk.lose_power(&mut random) } else { disk.kill(random.below(2) == 0) }
        }
        let node = alone(disk, seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        check_kept(&node.payloads(), &acknowledged, &proposed)
            .unwrap_or_else(|lost| panic!("seed {seed}: {lost}"));
    }
}

/// Starts a node that has not synced anything yet.
fn start_slowly(disk: Disk, seed: u64) -> Node {
    Node::start_slow(disk, ALONE, &[ALONE], seed, 0).unwrap()
}

#[test]
fn a_flipped_byte_below_the_watermark_is_always_detected() {
    let mut node = alone(Disk::new(ALONE), 5).unwrap();
    let mut random = Random(5);
    let mut next = 0;
    for _ in 0..4 {
        work(&mut node, &mut random, &mut next);
        node.sync(0);
        node.slow_disk = false;
    }
    node.replica.tick(TICK_NS * 5000);
    node.run(0);
    let (replayed, intact, report) = recover(&node.disk, ALONE).unwrap();
    assert!(report.segments > 2 && report.rewritten_frames == 0, "{report:?}");
    let (mut detected, mut harmless) = (0, 0);
    for (segment, file) in node.disk.segments.clone() {
        for offset in 0..file.len() {
            let place = LogOffset(layout().start_of(segment).0 + offset as u64);
            if place >= report.watermark || offset % 3 != 0 && offset > 600 {
                continue;
            }
            let flipped = 1 << random.below(8);
            node.disk.segments.get_mut(&segment).unwrap()[offset] ^= flipped;
            match recover(&node.disk, ALONE) {
                Err(_) => detected += 1,
                Ok((entries, recovered, _)) => {
                    assert_eq!(entries, replayed, "segment {segment} byte {offset}");
                    // Bytes that hold nothing: behind a segment's cut.
                    assert_eq!(recovered.last, intact.last, "segment {segment} byte {offset}");
                    assert_eq!(recovered.unapplied, intact.unapplied, "segment {segment} byte {offset}");
                    harmless += 1;
                }
            }
            node.disk.segments.get_mut(&segment).unwrap()[offset] ^= flipped;
        }
    }
    assert!(detected > 500, "detected {detected}, harmless {harmless}");
}

#[test]
fn after_an_orderly_stop_nothing_is_written_again() {
    let mut node = alone(Disk::new(ALONE), 8).unwrap();
    node.replica.propose(b"last".to_vec()).unwrap();
    node.run(0);
    assert!(node.replica.is_idle());
    node.replica.close();
    node.run(0);
    let again = alone(node.disk, 9).unwrap();
    assert_eq!((again.report.rewritten_frames, again.report.torn), (0, None));
    assert_eq!(again.payloads(), [b"last".to_vec()]);
}

#[test]
fn without_space_for_a_segment_the_room_ends_and_comes_back() {
    let mut node = alone(Disk::new(ALONE), 10).unwrap();
    node.prepare_fails = true;
    let mut taken = 0;
    while node.replica.propose(vec![1; 1000]).is_ok() {
        node.run(0);
        taken += 1;
    }
    assert!(taken > 10, "what was prepared is used");
    assert_eq!(node.replica.propose(vec![1; 1000]), Err(Refused::NoRoom));
    assert_eq!(node.replica.fenced(), None);
    node.prepare_fails = false;
    for tick in 1..50 {
        node.replica.tick(tick * TICK_NS);
        node.run(tick * TICK_NS);
    }
    assert!(node.replica.propose(vec![1; 1000]).is_ok());
}

#[test]
fn files_of_another_directory_shard_or_version_are_told_apart() {
    let mut node = alone(Disk::new(ALONE), 11).unwrap();
    for _ in 0..60 {
        node.replica.propose(vec![2; 1000]).unwrap();
        node.run(0);
    }
    let head = |disk: &Disk, at: usize, bytes: &[u8]| {
        let mut disk = disk.clone();
        let file = disk.segments.get_mut(&2).unwrap();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        let crc = crc32fast::hash(&file[4..SECTOR as usize]);
        file[..4].copy_from_slice(&crc.to_le_bytes());
        recover(&disk, ALONE).map(|_| ()).unwrap_err().to_string()
    };
    assert_eq!(head(&node.disk, 12, &[9]), "segment 2: format version 9, this program reads 1");
    assert_eq!(head(&node.disk, 16, &[3]), "segment 2: belongs to shard 3, not 0");
    assert_eq!(head(&node.disk, 32, &[7]), "segment 2: holds segment 7, not 2");
    assert!(head(&node.disk, 40, &[1]).starts_with("segment 2: belongs to directory 01070707-"));
    let mut missing = node.disk.clone();
    missing.segments.remove(&2);
    assert_eq!(recover(&missing, ALONE).unwrap_err(), RecoveryError::Missing { segment: 2 });
    let mut damaged = node.disk.clone();
    damaged.segments.get_mut(&2).unwrap()[300] ^= 1;
    assert_eq!(recover(&damaged, ALONE).unwrap_err(), RecoveryError::DamagedHead { segment: 2 });
    let mut short = node.disk;
    short.segments.get_mut(&2).unwrap().truncate(3000);
    assert!(matches!(recover(&short, ALONE).unwrap_err(), RecoveryError::Damaged { segment: 2, .. }));
}

#[cfg(feature = "mutants")]
#[test]
fn seeded_bugs_show_their_effect() {
    let mut node = alone(Disk::new(ALONE), 12).unwrap();
    for number in 0..10_u8 {
        node.replica.propose(vec![number; 700]).unwrap();
        node.run(0);
    }
    node.disk.segments.get_mut(&1).unwrap()[4000] ^= 1;
    assert!(recover(&node.disk, ALONE).is_err());
    let shortened =
        recover_with(&node.disk, ALONE, Mutants { on: Some(Mutant::DamageTakenForTail) }).unwrap();
    assert!(shortened.1.last < Position(6));

    let on = Mutants { on: Some(Mutant::SyncErrorIgnored) };
    let mut node = Node::start_with(Disk::new(ALONE), ALONE, &[ALONE], 1, 0, on).unwrap();
    node.slow_disk = true;
    let position = node.replica.propose(vec![1]).unwrap();
    node.run(0);
    let (segment, offset, bytes) = node.disk.in_flight.take().unwrap();
    node.replica.write_failed(Written { segment, offset, bytes }, 0);
    node.run(0);
    assert_eq!((node.replica.committed(), node.fenced), (position, None));
}

/// A node with three segments or more, of which the first ones are cut below a snapshot.
fn cut_node() -> Node {
    let mut node = alone(Disk::new(ALONE), 13).unwrap();
    for number in 0..90_u8 {
        node.replica.propose(vec![number; 1000]).unwrap();
        node.run(0);
    }
    node.snapshot();
    let before = node.disk.segments.len();
    node.run(0);
    assert!(node.disk.segments.len() < before, "what the snapshot covers is cut");
    assert!(node.replica.base() > Position(50));
    node
}

#[test]
fn below_a_snapshot_the_log_is_cut_and_nothing_is_lost() {
    let mut node = cut_node();
    for number in 90..120_u8 {
        node.replica.propose(vec![number; 1000]).unwrap();
        node.run(0);
    }
    let before = node.payloads();
    let again = alone(node.disk, 14).unwrap();
    assert_eq!(again.payloads(), before);
    assert!(again.replica.is_ready_primary());
}

#[test]
fn a_cut_log_without_its_snapshot_is_refused_and_nothing_is_changed() {
    let node = cut_node();
    let before = node.payloads();
    let mut disk = node.disk;
    let snapshot = std::mem::take(&mut disk.snapshot);
    let covered = std::mem::take(&mut disk.held.covered);
    let error = recover(&disk, ALONE).unwrap_err();
    assert!(matches!(error, RecoveryError::Gap { last: Position(0), .. }), "{error}");
    // One that is older than the cut does not help either.
    disk.snapshot = (Position(3), Term(1));
    assert!(matches!(recover(&disk, ALONE).unwrap_err(), RecoveryError::Gap { last: Position(3), .. }));
    (disk.snapshot, disk.held.covered) = (snapshot, covered);
    assert_eq!(alone(disk, 15).unwrap().payloads(), before);
}

#[test]
fn a_snapshot_beyond_the_logs_end_is_where_the_log_goes_on() {
    let mut node = alone(Disk::new(ALONE), 16).unwrap();
    for number in 0..5_u8 {
        node.replica.propose(vec![number; 100]).unwrap();
        node.run(0);
    }
    let mut disk = node.disk;
    // From another member: the log here never had what it covers.
    disk.snapshot = (Position(40), Term(7));
    disk.held.covered =
        vec![CommittedEntry { position: Position(40), term: Term(7), payload: b"all"[..].into() }];
    for seed in 17..20 {
        let mut node = alone(disk, seed).unwrap();
        assert!(node.replica.term() > Term(7) && node.replica.base() >= Position(39));
        node.replica.propose(seed.to_le_bytes().to_vec()).unwrap();
        node.run(0);
        disk = node.disk;
    }
    let found = alone(disk, 20).unwrap().payloads();
    assert_eq!(found.len(), 4);
    assert_eq!(found[0], b"all");
    assert_eq!(found[3], 19_u64.to_le_bytes());
}

#[test]
fn what_the_log_holds_instead_of_what_the_snapshot_covers_is_void() {
    let mut node = alone(Disk::new(ALONE), 21).unwrap();
    for number in 0..9_u8 {
        node.replica.propose(vec![number; 100]).unwrap();
        node.run(0);
    }
    let last = node.replica.last();
    let mut disk = node.disk;
    // Another leader's entry stands at this position: ours and those after it were never committed.
    disk.snapshot = (Position(last.0 - 3), Term(9));
    disk.held.covered =
        vec![CommittedEntry { position: disk.snapshot.0, term: Term(9), payload: b"all"[..].into() }];
    for seed in 22..25 {
        let mut node = alone(disk, seed).unwrap();
        node.replica.propose(seed.to_le_bytes().to_vec()).unwrap();
        node.run(0);
        disk = node.disk;
    }
    let found = alone(disk, 26).unwrap().payloads();
    let expected: Vec<Vec<u8>> =
        [b"all".to_vec()].into_iter().chain((22..25_u64).map(|seed| seed.to_le_bytes().to_vec())).collect();
    assert_eq!(found, expected);
}

/// Each start needs a segment of its own for what it writes again, and there is room for none: it takes the place of a
/// spare, then what lies behind the log's end.
#[test]
fn restarts_on_a_full_disk_find_room_in_spares_and_behind_the_end() {
    let mut node = alone(Disk::new(ALONE), 1).unwrap();
    for number in 0..107_u32 {
        node.replica.propose(vec![number as u8; 1000]).unwrap();
        node.run(0);
    }
    let before = node.payloads();
    let disk_bytes = node.disk.segments.values().map(Vec::len).sum();
    for seed in 2..10 {
        let mut again = Node::start_full(node.disk, ALONE, &[ALONE], seed, disk_bytes).unwrap();
        for tick in 1..50 {
            again.replica.tick(tick * TICK_NS);
            again.run(tick * TICK_NS);
        }
        assert!(again.replica.is_ready_primary(), "start {seed}");
        assert_eq!(again.payloads(), before);
        assert_eq!(again.fenced, None);
        assert!(again.disk.segments.values().map(Vec::len).sum::<usize>() <= disk_bytes);
        node = again;
    }
    node.disk_bytes = usize::MAX;
    for tick in 50..100 {
        node.replica.tick(tick * TICK_NS);
        node.run(tick * TICK_NS);
    }
    assert!(node.replica.propose(b"more".to_vec()).is_ok(), "it goes on when there is room");
}
