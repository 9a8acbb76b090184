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

/// Seed 30274 of a soak: a node whose clock was behind led next, and showed it again.
#[test]
fn a_key_past_its_deadline_is_not_called_absent_while_nothing_can_be_logged() {
    let mut bench = Bench::new();
    bench.check("> SET a v PX 100\nOK\n> SET b v\nOK\n+100ms");
    let full = crate::error::ErrorReply::owned("MISCONF The log cannot grow".to_owned());
    bench.engine.availability = crate::Availability::ReadOnly(full);
    bench.engine.data.may_log = false;
    for call in ["GET a", "EXISTS a b", "TTL a", "MGET b a"] {
        let reply = bench.run(0, call);
        assert!(reply.starts_with("(error) MISCONF"), "{call}: {reply}");
    }
    bench.check("> GET b\n\"v\"\n> MULTI\nOK\n> GET b\nQUEUED\n> GET a\nQUEUED");
    let reply = bench.run(0, "EXEC");
    assert!(reply.contains("\"v\"") && reply.contains("(error) MISCONF"), "{reply}");
    bench.engine.availability = crate::Availability::Primary;
    bench.engine.data.may_log = true;
    bench.check("> GET a\n(nil)\n> TTL a\n(integer) -2");
}
