//! Nodes whose data cannot be gone on with set them aside and come back as new members with the data of the others.

use crate::common::{Member, Running, fill, life, machine, primary, start_all, until, value};
use ramkeep_log::NodeId;
use ramkeep_net::simdisk::SimDisk;

const KEYS: usize = 40;

fn members() -> [Member; 3] {
    ["a", "b", "c"].map(|name| Member::new(name, "engine"))
}

/// The id under which the node votes, as another one knows it.
fn id(seen_by: &Running, node: &Running) -> Option<NodeId> {
    let number = node.node.peers().expect("peers").me().node();
    let shard = seen_by.node.shard.borrow();
    let members = shard.replica()?.members().clone();
    members.voters().into_iter().find(|voter| voter.node() == number).filter(|_| !members.is_changing())
}

fn digest(running: &Running) -> (u64, u128) {
    let shard = running.node.shard.borrow();
    (shard.applied().0, shard.engine.data.digest())
}

fn folders(disk: &SimDisk) -> Vec<String> {
    disk.names().iter().filter_map(|name| Some(name.split_once('/')?.0.to_owned())).collect()
}

#[test]
fn a_replica_whose_data_differ_comes_back_with_those_of_the_others() {
    let (members, machines) = (members(), [machine(1), machine(2), machine(3)]);
    life(async {
        let running = start_all(&members, &machines).await;
        let first = primary(&running).await;
        let mut client = running[first].client().await;
        fill(&mut client, KEYS, 0).await;
        let wrong = (first + 1) % running.len();
        until("it has applied all", || digest(&running[wrong]) == digest(&running[first])).await;
        {
            let mut shard = running[wrong].node.shard.borrow_mut();
            shard.engine.data.flush_all();
            shard.engine.data.forget_effects();
        }
        running[first].node.with_shard(|shard, now, outputs| shard.mark(now, outputs));
        until("it votes under another id", || {
            id(&running[first], &running[wrong]).is_some_and(|id| id.incarnation() == 2)
        })
        .await;
        fill(&mut client, KEYS, 1).await;
        until("all have the same data", || running.iter().all(|it| digest(it) == digest(&running[first])))
            .await;
        let key = format!("key{}", KEYS - 1);
        assert_eq!(client.call(&["GET", &key]).await, value(KEYS - 1, 1));
        assert!(folders(&machines[wrong].borrow()).iter().all(|name| name.starts_with("quarantine-")));
        assert!(
            !folders(&machines[wrong].borrow()).is_empty() && folders(&machines[first].borrow()).is_empty()
        );
        // The next comparison ends it, and logs are cut again.
        until("they agree", || {
            running[first].node.with_shard(|shard, now, outputs| shard.mark(now, outputs));
            running.iter().all(|it| it.node.shard.borrow().divergence().is_none())
        })
        .await;
    });
}

#[test]
fn a_node_with_a_damaged_log_comes_back_and_what_it_had_stays_aside() {
    let (members, machines) = (members(), [machine(4), machine(5), machine(6)]);
    let damaged = life(async {
        let running = start_all(&members, &machines).await;
        let first = primary(&running).await;
        let mut client = running[first].client().await;
        fill(&mut client, KEYS, 0).await;
        (first + 1) % running.len()
    });
    {
        let mut disk = machines[damaged].borrow_mut();
        let name = disk.names().into_iter().find(|name| name.starts_with("log-")).expect("a segment");
        let offset = disk.used_bytes(&name) / 2;
        disk.rot(&name, offset).expect("a byte of it");
    }
    life(async {
        let running = start_all(&members, &machines).await;
        let first = primary(&running).await;
        until("it votes under another id", || {
            id(&running[first], &running[damaged]).is_some_and(|id| id.incarnation() == 2)
        })
        .await;
        until("all have the same data", || running.iter().all(|it| digest(it) == digest(&running[first])))
            .await;
        let kept = folders(&machines[damaged].borrow());
        assert!(kept.len() > 3, "identity, vote, roster and log: {kept:?}");
    });
}
