use crate::testing::{Bench, check};
use proptest::prelude::*;

#[test]
fn single_bits() {
    check(
        "
        > SETBIT k 7 1
        (integer) 0
        > SETBIT k 7 1
        (integer) 1
        > GET k
        \"\\x01\"
        > GETBIT k 7
        (integer) 1
        > GETBIT k 6
        (integer) 0
        > GETBIT k 4294967295
        (integer) 0
        > GETBIT none 0
        (integer) 0
        > SETBIT k 16 0
        (integer) 0
        > STRLEN k
        (integer) 3
        > SETBIT none 8 0
        (integer) 0
        > STRLEN none
        (integer) 2
        > SETBIT k 4294967296 1
        (error) ERR bit offset is not an integer or out of range
        > SETBIT k -1 x
        (error) ERR bit offset is not an integer or out of range
        > SETBIT k 0 2
        (error) ERR bit is not an integer or out of range
        > SET n 1
        OK
        > SETBIT n 6 1
        (integer) 0
        > INCR n
        (integer) 4
        > HSET h f v
        (integer) 1
        > SETBIT h 0 x
        (error) ERR bit is not an integer or out of range
        > SETBIT h 0 1
        (error) WRONGTYPE Operation against a key holding the wrong kind of value
        > GETBIT h 0
        (error) WRONGTYPE Operation against a key holding the wrong kind of value
        ",
    );
}

#[test]
fn a_bit_of_a_long_string_logs_a_few_bytes_and_no_change_logs_nothing() {
    let mut bench = Bench::new();
    bench.run_args(0, &[&b"SETRANGE"[..], b"k", b"104857599", b"x"]);
    let before = bench.effects_bytes;
    bench.check("> SETBIT k 400000000 1\n(integer) 0");
    let logged = bench.effects_bytes - before;
    assert!(logged > 0 && logged < 100, "{logged} bytes");
    let before = bench.effects_bytes;
    bench.check("> SETBIT k 400000000 1\n(integer) 1\n> BITFIELD k SET u8 400000000 128\n1) (integer) 128");
    assert_eq!(bench.effects_bytes, before);
    bench.check("> BITCOUNT k\n(integer) 5\n> BITPOS k 1\n(integer) 400000000\n> BITPOS k 0 50000000\n(integer) 400000001");
}

#[test]
fn changes_are_counted_as_redis_does_when_a_field_lengthens_the_string() {
    let mut bench = Bench::new();
    for (command, changes) in [
        ("BITFIELD k SET u8 0 0", 1),
        ("BITFIELD k SET u8 0 0", 0),
        ("BITFIELD k SET u8 0 1 SET u8 32 1", 2),
        ("BITFIELD k OVERFLOW FAIL INCRBY u8 64 300", 0),
        ("BITFIELD k GET u8 0 SET u8 0 1 SET u8 8 1", 1),
    ] {
        let before = bench.engine.data.changes();
        bench.run(0, command);
        assert_eq!(bench.engine.data.changes() - before, changes, "{command}");
    }
}

#[test]
fn bits_are_counted() {
    check(
        "
        > SET k foobar
        OK
        > BITCOUNT k
        (integer) 26
        > BITCOUNT k 0 0
        (integer) 4
        > BITCOUNT k 1 1 BYTE
        (integer) 6
        > BITCOUNT k 5 30 BIT
        (integer) 17
        > BITCOUNT k -2
        (integer) 7
        > BITCOUNT k 1
        (integer) 22
        > BITCOUNT k -1 -2
        (integer) 0
        > BITCOUNT none 0 -1
        (integer) 0
        > SET n 255
        OK
        > BITCOUNT n
        (integer) 11
        > BITCOUNT k 0 x junk
        (error) ERR syntax error
        > BITCOUNT k x
        (error) ERR value is not an integer or out of range
        > BITCOUNT k 0 1 BIT x
        (error) ERR syntax error
        > HSET h f v
        (integer) 1
        > BITCOUNT h x
        (error) ERR value is not an integer or out of range
        > BITCOUNT h
        (error) WRONGTYPE Operation against a key holding the wrong kind of value
        ",
    );
}

