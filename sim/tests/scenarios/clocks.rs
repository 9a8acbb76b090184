//! Clocks that are wrong, and processes that stand still.

use crate::{bugs, pause_ms};
use ramkeep_sim::scene::{Trio, play};

const HOUR_US: i64 = 3_600_000_000;

/// The primary's clock is an hour ahead; those that take over have it right. What was seen to be gone stays gone, and a
/// second of life is not an hour.
#[test]
fn a_primary_an_hour_ahead_leaves_no_key_that_comes_back_or_stays() {
    play(1, |world| async move {
        let trio = Trio::start(world, bugs());
        let (old, client) = trio.primary().await;
        trio.world.jump_wall_clock(trio.nodes[old], HOUR_US);
        assert_eq!(client.told("SET short v PX 200").await, "+OK\r\n");
        assert_eq!(client.told("SET long v EX 7200").await, "+OK\r\n");
        pause_ms(400).await;
        assert_eq!(client.told("GET short").await, "$-1\r\n", "its time is over");
        assert_eq!(client.told("SET second v PX 1000").await, "+OK\r\n");
        trio.world.kill(trio.nodes[old]);
        let set_at_ns = trio.world.now_ns();
        let (_, client) = trio.primary().await;
        assert_eq!(client.told("GET short").await, "$-1\r\n", "what was seen to be gone stays gone");
        while trio.world.now_ns() < set_at_ns + 3_000_000_000 {
            assert_eq!(client.told("GET short").await, "$-1\r\n");
            pause_ms(50).await;
        }
        assert_eq!(client.told("GET second").await, "$-1\r\n", "gone within three seconds");
        assert_eq!(client.told("GET long").await, "$1\r\nv\r\n", "nothing else was lost");
    });
}

/// J15: the process stands still for longer than its lease, and is asked before it has heard of its successor.
#[test]
fn a_primary_that_stood_still_answers_no_stale_read() {
    for seed in 0..10 {
        play(30 + seed, move |world| async move {
            let trio = Trio::start(world, bugs());
            let (old, client) = trio.primary().await;
            assert_eq!(client.told("SET k old").await, "+OK\r\n");
            trio.world.pause(trio.nodes[old]);
            pause_ms(600 + seed * 300).await;
            // The pause may be over before anybody was elected.
            let elected = trio
                .others(old)
                .into_iter()
                .find(|index| trio.node(*index).is_some_and(|node| node.shard.borrow().is_leading()));
            if let Some(new) = elected {
                let writer = trio.connect(new).await;
                let written = writer.told("SET k new").await;
                trio.world.resume(trio.nodes[old]);
                let answer = client.ask("GET k").await;
                // Refused, unanswered, or carried to the new primary; never from memory that is behind.
                let is_stale = answer.as_ref().is_ok_and(|answer| answer.contains("old"));
                assert!(written != "+OK\r\n" || !is_stale, "{answer:?}");
            }
        });
    }
}
