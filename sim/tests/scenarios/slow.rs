//! One zone that is slow or dead, as clients of the others feel it. Latencies are simulated time: the same in each run.

use crate::bugs;
use ramkeep_net::Link;
use ramkeep_sim::scene::{Client, Trio, play};

const WRITES: usize = 400;
/// Its disk or link takes so much longer.
const SLOW_US: u64 = 50_000;

/// The 99th percentile of so many writes, one after the other, in microseconds.
async fn p99_us(trio: &Trio, client: &Client) -> u64 {
    let mut taken = Vec::new();
    for number in 0..WRITES {
        let began_ns = trio.world.now_ns();
        assert_eq!(client.told(&format!("SET k {number}")).await, "+OK\r\n");
        taken.push((trio.world.now_ns() - began_ns) / 1_000);
    }
    taken.sort_unstable();
    taken[WRITES * 99 / 100]
}

fn slow_links(trio: &Trio, index: usize, link: Option<&Link>) {
    for other in trio.others(index) {
        trio.world.set_link(trio.nodes[index], trio.nodes[other], link.cloned());
        trio.world.set_link(trio.nodes[other], trio.nodes[index], link.cloned());
    }
}

/// J14: the slowest follower is not waited for, be its disk slow, its link, or the whole zone dead.
/// Looks for: a commit that waits for all.
#[test]
fn writes_do_not_wait_for_the_slowest_zone() {
    for seed in 0..4 {
        play(180 + seed, move |world| async move {
            let trio = Trio::start(world, bugs());
            let (primary, client) = trio.primary().await;
            let [slow, other] = trio.others(primary);
            let link = Link { latency_us: (SLOW_US, SLOW_US), ..Link::default() };
            let healthy_us = p99_us(&trio, &client).await;
            let bound_us = healthy_us * 3 / 2;
            trio.slow_disk(slow, SLOW_US);
            let by_disk_us = p99_us(&trio, &client).await;
            trio.slow_disk(slow, 0);
            slow_links(&trio, slow, Some(&link));
            let by_link_us = p99_us(&trio, &client).await;
            slow_links(&trio, slow, None);
            trio.world.kill(trio.nodes[slow]);
            let dead_us = p99_us(&trio, &client).await;
            let told = format!("seed {seed}: {healthy_us} us, {by_disk_us}, {by_link_us}, {dead_us}");
            println!("{told}");
            assert!([by_disk_us, by_link_us, dead_us].iter().all(|us| *us <= bound_us), "{told}");
            assert!(trio.leads(primary), "and nobody took over");
            // The measure can see it: nobody else is left who could be quicker.
            slow_links(&trio, other, Some(&link));
            assert!(p99_us(&trio, &client).await > SLOW_US);
        });
    }
}

/// J14: a primary whose disk takes seconds gives its role to another, and clients wait no longer than that.
/// Caught: leadership that is never yielded.
#[test]
fn a_primary_with_a_slow_disk_is_not_primary_for_long() {
    for seed in 0..4 {
        play(190 + seed, move |world| async move {
            let trio = Trio::start(world, bugs());
            let (old, client) = trio.primary().await;
            assert_eq!(client.told("SET k 0").await, "+OK\r\n");
            trio.slow_disk(old, 3_000_000);
            let began_ns = trio.world.now_ns();
            // What it writes others have long acknowledged.
            while trio.leads(old) {
                let asked = trio.connect(old).await;
                let _ = asked.ask("INCR n").await;
                assert!(trio.world.now_ns() - began_ns < 10_000_000_000, "seed {seed}: it still leads");
            }
            let (new, client) = trio.primary().await;
            assert_ne!(new, old);
            let p99_us = p99_us(&trio, &client).await;
            assert!(p99_us < 20_000, "seed {seed}: {p99_us} us with the slow disk at a follower");
        });
    }
}
