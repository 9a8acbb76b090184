//! Snapshots fetched from other nodes.

use crate::common::{Machine, Member, Running, fill, life, machine, primary, start_all, until, within};
use ramkeep_log::{Position, Term};
use ramkeep_server::holdings::VerifiedSnapshot;
use ramkeep_server::snapshot::{list, name_of};
use ramkeep_server::transfer::{FetchError, fetch};
use std::rc::Rc;

const KEYS: usize = 500;

/// Two with data, one without.
fn members() -> Vec<Member> {
    vec![Member::new("a", "engine"), Member::new("b", "engine"), Member::new("c", "log")]
}

fn machines() -> Vec<Machine> {
    (1..=3).map(machine).collect()
}

fn number_of(running: &Running) -> u32 {
    running.node.peers().expect("it has peers").me().node()
}

fn newest(running: &Running) -> Option<VerifiedSnapshot> {
    running.node.holdings.newest()
}

/// Writes keys and makes a snapshot of them; gives the primary's number and the snapshot.
async fn snapshot_of_some(running: &[Running]) -> (usize, VerifiedSnapshot) {
    let primary = primary(running).await;
    let mut client = running[primary].client().await;
    fill(&mut client, KEYS, 1).await;
    assert_eq!(client.call(&["SAVE"]).await, "+OK");
    (primary, newest(&running[primary]).expect("just made"))
}

fn file(machine: &Machine, position: Position) -> Option<Vec<u8>> {
    let mut disk = machine.borrow_mut();
    let file = disk.find(&name_of(position)).ok()?;
    Some(disk.read(file, 0, usize::MAX).expect("readable"))
}

#[test]
fn a_voter_without_data_fetches_the_newest_and_starts_from_it() {
    let (members, machines) = (members(), machines());
    let made = life(async {
        let running = start_all(&members, &machines).await;
        let (primary, made) = snapshot_of_some(&running).await;
        until("it comes", || newest(&running[2]).as_ref() == Some(&made)).await;
        assert_eq!(file(&machines[2], made.position()), file(&machines[primary], made.position()));
        let mut client = running[primary].client().await;
        fill(&mut client, 10, 2).await;
        made
    });
    machines.iter().for_each(|machine| machine.borrow_mut().power_loss());
    life(async {
        let running = start_all(&members, &machines).await;
        assert_eq!(newest(&running[2]), Some(made), "it was checked again");
        let primary = primary(&running).await;
        let mut client = running[primary].client().await;
        assert_eq!(client.call(&["DBSIZE"]).await, format!(":{KEYS}"));
    });
}

#[test]
fn a_fetch_goes_on_where_the_connection_broke() {
    let members = ["a", "b"].map(|name| Member::new(name, "engine"));
    let machines = [machine(1), machine(2)];
    life(async {
        let running = start_all(&members, &machines).await;
        let (primary, made) = snapshot_of_some(&running).await;
        let other = 1 - primary;
        let from = number_of(&running[primary]);
        let fetching = {
            let node = Rc::clone(&running[other].node);
            let (position, term) = (made.position(), made.term());
            ramkeep_net::spawn(async move { fetch(&node, from, position, term).await })
        };
        let (served, taker) = (&running[primary].node.holdings, running[other].node.peers().expect("peers"));
        let before = served.bytes_served();
        for part in 1..=4 {
            let some = before + made.bytes * part / 5;
            // Looks more often than pieces come.
            while served.bytes_served() < some {
                ramkeep_net::yield_now().await;
            }
            taker.cut(from, true);
            taker.cut(from, false);
        }
        let fetched = within(fetching).await.expect("no panic").expect("fetched");
        assert_eq!(fetched, made);
        let sent = served.bytes_served() - before;
        assert!(sent > made.bytes, "what was under way at a break is sent again");
        assert!(sent < made.bytes + 4 * (512 << 10), "{sent} bytes sent of {}", made.bytes);
        assert_eq!(file(&machines[other], made.position()), file(&machines[primary], made.position()));
    });
}

#[test]
fn what_is_not_there_or_damaged_is_not_fetched_and_leaves_nothing() {
    let (members, machines) = (members(), machines());
    life(async {
        let running = start_all(&members, &machines).await;
        let (primary, made) = snapshot_of_some(&running).await;
        let (node, from) = (&running[1 - primary].node, number_of(&running[primary]));
        let outcome = within(fetch(node, from, Position(made.position().0 - 1), made.term())).await;
        assert!(matches!(outcome, Err(FetchError::NotHeld)), "{outcome:?}");
        let outcome = within(fetch(node, from, made.position(), Term(made.term().0 + 1))).await;
        assert!(matches!(outcome, Err(FetchError::NotHeld)), "{outcome:?}");
        let name = name_of(made.position());
        machines[primary].borrow_mut().rot(&name, made.bytes / 2).expect("a byte of it");
        let outcome = within(fetch(node, from, made.position(), made.term())).await;
        assert!(matches!(outcome, Err(FetchError::Wrong(_))), "{outcome:?}");
        let names = machines[1 - primary].borrow().names();
        assert!(!names.iter().any(|other| other.contains("snapshot")), "{names:?}");
    });
}

#[test]
fn a_snapshot_in_use_is_kept() {
    let machine = machine(9);
    life(async {
        let running = crate::common::start(&[], 0, &machine).await;
        let mut client = running.client().await;
        assert_eq!(client.call(&["CONFIG", "SET", "snapshot-keep", "2"]).await, "+OK");
        let disk: Rc<dyn ramkeep_net::Disk> = Rc::new(running.disk.clone());
        let mut positions = Vec::new();
        let mut lease = None;
        for round in 0..4 {
            fill(&mut client, 3, round).await;
            assert_eq!(client.call(&["SAVE"]).await, "+OK");
            let made = newest(&running).expect("just made");
            positions.insert(0, made.position());
            lease = lease.or_else(|| running.node.holdings.lease(made.position(), made.term()));
        }
        let kept = list(&disk).await.expect("listed");
        assert_eq!(kept, [positions[0], positions[1], positions[3]]);
        drop(lease);
        fill(&mut client, 3, 9).await;
        assert_eq!(client.call(&["SAVE"]).await, "+OK");
        assert_eq!(list(&disk).await.expect("listed").len(), 2);
    });
}
