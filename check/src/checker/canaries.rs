//! Histories of which a person knows the verdict: a checker that is wrong about one of them is broken.

use super::notation::history;
use super::{Limits, Report, check, check_linearizable};

fn report(text: &str) -> Report {
    check(&history(text), &Limits::default())
}

/// Rejected by the search itself, with a story that names these operations.
fn rejected(text: &str, involved: &[u64]) -> String {
    let mut report = Report::default();
    check_linearizable(&history(text), &Limits::default(), &mut report);
    assert_eq!(report.undecided, Vec::<String>::new());
    assert_eq!(report.violations.len(), 1, "{report}");
    assert_eq!(report.violations[0].operations, involved, "{report}");
    report.violations.remove(0).text
}

fn accepted(text: &str) {
    let report = report(text);
    assert!(report.is_passed(), "{report}");
}

#[test]
fn bad_lost_update() {
    let story = rejected(
        "
        p1 0..1 SET reg1 1.1 -> OK
        p2 2..3 SET reg1 2.1 -> OK
        p3 4..5 GET reg1 -> 2.1
        p1 6..7 GET reg1 -> 1.1
        ",
        &[1, 2, 4],
    );
    assert!(story.contains("#4 p1 GET reg1 -> 1.1 [6.000 .. 7.000 ms]"), "{story}");
    assert!(story.contains("then the state is 2.1, and #4 cannot follow"), "{story}");
}

#[test]
fn bad_stale_read() {
    rejected("p1 0..1 SET reg1 1.1 -> OK\np2 2..3 GET reg1 -> nil", &[1, 2]);
}

#[test]
fn bad_duplicate_increment() {
    rejected(
        "
        p1 0..10 INCR ctr1 -> 1
        p2 0..10 INCR ctr1 -> 2
        p3 11..12 GET ctr1 -> 3
        ",
        &[3],
    );
}

#[test]
fn bad_dirty_read_of_a_refused_write() {
    let story = rejected(
        "
        p1 0..1 SET reg1 1.1 -> OK
        p2 2..3 SET reg1 2.1 -> fail
        p3 4..5 GET reg1 -> 2.1
        ",
        &[3],
    );
    assert!(story.contains("the value 2.1 was written by the refused #2"), "{story}");
}

/// G0: the writes of two transactions lie across each other.
#[test]
fn bad_dirty_writes() {
    rejected(
        "
        p1 0..10 TXN (SET {txn1}a 1.1 -> OK; SET {txn1}b 1.2 -> OK) -> OK
        p2 0..10 TXN (SET {txn1}a 2.1 -> OK; SET {txn1}b 2.2 -> OK) -> OK
        p3 11..12 TXN (GET {txn1}a -> 1.1; GET {txn1}b -> 2.2) -> OK
        ",
        &[3],
    );
}

/// G1a: values of a transaction that WATCH turned away are seen.
#[test]
fn bad_aborted_read() {
    rejected(
        "
        p1 0..1 WATCH {txn1}a -> OK
        p2 2..3 SET {txn1}a 2.1 -> OK
        p1 4..5 TXN watching {txn1}a (SET {txn1}a 1.1) -> nil
        p3 6..7 GET {txn1}a -> 1.1
        ",
        &[1, 3, 4],
    );
}

/// G1b: the first of two values that one transaction writes is seen.
#[test]
fn bad_intermediate_read() {
    rejected(
        "
        p1 0..10 TXN (SET {txn1}a 1.1 -> OK; SET {txn1}a 1.2 -> OK) -> OK
        p2 0..10 GET {txn1}a -> 1.1
        ",
        &[2],
    );
}

/// G1c: two transactions each see the other's write.
#[test]
fn bad_circular_reads() {
    rejected(
        "
        p1 0..10 TXN (SET {txn1}a 1.1 -> OK; GET {txn1}b -> 2.1) -> OK
        p2 0..10 TXN (SET {txn1}b 2.1 -> OK; GET {txn1}a -> 1.1) -> OK
        ",
        &[1, 2],
    );
}

