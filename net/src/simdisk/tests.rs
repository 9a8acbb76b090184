//! Each fault of the simulated disk is seen, and nothing else ever is.

use super::*;
use crate::random::{Stream, stream};
use proptest::prelude::*;

const ROOM: u64 = 1 << 20;

fn disk(seed: u64, sector_bytes: usize) -> SimDisk {
    SimDisk::new(stream(seed, Stream { node: "n", instance: 0, purpose: "disk" }), sector_bytes, ROOM)
}

/// A disk with a durable file `log` of `sectors` sectors of zeros.
fn disk_with_log(seed: u64, sector_bytes: usize, sectors: usize) -> (SimDisk, FileId) {
    let mut disk = disk(seed, sector_bytes);
    let file = disk.create("log").unwrap();
    disk.write(file, 0, &vec![0; sectors * sector_bytes]).unwrap();
    disk.sync(file).unwrap();
    disk.sync_directory().unwrap();
    assert!(!disk.has_unsynced());
    (disk, file)
}

fn write_durably(disk: &mut SimDisk, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let write = disk.begin_write(file, offset, bytes.to_vec())?;
    disk.apply_write(write)?;
    disk.finish_write(write).map(drop)
}

fn seen(disk: &mut SimDisk) -> Vec<u8> {
    let file = disk.find("log").unwrap();
    disk.read(file, 0, usize::MAX).unwrap()
}

/// One step of a random program over a few files.
#[derive(Debug, Clone)]
enum Step {
    Create(u8),
    Write(u8, u16, Vec<u8>),
    WriteDurably(u8, u16, Vec<u8>),
    BeginOnly(u8, u16, Vec<u8>),
    Truncate(u8, u16),
    Rename(u8, u8),
    Remove(u8),
    Sync(u8),
    SyncDirectory,
    Kill,
    PowerLoss,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || prop::collection::vec(1..=255u8, 1..1500);
    prop_oneof![
        (0..4u8).prop_map(Step::Create),
        (0..4u8, 0..6000u16, bytes()).prop_map(|(file, offset, bytes)| Step::Write(file, offset, bytes)),
        (0..4u8, 0..6000u16, bytes())
            .prop_map(|(file, offset, bytes)| Step::WriteDurably(file, offset, bytes)),
        (0..4u8, 0..6000u16, bytes()).prop_map(|(file, offset, bytes)| Step::BeginOnly(file, offset, bytes)),
        (0..4u8, 0..6000u16).prop_map(|(file, length)| Step::Truncate(file, length)),
        (0..4u8, 0..4u8).prop_map(|(from, to)| Step::Rename(from, to)),
        (0..4u8).prop_map(Step::Remove),
        (0..4u8).prop_map(Step::Sync),
        Just(Step::SyncDirectory),
        Just(Step::Kill),
        Just(Step::PowerLoss),
    ]
}

