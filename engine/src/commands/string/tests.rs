use crate::testing::{Bench, check};

#[test]
fn set_reads_its_options_before_it_looks_at_times_and_keys() {
    check(
        "
        > SET k v EX nonsense junk
        (error) ERR syntax error
        > SET k v EX nonsense
        (error) ERR value is not an integer or out of range
        > SET k v EX 0
        (error) ERR invalid expire time in 'set' command
        > SET k v EX 9223372036854775807
        (error) ERR invalid expire time in 'set' command
        > SET k v PX 9223372036854775807
        (error) ERR invalid expire time in 'set' command
        > SET k v EX
        (error) ERR syntax error
        > SET k v EX 10 PX 10
        (error) ERR syntax error
        > SET k v EX 10 KEEPTTL
        (error) ERR syntax error
        > SET k v KEEPTTL EX 10
        (error) ERR syntax error
        > SET k v NX XX
        (error) ERR syntax error
        > SET k v PERSIST
        (error) ERR syntax error
        > EXISTS k
        (integer) 0
        > SET k v EX 10 EX 20
        OK
        > TTL k
        (integer) 20
        > SET k v KEEPTTL KEEPTTL
        OK
        > TTL k
        (integer) 20
        > SET k v nx
        (nil)
        > SET k v
        OK
        > TTL k
        (integer) -1
        ",
    );
}

#[test]
fn set_with_get_gives_the_old_string_and_refuses_other_kinds() {
    check(
        "
        > SET k 1 GET
        (nil)
        > SET k 2 NX GET
        \"1\"
        > SET k 3 XX GET
        \"1\"
        > SET none 3 XX GET
        (nil)
        > EXISTS none
        (integer) 0
        > SET k 4 KEEPTTL GET
        \"3\"
        > HSET h f v
        (integer) 1
        > SET h 1 GET
        (error) WRONGTYPE Operation against a key holding the wrong kind of value
        > SET h 1 NX GET
        (error) WRONGTYPE Operation against a key holding the wrong kind of value
        > SET h 1 NX
        (nil)
        > SET h 1 XX
        OK
        ",
    );
}

#[test]
fn a_deadline_in_the_past_leaves_nothing_behind() {
    let mut bench = Bench::new();
    bench.check(
        "
        > SET k old
        OK
        > SET k new EXAT 1
        OK
        > EXISTS k
        (integer) 0
        > DBSIZE
        (integer) 0
        > SET k old
        OK
        > SET k new PXAT 1 GET
        \"old\"
        > GET k
        (nil)
        > SET k old
        OK
        > GETEX k EXAT 1
        \"old\"
        > DBSIZE
        (integer) 0
        ",
    );
}

#[test]
fn getex_changes_the_deadline_only() {
    check(
        "
        > GETEX none EX -1
        (nil)
        > SET k v
        OK
        > GETEX k EX -1
        (error) ERR invalid expire time in 'getex' command
        > GETEX k EX x
        (error) ERR value is not an integer or out of range
        > GETEX k PX 5000
        \"v\"
        > PTTL k
        (integer) 5000
        > GETEX k
        \"v\"
        > PTTL k
        (integer) 5000
        > GETEX k PERSIST PERSIST
        \"v\"
        > PTTL k
        (integer) -1
        > GETEX k EXAT 33000000000
        \"v\"
        > EXPIRETIME k
        (integer) 33000000000
        > GETEX k PXAT 33000000000123
        \"v\"
        > PEXPIRETIME k
        (integer) 33000000000123
        > GETEX k EX 10 PERSIST
        (error) ERR syntax error
        > GETEX k PERSIST EX 10
        (error) ERR syntax error
        > GETEX k KEEPTTL
        (error) ERR syntax error
        > GETEX k EX
        (error) ERR syntax error
        > HSET h f v
        (integer) 1
        > GETEX h EX -1
        (error) WRONGTYPE Operation against a key holding the wrong kind of value
        ",
    );
}

#[test]
fn older_forms_of_set() {
    check(
        "
        > SETEX k 100 v
        OK
        > GETSET k w
        \"v\"
        > TTL k
        (integer) -1
        > GETSET new v
        (nil)
        > PSETEX k 100 v
        OK
        > PTTL k
        (integer) 100
        +100ms
        > GETDEL k
        (nil)
        > SETNX k 1
        (integer) 1
        > SETNX k 2
        (integer) 0
        > GETDEL k
        \"1\"
        > EXISTS k
        (integer) 0
        > SETEX k 0 v
        (error) ERR invalid expire time in 'setex' command
        > PSETEX k -1 v
        (error) ERR invalid expire time in 'psetex' command
        > HSET h f v
        (integer) 1
        > GETSET h v
        (error) WRONGTYPE Operation against a key holding the wrong kind of value
        > GETDEL h
        (error) WRONGTYPE Operation against a key holding the wrong kind of value
        > SETNX h v
        (integer) 0
        > SETEX h 10 v
        OK
        ",
    );
}