#[test]
fn bad_write_skew_through_watch() {
    rejected(
        "
        p1 0..1 WATCH {txn1}a {txn1}b -> OK
        p2 0..1 WATCH {txn1}a {txn1}b -> OK
        p1 2..3 TXN watching {txn1}a {txn1}b (SET {txn1}a 1.1 -> OK) -> OK
        p2 2..3 TXN watching {txn1}a {txn1}b (SET {txn1}b 2.1 -> OK) -> OK
        ",
        &[1, 2, 3, 4],
    );
}

#[test]
fn bad_refusal_by_watch_without_a_change() {
    rejected(
        "
        p1 0..1 WATCH {txn1}a -> OK
        p2 2..3 SET {txn1}b 2.1 -> OK
        p1 4..5 TXN watching {txn1}a (SET {txn1}a 1.1) -> nil
        ",
        &[1, 3],
    );
}

#[test]
fn bad_resurrected_key() {
    rejected(
        "
        p1 0..10 SET exp1 1.1 PX 20 -> OK
        p2 22..23 GET exp1 -> nil
        p3 25..26 GET exp1 -> 1.1
        ",
        &[1, 2, 3],
    );
    let story = rejected("p1 0..1 SET exp1 1.1 PX 20 -> OK\np2 40..41 GET exp1 -> 1.1", &[1, 2]);
    assert!(story.contains("1.1, due in 18.000 .. 23.000 ms"), "{story}");
}

#[test]
fn bad_vanished_before_its_deadline() {
    rejected("p1 0..1 SET exp1 1.1 PX 50 -> OK\np2 10..20 GET exp1 -> nil", &[1, 2]);
}

#[test]
fn bad_reads_that_run_backwards() {
    rejected(
        "
        p1 0..1 SET reg1 1.1 -> OK
        p2 2..100 SET reg1 2.1 -> OK
        p3 10..11 GET reg1 -> 2.1
        p4 12..13 GET reg1 -> 1.1
        ",
        &[1, 3, 4],
    );
}

#[test]
fn bad_shifted_replies() {
    let report = report("p1 0..5 ECHO tag.1 -> 1.1\np1 0..5 GET reg1 -> tag.1");
    assert!(report.violations.iter().any(|violation| violation.checker == "misaligned reply"), "{report}");
}

#[test]
fn bad_lost_field() {
    rejected(
        "
        p1 0..1 HSET hash1 f 1.1 -> 1
        p2 0..1 HSET hash1 g 2.1 -> 1
        p3 2..3 HGETALL hash1 -> {g: 2.1}
        ",
        &[1, 3],
    );
}

#[test]
fn bad_pipeline_out_of_order() {
    rejected("p1 0..10 SET reg1 1.1 -> OK\np1 0..10 GET reg1 -> nil", &[1, 2]);
}

#[test]
fn bad_unknown_write_that_comes_and_goes() {
    rejected(
        "
        p1 0..1 SET reg1 1.1 -> OK
        p2 2..? SET reg1 2.1
        p3 4..5 GET reg1 -> 2.1
        p3 6..7 GET reg1 -> 1.1
        ",
        &[1, 3, 4],
    );
}

#[test]
fn good_unknown_write_that_happens_late() {
    accepted(
        "
        p1 0..1 SET reg1 1.1 -> OK
        p2 2..? SET reg1 2.1
        p3 4..5 GET reg1 -> 1.1
        p3 100..101 GET reg1 -> 2.1
        ",
    );
}

#[test]
fn good_unknown_write_that_never_happens() {
    accepted("p1 0..1 SET reg1 1.1 -> OK\np2 2..? DEL reg1\np3 100..101 GET reg1 -> 1.1");
}

#[test]
fn good_concurrent_reads_that_disagree() {
    accepted(
        "
        p1 0..1 SET reg1 1.1 -> OK
        p2 2..20 SET reg1 2.1 -> OK
        p3 3..19 GET reg1 -> 2.1
        p4 3..19 GET reg1 -> 1.1
        ",
    );
}

/// The reader returned before the writer, and still saw it.
#[test]
fn good_read_of_a_write_still_open() {
    accepted("p1 0..100 SET reg1 1.1 -> OK\np2 10..11 GET reg1 -> 1.1\np2 12..13 GET reg1 -> 1.1");
}

#[test]
fn good_writes_in_the_order_opposite_to_their_replies() {
    accepted(
        "
        p1 0..10 GETSET reg1 1.1 -> 2.1
        p2 0..5 GETSET reg1 2.1 -> nil
        p3 11..12 GET reg1 -> 1.1
        ",
    );
}

