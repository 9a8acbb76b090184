//! Growth and shrink: bounded work for each change, SCAN's guarantee, sampling.
//!
//! Catches: a rehash of more than a segment or two, an entry that a cursor passes because a table changed its
//! shape, a key that RANDOMKEY prefers.

use super::*;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use std::collections::BTreeSet;

/// A segment and its successors: a split moves one, growth within a segment another.
const MOVED_MAX: u64 = 2 * 448;

fn grow_and_shrink(one_slot: bool, count: u32) {
    let mut keyspace = Keyspace::new(KEY);
    let mut moved_before = 0;
    let mut check = |keyspace: &Keyspace| {
        let moved = keyspace.entries_moved() - moved_before;
        assert!(moved <= MOVED_MAX, "{moved} entries moved for one change");
        moved_before = keyspace.entries_moved();
    };
    for n in 0..count {
        set(&mut keyspace, &key(n, one_slot), b"v");
        check(&keyspace);
    }
    let moved = keyspace.entries_moved() / u64::from(count);
    assert!(moved <= 4, "{moved} moves for an insert on average");
    keyspace.check_invariants();
    for n in 0..count {
        let key = key(n, one_slot);
        keyspace.remove(KEY.locate(&key), &key).unwrap();
        check(&keyspace);
    }
    assert_eq!(keyspace.used_memory(), 0);
}

#[test]
fn no_change_moves_more_than_two_segments_in_one_slot() {
    grow_and_shrink(true, 1_000_000);
}

#[test]
fn no_change_moves_more_than_two_segments_across_slots() {
    grow_and_shrink(false, 1_000_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_scan_gives_every_key_that_stays(
        before in vec(step(), 0..12),
        during in vec((step(), 1..300usize), 1..60),
        one_slot: bool,
    ) {
        let mut keyspace = Keyspace::new(KEY);
        let mut model = Model::new();
        for step in &before {
            run(step, one_slot, &mut keyspace, &mut model);
        }
        let mut staying: BTreeSet<Vec<u8>> = model.keys().cloned().collect();
        let mut found = BTreeSet::new();
        let mut during = during.iter().cycle();
        let mut cursor = 0;
        for round in 0.. {
            let (step, count) = during.next().unwrap();
            let mut given = 0;
            cursor = keyspace.scan(cursor, *count, &mut |entry| {
                given += 1;
                found.insert(entry.key().to_vec());
            });
            prop_assert!(cursor < 1 << 53);
            prop_assert!(given <= *count);
            if cursor == 0 {
                break;
            }
            if round < 200 {
                run(step, one_slot, &mut keyspace, &mut model);
                staying.retain(|key| model.contains_key(key));
            }
        }
        prop_assert!(found.is_superset(&staying));
    }
}

#[test]
fn an_undisturbed_scan_gives_every_key_once_in_order() {
    for one_slot in [false, true] {
        let mut keyspace = Keyspace::new(KEY);
        (0..5000).for_each(|n| set(&mut keyspace, &key(n, one_slot), b"v"));
        let mut places = Vec::new();
        let mut cursor = 0;
        loop {
            cursor = keyspace.scan(cursor, 10, &mut |entry| {
                let at = KEY.locate(entry.key());
                places.push((at.slot, at.hash));
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(places.len(), 5000);
        // Within a step that gives a segment whole, the order is the segment's.
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 5000);
    }
}

#[test]
fn sampling_is_close_to_uniform() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut keyspace = Keyspace::new(KEY);
    // Half of the keys in one slot, half spread out.
    (0..1000).for_each(|n| set(&mut keyspace, &key(n, n % 2 == 0), b"v"));
    let mut counts: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for _ in 0..100_000 {
        *counts.entry(keyspace.random(&mut rng).unwrap().key().to_vec()).or_default() += 1;
    }
    assert_eq!(counts.len(), 1000, "every key is drawn");
    assert!(counts.values().all(|count| (50..160).contains(count)), "each about 100 times");
    assert!(Keyspace::new(KEY).random(&mut rng).is_none());
}