#[test]
fn bits_are_found() {
    check(
        "
        > SET k \"\\x00\\xff\\xf0\"
        OK
        > BITPOS k 1
        (integer) 8
        > BITPOS k 0
        (integer) 0
        > BITPOS k 0 1
        (integer) 20
        > BITPOS k 1 2
        (integer) 16
        > BITPOS k 1 7 15 BIT
        (integer) 8
        > BITPOS k 1 -4 -1 BIT
        (integer) -1
        > BITPOS k 0 1 1
        (integer) -1
        > SET f \"\\xff\\xff\"
        OK
        > BITPOS f 0
        (integer) 16
        > BITPOS f 0 0 -1
        (integer) -1
        > BITPOS f 0 5
        (integer) -1
        > BITPOS none 0 5 6
        (integer) 0
        > BITPOS none 1
        (integer) -1
        > BITPOS k 2
        (error) ERR The bit argument must be 1 or 0.
        > BITPOS k x
        (error) ERR value is not an integer or out of range
        > BITPOS k 1 0 1 junk
        (error) ERR syntax error
        > BITPOS k 1 x 1 junk
        (error) ERR value is not an integer or out of range
        ",
    );
}

#[test]
fn strings_are_combined() {
    check(
        "
        > MSET a \"\\x0f\\xff\" b \"\\xf0\\x0f\\x55\" n 1
        OK
        > BITOP AND d a b
        (integer) 3
        > GET d
        \"\\x00\\x0f\\x00\"
        > BITOP or d a b none
        (integer) 3
        > GET d
        \"\\xff\\xffU\"
        > BITOP XOR d b a
        (integer) 3
        > GET d
        \"\\xff\\xf0U\"
        > EXPIRE d 100
        (integer) 1
        > BITOP NOT d a
        (integer) 2
        > TTL d
        (integer) -1
        > GET d
        \"\\xf0\\x00\"
        > BITOP OR d n
        (integer) 1
        > OBJECT ENCODING d
        \"raw\"
        > BITOP AND a a b
        (integer) 3
        > BITOP AND d none none2
        (integer) 0
        > EXISTS d
        (integer) 0
        > BITOP NOT d a b
        (error) ERR BITOP NOT must be called with a single source key.
        > BITOP NAND d a b
        (error) ERR syntax error
        > HSET h f v
        (integer) 1
        > BITOP OR d a h
        (error) WRONGTYPE Operation against a key holding the wrong kind of value
        > BITOP OR h a
        (integer) 3
        ",
    );
}

#[test]
fn fields_wrap_saturate_and_fail() {
    check(
        "
        > BITFIELD k SET u8 0 200 INCRBY u8 0 100 OVERFLOW SAT INCRBY u8 0 300 OVERFLOW FAIL INCRBY u8 0 1 GET i8 0
        1) (integer) 0
        2) (integer) 44
        3) (integer) 255
        4) (nil)
        5) (integer) -1
        > BITFIELD k OVERFLOW SAT INCRBY i8 #1 -300 OVERFLOW WRAP INCRBY i8 #1 -1
        1) (integer) -128
        2) (integer) 127
        > BITFIELD k SET u4 12 -1
        1) (integer) 15
        > BITFIELD k SET i64 16 -9223372036854775808 OVERFLOW FAIL INCRBY i64 16 -1 INCRBY i64 16 1
        1) (integer) 0
        2) (nil)
        3) (integer) -9223372036854775807
        > BITFIELD k OVERFLOW SAT INCRBY u63 #3 9223372036854775807 INCRBY u63 #3 1
        1) (integer) 9223372036854775807
        2) (integer) 9223372036854775807
        > BITFIELD sat OVERFLOW SAT SET i8 0 -1000 SET i8 0 -9223372036854775808 GET i8 0
        1) (integer) 0
        2) (integer) -128
        3) (integer) 127
        > BITFIELD failed OVERFLOW FAIL INCRBY u8 100 256
        1) (nil)
        > STRLEN failed
        (integer) 14
        > BITFIELD none GET u8 0
        1) (integer) 0
        > EXISTS none
        (integer) 0
        > BITFIELD k
        (empty array)
        ",
    );
}