#[test]
fn several_keys_at_once() {
    check(
        "
        > MSET a 1 b 2 a 3
        OK
        > HSET h f v
        (integer) 1
        > MGET a none b h a
        1) \"3\"
        2) (nil)
        3) \"2\"
        4) (nil)
        5) \"3\"
        > MSET a 1 b
        (error) ERR wrong number of arguments for 'mset' command
        > MSETNX a 1 b
        (error) ERR wrong number of arguments for 'msetnx' command
        > MSETNX new 1 h 2
        (integer) 0
        > EXISTS new
        (integer) 0
        > MSETNX x 1 x 2
        (integer) 1
        > GET x
        \"2\"
        > EXPIRE a 100
        (integer) 1
        > MSET a 1
        OK
        > TTL a
        (integer) -1
        ",
    );
}

#[test]
fn parts_of_strings() {
    check(
        "
        > APPEND k \"\"
        (integer) 0
        > EXISTS k
        (integer) 1
        > APPEND k Hello
        (integer) 5
        > APPEND k \" World\"
        (integer) 11
        > STRLEN k
        (integer) 11
        > STRLEN none
        (integer) 0
        > GETRANGE k 0 4
        \"Hello\"
        > GETRANGE k -5 -1
        \"World\"
        > SUBSTR k -1 -5
        \"\"
        > GETRANGE k 4 100
        \"o World\"
        > GETRANGE k -9223372036854775808 9223372036854775807
        \"Hello World\"
        > GETRANGE k 9223372036854775807 9223372036854775807
        \"\"
        > GETRANGE none 0 -1
        \"\"
        > GETRANGE k x 1
        (error) ERR value is not an integer or out of range
        > SETRANGE k 6 Redis
        (integer) 11
        > SETRANGE k 13 !
        (integer) 14
        > GET k
        \"Hello Redis\\x00\\x00!\"
        > SETRANGE none 5 \"\"
        (integer) 0
        > EXISTS none
        (integer) 0
        > SETRANGE k 5 \"\"
        (integer) 14
        > SETRANGE k -1 x
        (error) ERR offset is out of range
        > SETRANGE k 536870912 x
        (error) ERR string exceeds maximum allowed size (proto-max-bulk-len)
        > SETRANGE k 9223372036854775807 x
        (error) ERR string exceeds maximum allowed size (proto-max-bulk-len)
        > SET n 1234
        OK
        > GETRANGE n 1 2
        \"23\"
        > SETRANGE n 1 9
        (integer) 4
        > INCR n
        (integer) 1935
        > APPEND n 0
        (integer) 5
        > GET n
        \"19350\"
        > HSET h f v
        (integer) 1
        > APPEND h v
        (error) WRONGTYPE Operation against a key holding the wrong kind of value
        > SETRANGE h 0 \"\"
        (error) WRONGTYPE Operation against a key holding the wrong kind of value
        > GETRANGE h 0 1
        (error) WRONGTYPE Operation against a key holding the wrong kind of value
        ",
    );
}

#[test]
fn strings_stay_within_their_limit() {
    check(
        "
        > CONFIG SET proto-max-bulk-len 1048576
        OK
        > SETRANGE k 1048575 a
        (integer) 1048576
        > SETRANGE k 1048576 a
        (error) ERR string exceeds maximum allowed size (proto-max-bulk-len)
        > APPEND k a
        (error) ERR string exceeds maximum allowed size (proto-max-bulk-len)
        > SETBIT k 8388607 0
        (integer) 1
        > SETBIT k 8388608 1
        (error) ERR bit offset is not an integer or out of range
        > STRLEN k
        (integer) 1048576
        ",
    );
}