fn run(disk: &mut SimDisk, step: &Step) -> io::Result<()> {
    let find = |disk: &SimDisk, file: &u8| disk.find(&file.to_string());
    match step {
        Step::Create(file) => disk.create(&file.to_string()).map(drop),
        Step::Write(file, offset, bytes) => disk.write(find(disk, file)?, u64::from(*offset), bytes),
        Step::WriteDurably(file, offset, bytes) => {
            let file = find(disk, file)?;
            write_durably(disk, file, u64::from(*offset), bytes)
        }
        Step::BeginOnly(file, offset, bytes) => {
            disk.begin_write(find(disk, file)?, u64::from(*offset), bytes.clone()).map(drop)
        }
        Step::Truncate(file, length) => disk.truncate(find(disk, file)?, u64::from(*length)),
        Step::Rename(from, to) => disk.rename(&from.to_string(), &to.to_string()),
        Step::Remove(file) => disk.remove(&file.to_string()),
        Step::Sync(file) => disk.sync(find(disk, file)?),
        Step::SyncDirectory => disk.sync_directory(),
        Step::Kill => {
            disk.kill();
            Ok(())
        }
        Step::PowerLoss => {
            disk.power_loss();
            Ok(())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_same_seed_and_calls_give_the_same_disk(
        seed in any::<u64>(),
        sector in 0..2usize,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let outcome = || {
            let mut disk = disk(seed, SECTOR_BYTES[sector]);
            disk.faults.sync_error = 0.1;
            disk.faults.sync_lie = 0.1;
            disk.faults.misdirected_write = 0.1;
            disk.faults.read_error = 0.1;
            disk.faults.write_error = 0.1;
            disk.faults.bit_rot = 0.3;
            disk.set_capacity(9_000);
            let kinds: Vec<_> =
                steps.iter().map(|step| run(&mut disk, step).map_err(|error| error.raw_os_error())).collect();
            (kinds, disk.digest(), disk.counts())
        };
        prop_assert_eq!(outcome(), outcome());
    }

    #[test]
    fn what_was_synced_survives_everything_when_the_disk_is_honest(
        seed in any::<u64>(),
        sector in 0..2usize,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut disk = disk(seed, SECTOR_BYTES[sector]);
        for step in &steps {
            // Without room and without a name are the only errors left.
            if let Err(error) = run(&mut disk, step) {
                prop_assert!(matches!(error.kind(), io::ErrorKind::NotFound), "{error}");
            }
        }
        disk.kill();
        for name in disk.names() {
            let file = disk.find(&name).unwrap();
            disk.sync(file).unwrap();
        }
        disk.sync_directory().unwrap();
        prop_assert!(!disk.has_unsynced());
        let content = |disk: &mut SimDisk| {
            let names = disk.names();
            names.into_iter().map(|name| {
                let file = disk.find(&name).unwrap();
                (name, disk.read(file, 0, usize::MAX).unwrap())
            }).collect::<Vec<_>>()
        };
        let before = content(&mut disk);
        disk.power_loss();
        prop_assert_eq!(before, content(&mut disk));
    }

    #[test]
    fn an_unsynced_write_changes_only_its_own_bytes(
        seed in any::<u64>(),
        sector in 0..2usize,
        offset in 0..8000usize,
        length in 1..9000usize,
        is_applied in any::<bool>(),
    ) {
        let sector_bytes = SECTOR_BYTES[sector];
        let (mut disk, file) = disk_with_log(seed, sector_bytes, 20_480 / sector_bytes);
        write_durably(&mut disk, file, 0, &vec![1; 20_480]).unwrap();
        let write = disk.begin_write(file, offset as u64, vec![2; length]).unwrap();
        if is_applied {
            disk.apply_write(write).unwrap();
        }
        disk.power_loss();
        let bytes = seen(&mut disk);
        prop_assert_eq!(bytes.len(), 20_480);
        prop_assert!(bytes[..offset].iter().chain(&bytes[offset + length..]).all(|byte| *byte == 1));
        prop_assert!(bytes.iter().all(|byte| *byte == 1 || *byte == 2));
    }
}

#[test]
fn a_power_loss_keeps_loses_reorders_and_tears_unsynced_sectors() {
    for sector_bytes in SECTOR_BYTES {
        let (mut kept, mut lost, mut later_without_earlier, mut torn) = (0, 0, 0, 0);
        for seed in 0..300 {
            let (mut disk, file) = disk_with_log(seed, sector_bytes, 4);
            disk.write(file, 0, &vec![1; 4 * sector_bytes]).unwrap();
            disk.power_loss();
            let bytes = seen(&mut disk);
            let ones: Vec<usize> = bytes
                .chunks(sector_bytes)
                .map(|sector| sector.iter().filter(|byte| **byte == 1).count())
                .collect();
            kept += usize::from(ones.iter().all(|ones| *ones == sector_bytes));
            lost += usize::from(ones.iter().all(|ones| *ones == 0));
            later_without_earlier += usize::from(ones[0] == 0 && ones[3] == sector_bytes);
            torn += usize::from(ones.iter().any(|ones| *ones > 0 && *ones < sector_bytes));
        }
        assert!(kept > 20 && lost > 20 && later_without_earlier > 10 && torn > 20);
    }
}

#[test]
fn a_killed_process_leaves_its_unsynced_bytes_until_the_power_goes() {
    let mut lost = 0;
    for seed in 0..50 {
        let (mut disk, file) = disk_with_log(seed, 512, 4);
        disk.write(file, 0, &[1; 1024]).unwrap();
        disk.kill();
        assert_eq!(seen(&mut disk)[..1024], [1; 1024]);
        disk.power_loss();
        lost += usize::from(seen(&mut disk)[..1024] != [1; 1024]);
    }
    assert!(lost > 10);
}

#[test]
fn a_write_under_way_at_a_kill_happens_wholly_partly_or_not() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..60 {
        let (mut disk, file) = disk_with_log(seed, 512, 4);
        disk.begin_write(file, 100, vec![1; 1000]).unwrap();
        assert_eq!(seen(&mut disk)[100], 0, "not visible before");
        disk.kill();
        let bytes = seen(&mut disk);
        let length = bytes[100..].iter().take_while(|byte| **byte == 1).count();
        assert!(bytes[100 + length..].iter().all(|byte| *byte == 0), "a prefix");
        outcomes.insert(match length {
            0 => "none",
            1000 => "all",
            _ => "part",
        });
    }
    assert_eq!(outcomes.len(), 3);
}

#[test]
fn after_a_failed_sync_the_bytes_are_readable_and_a_later_sync_does_not_save_them() {
    let mut lost = 0;
    for seed in 0..50 {
        let (mut disk, file) = disk_with_log(seed, 512, 8);
        disk.faults.sync_error = 1.0;
        assert!(write_durably(&mut disk, file, 0, &[1; 4096]).is_err());
        disk.faults.sync_error = 0.0;
        disk.sync(file).unwrap();
        disk.kill();
        assert_eq!(seen(&mut disk), [1; 4096]);
        assert!(!disk.has_unsynced(), "the kernel thinks that all is well");
        disk.power_loss();
        lost += usize::from(seen(&mut disk) != [1; 4096]);
        assert_eq!(disk.counts().sync_errors, 1);
    }
    assert!(lost > 40, "{lost}");
}

#[test]
fn a_lying_sync_loses_what_it_said_it_kept() {
    let mut lost = 0;
    for seed in 0..50 {
        let (mut disk, file) = disk_with_log(seed, 512, 8);
        disk.faults.sync_lie = 1.0;
        write_durably(&mut disk, file, 0, &[1; 4096]).unwrap();
        disk.power_loss();
        lost += usize::from(seen(&mut disk) != [1; 4096]);
        assert_eq!(disk.counts().sync_lies, 1);
    }
    assert!(lost > 20, "{lost}");
}

#[test]
fn without_a_directory_sync_a_prefix_of_the_name_changes_survives() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..80 {
        let (mut disk, _) = disk_with_log(seed, 512, 1);
        let file = disk.create("new").unwrap();
        disk.sync(file).unwrap();
        disk.rename("log", "old").unwrap();
        disk.remove("old").unwrap();
        assert_eq!(disk.names(), ["new"]);
        disk.power_loss();
        outcomes.insert(disk.names().join(" "));
    }
    let expected = ["log", "log new", "new", "new old"];
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn an_unreadable_sector_fails_until_it_is_written_again() {
    let (mut disk, file) = disk_with_log(1, 512, 4);
    disk.make_unreadable("log", 600).unwrap();
    assert!(disk.read(file, 0, 2048).is_err());
    assert!(disk.read(file, 0, 512).is_ok());
    disk.power_loss();
    assert_eq!(disk.read(file, 512, 1).unwrap_err().raw_os_error(), Some(libc::EIO));
    write_durably(&mut disk, file, 512, &[1; 512]).unwrap();
    assert_eq!(disk.read(file, 512, 1).unwrap(), [1]);
    disk.faults.read_error = 1.0;
    assert!(disk.read(file, 0, 512).is_err());
    assert_eq!(disk.counts().read_errors, 3);
}

#[test]
fn a_full_disk_takes_what_fits_and_recovers_with_room() {
    let (mut disk, file) = disk_with_log(1, 512, 4);
    disk.set_capacity(2048 + 100);
    assert_eq!(disk.free_bytes(), 100);
    let error = disk.write(file, 2048, &[1; 200]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.len(file).unwrap(), 2148);
    write_durably(&mut disk, file, 0, &[2; 2048]).unwrap();
    assert!(disk.create("other").is_err());
    disk.set_capacity(ROOM);
    disk.write(file, 2048, &[1; 200]).unwrap();
    assert_eq!(disk.counts().no_space, 2);
    disk.remove("log").unwrap();
    disk.sync_directory().unwrap();
    assert_eq!(disk.free_bytes(), ROOM);
}

#[test]
fn rot_flips_one_bit_for_good() {
    let (mut disk, _) = disk_with_log(1, 512, 4);
    disk.rot("log", 700).unwrap();
    for _ in 0..2 {
        let bytes = seen(&mut disk);
        assert_eq!(bytes.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        assert_ne!(bytes[700], 0);
        disk.power_loss();
    }
    disk.faults.bit_rot = 1.0;
    disk.kill();
    assert_eq!(disk.counts().bits_rotted, 2);
}

#[test]
fn a_misdirected_write_damages_another_sector_and_misses_its_own() {
    let (mut missed, mut damaged) = (0, 0);
    for seed in 0..30 {
        let (mut disk, file) = disk_with_log(seed, 512, 8);
        disk.faults.misdirected_write = 1.0;
        write_durably(&mut disk, file, 0, &[1; 512]).unwrap();
        disk.power_loss();
        let bytes = seen(&mut disk);
        missed += usize::from(bytes[..512] == [0; 512]);
        damaged += usize::from(bytes[512..].chunks(512).any(|sector| sector == [1; 512]));
    }
    assert!(missed > 20 && missed == damaged);
}

#[test]
fn failed_writes_write_a_part() {
    let (mut disk, file) = disk_with_log(3, 512, 4);
    disk.faults.write_error = 1.0;
    assert!(disk.write(file, 0, &[1; 2048]).is_err());
    let bytes = seen(&mut disk);
    let length = bytes.iter().take_while(|byte| **byte == 1).count();
    assert!(length < 2048 && bytes[length..].iter().all(|byte| *byte == 0));
}

#[test]
fn slow_operations_are_counted() {
    let mut disk = disk(1, 512);
    assert!((80_000..=400_000).contains(&disk.draw_latency_ns(Operation::Sync)));
    disk.faults.latency.slow = 1.0;
    assert!(disk.draw_latency_ns(Operation::Sync) >= 1_000_000);
    assert_eq!(disk.counts().slow_operations, 1);
}
