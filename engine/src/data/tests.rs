//! The way back, watches, deadlines: what no single command shows.

use crate::testing::Bench;

#[test]
fn a_transaction_that_outgrows_the_log_leaves_nothing() {
    let mut bench = Bench::new();
    bench.check(
        "
        > SET a 1
        OK
        > MULTI
        OK
        > SET a 2
        QUEUED
        > SET b 3
        QUEUED
        > FLUSHALL
        QUEUED
        > SET c 4
        QUEUED
        ",
    );
    bench.engine.room_bytes = 10;
    let reply = bench.run(0, "EXEC");
    assert!(reply.starts_with("(error) MISCONF"), "{reply}");
    bench.engine.room_bytes = u64::MAX;
    bench.check(
        "
        > GET a
        \"1\"
        > GET b
        (nil)
        > GET c
        (nil)
        ",
    );
}

#[test]
fn watches_break_by_the_changes_of_others_and_by_deadlines() {
    let mut bench = Bench::new();
    bench.check(
        "
        > SET k 1 PX 100
        OK
        > WATCH k
        OK
        > MULTI
        OK
        > GET k
        QUEUED
        +200ms
        > EXEC
        (nil)
        > WATCH k
        OK
        1> SET k 2
        OK
        > MULTI
        OK
        > GET k
        QUEUED
        > EXEC
        (nil)
        > WATCH k
        OK
        > MULTI
        OK
        > INCR k
        QUEUED
        > EXEC
        1) (integer) 3
        ",
    );
}