#[test]
fn counters_stop_at_the_ends_of_64_bits() {
    check(
        "
        > INCR n
        (integer) 1
        > INCRBY n 9223372036854775806
        (integer) 9223372036854775807
        > INCR n
        (error) ERR increment or decrement would overflow
        > DECRBY n -1
        (error) ERR increment or decrement would overflow
        > DECRBY n 9223372036854775807
        (integer) 0
        > DECRBY n -9223372036854775808
        (error) ERR decrement would overflow
        > INCRBY n -9223372036854775808
        (integer) -9223372036854775808
        > DECR n
        (error) ERR increment or decrement would overflow
        > INCRBY n 1.0
        (error) ERR value is not an integer or out of range
        > SET s 01
        OK
        > DECR s
        (error) ERR value is not an integer or out of range
        > SETEX n 100 10
        OK
        > DECR n
        (integer) 9
        > TTL n
        (integer) 100
        > HSET h f v
        (integer) 1
        > INCRBY h x
        (error) ERR value is not an integer or out of range
        > INCRBY h 1
        (error) WRONGTYPE Operation against a key holding the wrong kind of value
        ",
    );
}

#[test]
fn floats_add_in_80_bits() {
    check(
        "
        > SETEX f 100 10.50
        OK
        > INCRBYFLOAT f 0.1
        \"10.6\"
        > INCRBYFLOAT f -5.6
        \"5\"
        > TTL f
        (integer) 100
        > INCR f
        (integer) 6
        > SET f 5.0e3
        OK
        > INCRBYFLOAT f 2.0e2
        \"5200\"
        > INCRBYFLOAT f inf
        (error) ERR increment would produce NaN or Infinity
        > INCRBYFLOAT f nan
        (error) ERR value is not a valid float
        > INCRBYFLOAT f \" 1\"
        (error) ERR value is not a valid float
        > SET f x
        OK
        > INCRBYFLOAT f 1
        (error) ERR value is not a valid float
        > SET f 0
        OK
        > INCRBYFLOAT f 123456.789
        \"123456.78900000000000148\"
        > INCRBYFLOAT new 3.0
        \"3\"
        > HSET h f v
        (integer) 1
        > INCRBYFLOAT h x
        (error) WRONGTYPE Operation against a key holding the wrong kind of value
        ",
    );
}

#[test]
fn lcs_in_all_its_forms() {
    check(
        "
        > MSET a ohmytext b mynewtext
        OK
        > LCS a b
        \"mytext\"
        > LCS a b LEN
        (integer) 6
        > LCS a b IDX
        1) \"matches\"
        2) 1) 1) 1) (integer) 4
        2) (integer) 7
        2) 1) (integer) 5
        2) (integer) 8
        2) 1) 1) (integer) 2
        2) (integer) 3
        2) 1) (integer) 0
        2) (integer) 1
        3) \"len\"
        4) (integer) 6
        > LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN
        1) \"matches\"
        2) 1) 1) 1) (integer) 4
        2) (integer) 7
        2) 1) (integer) 5
        2) (integer) 8
        3) (integer) 4
        3) \"len\"
        4) (integer) 6
        > LCS a none
        \"\"
        > LCS none a LEN
        (integer) 0
        > LCS none none IDX
        1) \"matches\"
        2) (empty array)
        3) \"len\"
        4) (integer) 0
        > LCS a b IDX LEN
        (error) ERR If you want both the length and indexes, please just use IDX.
        > LCS a b MINMATCHLEN
        (error) ERR syntax error
        > LCS a b MINMATCHLEN x
        (error) ERR value is not an integer or out of range
        > HSET h f v
        (integer) 1
        > LCS a h junk
        (error) ERR The specified keys must contain string values
        ",
    );
}

#[test]
fn lcs_refuses_what_is_too_much_work() {
    let mut bench = Bench::new();
    let long = vec![b'x'; 20_000];
    bench.run_args(0, &[&b"MSET"[..], b"a", &long, b"b", &long]);
    let reply = bench.run(0, "LCS a b LEN");
    let expected = "(error) ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
    assert_eq!(reply, expected);
}

#[test]
fn changes_of_long_strings_log_what_changed() {
    let mut bench = Bench::new();
    bench.run_unchecked(0, &[&b"SET"[..], b"k", &vec![b'x'; 100 << 20]]);
    let changes = [
        "APPEND k tail",
        "SETRANGE k 70000000 middle",
        "EXPIRE k 100",
        "PERSIST k",
        "RENAME k l",
        "COPY l k",
    ];
    for command in changes {
        bench.run_unchecked(0, &command.split(' ').collect::<Vec<_>>());
        assert!((1..40).contains(&bench.effects.len()), "{command}: {} bytes", bench.effects.len());
    }
    for (range, part) in [(["69999999", "70000006"], "xmiddlex"), (["-5", "-1"], "xtail")] {
        let reply = bench.run_unchecked(0, &["GETRANGE", "k", range[0], range[1]]);
        assert_eq!(String::from_utf8_lossy(&reply), format!("${}\r\n{part}\r\n", part.len()));
    }
    bench.follow();
}