#[test]
fn nothing_of_a_wrong_bitfield_runs() {
    check(
        "
        > BITFIELD k SET u8 0 1 SET u8 0 x
        (error) ERR value is not an integer or out of range
        > BITFIELD k SET u8 0 1 GET u64 0
        (error) ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.
        > BITFIELD k SET u8 #9223372036854775807 1
        (error) ERR bit offset is not an integer or out of range
        > BITFIELD k GET i65 0
        (error) ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.
        > BITFIELD k GET u8 #-1
        (error) ERR bit offset is not an integer or out of range
        > BITFIELD k OVERFLOW junk
        (error) ERR Invalid OVERFLOW type specified
        > BITFIELD k OVERFLOW
        (error) ERR syntax error
        > BITFIELD k SET u8 0
        (error) ERR syntax error
        > EXISTS k
        (integer) 0
        > HSET h f v
        (integer) 1
        > BITFIELD_RO h GET u8 0 SET u8 0 1
        (error) ERR BITFIELD_RO only supports the GET subcommand
        > BITFIELD_RO h GET u8 0
        (error) WRONGTYPE Operation against a key holding the wrong kind of value
        > BITFIELD h SET u8 0 1
        (error) WRONGTYPE Operation against a key holding the wrong kind of value
        > BITFIELD_RO none OVERFLOW SAT GET u8 0
        1) (integer) 0
        ",
    );
}

fn bits_of(bytes: &[u8]) -> Vec<bool> {
    bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte << bit & 0x80 != 0)).collect()
}

/// Bytes that are mostly of one kind, so that finding has something to pass, and longer than a chunk at times.
fn string() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![4 => Just(0u8), 4 => Just(0xff), 1 => any::<u8>()];
    let run = (byte, prop_oneof![8 => 1..40usize, 1 => 10_000..30_000usize]);
    proptest::collection::vec(run, 1..6).prop_map(|runs| {
        runs.into_iter().flat_map(|(byte, count)| std::iter::repeat_n(byte, count)).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn counting_and_finding_agree_with_looking_at_each_bit(
        bytes in string(), first in 0.0..1.0f64, width in 0.0..1.0f64,
    ) {
        let mut bench = Bench::new();
        bench.run_args(0, &[&b"SET"[..], b"k", &bytes]);
        let bits = bits_of(&bytes);
        let start = ((bits.len() - 1) as f64 * first) as usize;
        let end = start + ((bits.len() - 1 - start) as f64 * width) as usize;
        let range = &bits[start..=end];
        let count = range.iter().filter(|bit| **bit).count();
        prop_assert_eq!(bench.run(0, &format!("BITCOUNT k {start} {end} BIT")), format!("(integer) {count}"));
        for wanted in [false, true] {
            let position = range.iter().position(|bit| *bit == wanted).map_or(-1, |at| (start + at) as i64);
            let command = format!("BITPOS k {} {start} {end} BIT", u8::from(wanted));
            prop_assert_eq!(bench.run(0, &command), format!("(integer) {position}"), "{}", command);
        }
    }

    #[test]
    fn fields_agree_with_setting_each_bit(
        offset in 0usize..80, width in 1usize..=64, value: i64, is_signed: bool,
    ) {
        let width = if is_signed { width } else { width.min(63) };
        let mut bench = Bench::new();
        bench.run(0, "SET k abcdefghijklmnopqr");
        let mut bits = bits_of(b"abcdefghijklmnopqr");
        for (index, bit) in bits[offset..offset + width].iter_mut().enumerate() {
            *bit = value >> (width - 1 - index) & 1 == 1;
        }
        let kind = if is_signed { 'i' } else { 'u' };
        bench.run(0, &format!("BITFIELD k SET {kind}{width} {offset} {value}"));
        let reply = bench.run_args(0, &["GET", "k"]);
        prop_assert_eq!(bits_of(&reply[5..reply.len() - 2]), bits);
        let unused = 64 - width;
        let read = if is_signed { value << unused >> unused } else { ((value as u64) << unused >> unused) as i64 };
        let expected = format!("1) (integer) {read}");
        prop_assert_eq!(bench.run(0, &format!("BITFIELD_RO k GET {kind}{width} {offset}")), expected);
    }
}
