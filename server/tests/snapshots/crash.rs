//! The power goes at every single step of a snapshot: of making one and cutting the log, of fetching one.
#![allow(clippy::disallowed_methods, reason = "several worlds at once, each on a thread of its own")]

use crate::common::{
    Machine, Member, Running, check, fill, life, machine, primary, set, start, start_all, until, value,
};
use ramkeep_net::simdisk::{SimDisk, SteppedDisk};
use ramkeep_server::snapshot;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Together more than three segments of the log.
const KEYS: usize = 800;
/// Fewer, where nothing is cut.
const KEYS_FETCHED: usize = 200;
/// Worlds at once.
const THREADS: u64 = 4;

fn machine_of(disk: &SimDisk) -> Machine {
    Rc::new(RefCell::new(disk.clone()))
}

fn disk_of(machine: &Machine) -> SimDisk {
    machine.borrow().clone()
}

/// Runs `last` = 0, 1, … below `steps`, several at once; gives how many of them gave true, and how many false.
fn at_every_step(steps: u64, run: impl Fn(u64) -> bool + Sync) -> (usize, usize) {
    let outcomes: Vec<bool> = std::thread::scope(|scope| {
        let run = &run;
        let part = |thread| move || (thread..steps).step_by(THREADS as usize).map(run).collect::<Vec<_>>();
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(part(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no step fails")).collect()
    });
    let first = outcomes.iter().filter(|outcome| **outcome).count();
    (first, outcomes.len() - first)
}

/// Every snapshot under its name is whole, whatever came before. Gives whether there is one.
async fn check_files(disk: SteppedDisk) -> bool {
    let disk: Rc<dyn ramkeep_net::Disk> = Rc::new(disk);
    let positions = snapshot::list(&disk).await.expect("listed");
    for position in &positions {
        let found = snapshot::check(&disk, *position, &mut |_, _| {}).await;
        assert!(found.is_ok(), "{position:?}: {found:?}");
    }
    !positions.is_empty()
}

/// Starts a snapshot and overwrites keys meanwhile, until it is made or the disk's steps are used up. Gives how many
/// were acknowledged: a reply that never comes is none.
async fn save_and_write(running: &Running) -> usize {
    let (mut saving, mut writing) = (running.client().await, running.client().await);
    let saved = ramkeep_net::spawn(async move {
        saving.send(&["SAVE"]).await;
        saving.reply().await
    });
    let acknowledged = Rc::new(Cell::new(0));
    let count = Rc::clone(&acknowledged);
    ramkeep_net::spawn(async move {
        for number in 0..KEYS {
            set(&mut writing, number, 2).await;
            count.set(number + 1);
        }
    });
    until("it is made, or over", || saved.is_finished() || running.disk.has_ended()).await;
    acknowledged.get()
}

#[test]
fn the_power_goes_at_every_step_of_making_a_snapshot() {
    let filled = machine(3);
    life(async {
        let running = start(&[], 0, &filled).await;
        fill(&mut running.client().await, KEYS, 1).await;
    });
    filled.borrow_mut().kill();
    let filled = disk_of(&filled);
    let steps = life(async {
        let running = start(&[], 0, &machine_of(&filled)).await;
        let before = running.disk.steps();
        save_and_write(&running).await;
        assert!(check_files(running.disk.clone()).await);
        running.disk.steps() - before
    });
    let (with_file, without_file) = at_every_step(steps, |last| {
        let machine = machine_of(&filled);
        let acknowledged = life(async {
            let running = start(&[], 0, &machine).await;
            running.disk.end_after(last);
            save_and_write(&running).await
        });
        machine.borrow_mut().power_loss();
        life(async {
            let running = start(&[], 0, &machine).await;
            let has_file = check_files(running.disk.clone()).await;
            let mut client = running.client().await;
            for number in 0..KEYS {
                let found = client.call(&["GET", &format!("key{number}")]).await;
                let is_kept =
                    found == value(number, 2) || number >= acknowledged && found == value(number, 1);
                assert!(is_kept, "power lost after step {last}: key{number} of {acknowledged} is lost");
            }
            assert_eq!(client.call(&["SAVE"]).await, "+OK", "and it goes on");
            has_file
        })
    });
    assert!(with_file > 0 && without_file > 0, "{with_file} with, {without_file} without");
}

/// One with data, one without.
fn members() -> [Member; 2] {
    [Member::new("a", "engine"), Member::new("b", "log")]
}

#[test]
fn the_power_goes_at_every_step_of_fetching_a_snapshot() {
    let machines = [machine(4), machine(5)];
    life(async {
        let running = start_all(&members(), &machines).await;
        assert_eq!(primary(&running).await, 0, "the other has no data");
        fill(&mut running[0].client().await, KEYS_FETCHED, 1).await;
    });
    machines.iter().for_each(|machine| machine.borrow_mut().kill());
    let disks = machines.each_ref().map(disk_of);
    let steps = fetch_once(&disks.each_ref().map(machine_of), u64::MAX);
    // The disk also takes the log's writes, more of them in one run than in another: beyond twice the steps of this
    // run the power goes after the last of the fetch as well.
    let (with_file, without_file) = at_every_step(2 * steps, |last| {
        let machines = disks.each_ref().map(machine_of);
        fetch_once(&machines, last);
        machines[0].borrow_mut().kill();
        machines[1].borrow_mut().power_loss();
        // Before the node runs: it soon fetches what it lacks.
        let has_file =
            life(async { check_files(SteppedDisk::open(Rc::clone(&machines[1])).expect("opened")).await });
        life(async {
            let running = start_all(&members(), &machines).await;
            primary(&running).await;
            let newest = running[0].node.holdings.newest();
            until("it comes in the end", || running[1].node.holdings.newest() == newest).await;
            check(&mut running[0].client().await, KEYS_FETCHED, 1).await;
        });
        has_file
    });
    assert!(with_file > 0 && without_file > 0, "{with_file} with, {without_file} without");
}

/// The first makes a snapshot, the second fetches it, in no more than so many steps of its disk. Gives the steps.
fn fetch_once(machines: &[Machine; 2], last: u64) -> u64 {
    life(async {
        let running = start_all(&members(), machines).await;
        primary(&running).await;
        let mut client = running[0].client().await;
        assert_eq!(client.call(&["SAVE"]).await, "+OK");
        let made = running[0].node.holdings.newest().expect("just made");
        let second = &running[1];
        let before = second.disk.steps();
        second.disk.end_after(last);
        until("fetched, or over", || {
            second.disk.has_ended() || second.node.holdings.newest().as_ref() == Some(&made)
        })
        .await;
        second.disk.steps() - before
    })
}