#[test]
fn good_equal_instants_overlap() {
    accepted("p1 0..5 SET reg1 1.1 -> OK\np2 5..6 GET reg1 -> nil\np3 6..7 GET reg1 -> 1.1");
}

#[test]
fn good_increments_with_one_of_unknown_outcome_in_between() {
    accepted(
        "
        p1 0..10 INCR ctr1 -> 1
        p2 0..? INCR ctr1
        p3 12..13 INCR ctr1 -> 3
        p4 14..15 DECRBY ctr1 3 -> 0
        p5 16..17 GET ctr1 -> 0
        ",
    );
}

#[test]
fn good_refusal_by_watch_because_of_an_unknown_write() {
    accepted(
        "
        p1 0..1 WATCH {txn1}a -> OK
        p2 2..? SET {txn1}a 2.1
        p1 4..5 TXN watching {txn1}a (SET {txn1}a 1.1) -> nil
        p3 6..7 GET {txn1}a -> 2.1
        ",
    );
}

/// The change lay before the WATCH, so it does not count.
#[test]
fn good_watch_after_a_concurrent_write() {
    accepted(
        "
        p2 0..10 SET {txn1}a 2.1 -> OK
        p1 1..9 WATCH {txn1}a -> OK
        p1 11..12 TXN watching {txn1}a (GET {txn1}a -> 2.1; SET {txn1}a 1.1 -> OK) -> OK
        ",
    );
}

#[test]
fn good_transaction_seen_between_two_others() {
    accepted(
        "
        p1 0..50 TXN (SET {txn1}a 1.1 -> OK; SET {txn1}b 1.2 -> OK) -> OK
        p2 0..50 TXN (GET {txn1}a -> 1.1; SET {txn1}b 2.1 -> OK) -> OK
        p3 0..50 TXN (GET {txn1}a -> 1.1; GET {txn1}b -> 1.2) -> OK
        p4 51..52 GET {txn1}b -> 2.1
        ",
    );
}

#[test]
fn good_key_that_goes_within_its_interval() {
    accepted(
        "
        p1 0..10 SET exp1 1.1 PX 20 -> OK
        p2 15..25 GET exp1 -> nil
        p3 24..26 GET exp1 -> nil
        p4 27..28 SETNX exp1 4.1 -> 1
        p4 100..101 PTTL exp1 -> -1
        ",
    );
}

#[test]
fn good_deadline_of_unknown_outcome() {
    accepted(
        "
        p1 0..1 SET exp1 1.1 -> OK
        p2 2..? PEXPIRE exp1 5
        p3 90..91 GET exp1 -> 1.1
        p3 200..201 GET exp1 -> nil
        ",
    );
}

#[test]
fn good_field_that_was_deleted_with_unknown_outcome() {
    accepted(
        "
        p1 0..1 HSET hash1 f 1.1 g 1.2 -> 2
        p2 2..? HDEL hash1 f
        p3 4..5 HLEN hash1 -> 2
        p3 6..7 HGETALL hash1 -> {g: 1.2}
        p4 8..9 HSET hash1 f 4.1 -> 1
        ",
    );
}

#[test]
fn good_pipeline_that_reads_its_own_writes() {
    accepted(
        "p1 0..10 SET reg1 1.1 -> OK\np1 0..10 GET reg1 -> 1.1\np1 0..10 DEL reg1 -> 1\np1 0..10 GET reg1 -> nil",
    );
}

#[test]
fn a_check_that_gives_up_has_failed() {
    let limits = Limits { steps_max: 3, ..Limits::default() };
    let text = "p1 0..9 SET reg1 1.1 -> OK\np2 0..9 SET reg1 2.1 -> OK\np3 0..9 GET reg1 -> nil\np4 0..9 GET reg1 -> 1.1";
    let report = check(&history(text), &limits);
    assert!(report.violations.is_empty() && !report.is_passed(), "{report}");
    assert!(!super::canaries::report("p1 0..1 LPUSH reg1 a -> 1").is_passed());
    assert!(!super::canaries::report("p1 0..1 SET other a -> OK").is_passed());
}
