//! Hashes: fields with values under one key.
//!
//! Lives here: the group's table and the commands on named fields and whole hashes.
//! Not here: drawing fields (`random`), HSCAN's options (`generic::scan`).

mod increment;
mod random;

use super::generic::scan::{ScanOptions, Walk, cursor, reply_step};
use super::string_reply;
use crate::call::Call;
use crate::command::{Categories, Command, Flags, Keys, at_least, exactly};
use crate::error::{Result, wrong_arity};
use crate::resp::Reply;
use crate::value::{Hash, StringRef};

const ACL: Categories = Categories::HASH;
const KEY: Keys = Keys::at(1);

pub const COMMANDS: &[Command] = &[
    Command::write("hset", at_least(3), hset)
        .keys(KEY, &["RW", "update"])
        .flags(Flags::DENY_OOM)
        .fast()
        .acl(ACL)
        .group("hash")
        .doc(
            "2.0.0",
            "key field value [field value ...]",
            "Sets fields of a hash and tells how many of them are new.",
            "O(N) where N is the number of fields set.",
        ),
    Command::write("hmset", at_least(3), hmset)
        .keys(KEY, &["RW", "update"])
        .flags(Flags::DENY_OOM)
        .fast()
        .acl(ACL)
        .group("hash")
        .doc(
            "2.0.0",
            "key field value [field value ...]",
            "Sets fields of a hash.",
            "O(N) where N is the number of fields set.",
        ),
    Command::write("hsetnx", exactly(3), hsetnx)
        .keys(KEY, &["RW", "insert"])
        .flags(Flags::DENY_OOM)
        .fast()
        .acl(ACL)
        .group("hash")
        .doc("2.0.0", "key field value", "Sets a field of a hash if it is not there yet.", "O(1)"),
    Command::read("hget", exactly(2), hget).keys(KEY, &["RO", "access"]).fast().acl(ACL).group("hash").doc(
        "2.0.0",
        "key field",
        "Gives the value of a field.",
        "O(1)",
    ),
    Command::read("hmget", at_least(2), hmget)
        .keys(KEY, &["RO", "access"])
        .fast()
        .acl(ACL)
        .group("hash")
        .doc(
            "2.0.0",
            "key field [field ...]",
            "Gives the values of fields.",
            "O(N) where N is the number of fields asked for.",
        ),
    Command::read("hgetall", exactly(1), hgetall).keys(KEY, &["RO", "access"]).acl(ACL).group("hash").doc(
        "2.0.0",
        "key",
        "Gives all fields with their values.",
        "O(N) where N is the size of the hash.",
    ),
    Command::write("hdel", at_least(2), hdel).keys(KEY, &["RW", "delete"]).fast().acl(ACL).group("hash").doc(
        "2.0.0",
        "key field [field ...]",
        "Deletes fields; the hash goes with its last one.",
        "O(N) where N is the number of fields named.",
    ),
    Command::read("hlen", exactly(1), hlen).keys(KEY, &["RO"]).fast().acl(ACL).group("hash").doc(
        "2.0.0",
        "key",
        "Tells how many fields a hash has.",
        "O(1)",
    ),
    Command::read("hstrlen", exactly(2), hstrlen).keys(KEY, &["RO"]).fast().acl(ACL).group("hash").doc(
        "3.2.0",
        "key field",
        "Tells the length in bytes of a field's value.",
        "O(1)",
    ),
    Command::read("hexists", exactly(2), hexists).keys(KEY, &["RO"]).fast().acl(ACL).group("hash").doc(
        "2.0.0",
        "key field",
        "Tells whether a hash has a field.",
        "O(1)",
    ),
    Command::read("hkeys", exactly(1), hkeys).keys(KEY, &["RO", "access"]).acl(ACL).group("hash").doc(
        "2.0.0",
        "key",
        "Gives all fields of a hash.",
        "O(N) where N is the size of the hash.",
    ),
    Command::read("hvals", exactly(1), hvals).keys(KEY, &["RO", "access"]).acl(ACL).group("hash").doc(
        "2.0.0",
        "key",
        "Gives all values of a hash.",
        "O(N) where N is the size of the hash.",
    ),
    Command::write("hincrby", exactly(3), increment::hincrby)
        .keys(KEY, &["RW", "access", "update"])
        .flags(Flags::DENY_OOM)
        .fast()
        .acl(ACL)
        .group("hash")
        .doc("2.0.0", "key field increment", "Adds an integer to a field; a new one starts at 0.", "O(1)"),
    Command::write("hincrbyfloat", exactly(3), increment::hincrbyfloat)
        .keys(KEY, &["RW", "access", "update"])
        .flags(Flags::DENY_OOM)
        .fast()
        .acl(ACL)
        .group("hash")
        .doc("2.6.0", "key field increment", "Adds a number with a fraction to a field.", "O(1)"),
    Command::read("hrandfield", at_least(1), random::hrandfield)
        .keys(KEY, &["RO", "access"])
        .acl(ACL)
        .group("hash")
        .doc(
            "6.2.0",
            "key [count [WITHVALUES]]",
            "Gives fields drawn at random.",
            "O(N) where N is the number of fields given; O(size) when these are many of the hash's.",
        ),
    Command::read("hscan", at_least(2), hscan).keys(KEY, &["RO", "access"]).acl(ACL).group("hash").doc(
        "2.8.0",
        "key cursor [MATCH pattern] [COUNT count] [NOVALUES]",
        "Walks over the fields of a hash step by step.",
        "O(1) for every call, O(N) for a whole walk over N fields.",
    ),
];

fn hset(call: &mut Call<'_>) -> Result {
    let created = set_fields(call)?;
    call.reply.integer(created);
    Ok(())
}

fn hmset(call: &mut Call<'_>) -> Result {
    set_fields(call)?;
    call.reply.ok();
    Ok(())
}

/// Sets the pairs from argument 2 on; gives how many fields are new.
fn set_fields(call: &mut Call<'_>) -> Result<i64> {
    let args = call.args;
    if !args.len().is_multiple_of(2) {
        return Err(wrong_arity(call.name()));
    }
    let mut hash = call.engine.data.entry(args.get(1)).hash()?;
    if args.len() == 4 {
        return Ok(i64::from(hash.set(args.get(2), args.get(3))));
    }
    let pairs = (2..args.len()).step_by(2).map(|index| (args.get(index), args.get(index + 1)));
    Ok(hash.set_fields(pairs) as i64)
}

fn hsetnx(call: &mut Call<'_>) -> Result {
    let args = call.args;
    let mut hash = call.engine.data.entry(args.get(1)).hash()?;
    let is_new = hash.get().is_none_or(|hash| !hash.contains(args.get(2)));
    if is_new {
        hash.set(args.get(2), args.get(3));
    }
    call.reply.integer(i64::from(is_new));
    Ok(())
}

fn value_reply(reply: &mut Reply, value: Option<StringRef<'_>>) {
    match value {
        Some(value) => string_reply(reply, value),
        None => reply.null(),
    }
}

fn hget(call: &mut Call<'_>) -> Result {
    let hash = call.engine.data.read_hash(call.args.get(1))?;
    value_reply(call.reply, hash.and_then(|hash| hash.get(call.args.get(2))));
    Ok(())
}

fn hmget(call: &mut Call<'_>) -> Result {
    let hash = call.engine.data.read_hash(call.args.get(1))?;
    call.reply.array(call.args.len() - 2);
    for field in call.args.iter().skip(2) {
        value_reply(call.reply, hash.and_then(|hash| hash.get(field)));
    }
    Ok(())
}

fn hgetall(call: &mut Call<'_>) -> Result {
    let hash = call.engine.data.read_hash(call.args.get(1))?;
    call.reply.map(hash.map_or(0, Hash::len));
    for (field, value) in hash.into_iter().flat_map(Hash::iter) {
        call.reply.bulk(field);
        string_reply(call.reply, value);
    }
    Ok(())
}

fn hkeys(call: &mut Call<'_>) -> Result {
    let hash = call.engine.data.read_hash(call.args.get(1))?;
    call.reply.array(hash.map_or(0, Hash::len));
    hash.into_iter().flat_map(Hash::iter).for_each(|(field, _)| call.reply.bulk(field));
    Ok(())
}

fn hvals(call: &mut Call<'_>) -> Result {
    let hash = call.engine.data.read_hash(call.args.get(1))?;
    call.reply.array(hash.map_or(0, Hash::len));
    hash.into_iter().flat_map(Hash::iter).for_each(|(_, value)| string_reply(call.reply, value));
    Ok(())
}

fn hdel(call: &mut Call<'_>) -> Result {
    let args = call.args;
    let mut hash = call.engine.data.entry(args.get(1)).hash()?;
    let deleted = hash.delete_fields(args.iter().skip(2));
    call.reply.integer(deleted as i64);
    Ok(())
}

fn hlen(call: &mut Call<'_>) -> Result {
    let length = call.engine.data.read_hash(call.args.get(1))?.map_or(0, Hash::len);
    call.reply.integer(length as i64);
    Ok(())
}

fn hstrlen(call: &mut Call<'_>) -> Result {
    let hash = call.engine.data.read_hash(call.args.get(1))?;
    let length = hash.and_then(|hash| hash.get(call.args.get(2))).map_or(0, |value| value.len());
    call.reply.integer(length as i64);
    Ok(())
}

fn hexists(call: &mut Call<'_>) -> Result {
    let hash = call.engine.data.read_hash(call.args.get(1))?;
    let is_there = hash.is_some_and(|hash| hash.contains(call.args.get(2)));
    call.reply.integer(i64::from(is_there));
    Ok(())
}

fn hscan(call: &mut Call<'_>) -> Result {
    let from = cursor(call, 2)?;
    let options = ScanOptions::read(call, 3, Walk::Hash);
    let mut elements = Reply::new(call.reply.protocol);
    let (mut count, mut next) = (0, 0);
    if let Some(hash) = call.engine.data.read_hash(call.args.get(1))? {
        // Options count only when there is a hash to walk over, and come after its type, as in Redis.
        let options = options?;
        next = hash.scan(from, options.count, &mut |field, value| {
            if !options.takes(field) {
                return;
            }
            elements.bulk(field);
            count += 1;
            if !options.without_values {
                string_reply(&mut elements, value);
                count += 1;
            }
        });
    }
    reply_step(call.reply, next, &elements, count);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::effect::Reader;
    use crate::resp::Protocol;
    use crate::testing::{Bench, check};
    use std::collections::BTreeSet;

    #[test]
    fn fields_are_set_read_and_deleted() {
        check(
            r#"
            > HGET h a
            (nil)
            > HSET h a 1 b 2 a 3
            (integer) 2
            > HSET h a 4 c 5
            (integer) 1
            > HMSET h d ""
            OK
            > HGET h a
            "4"
            > HGET h none
            (nil)
            > HMGET h a none d
            1) "4"
            2) (nil)
            3) ""
            > HMGET none a b
            1) (nil)
            2) (nil)
            > HSETNX h a 9
            (integer) 0
            > HSETNX h e 9
            (integer) 1
            > HSETNX new e 9
            (integer) 1
            > HLEN h
            (integer) 5
            > HLEN none
            (integer) 0
            > HSTRLEN h e
            (integer) 1
            > HSTRLEN h none
            (integer) 0
            > HSTRLEN none e
            (integer) 0
            > HEXISTS h e
            (integer) 1
            > HEXISTS h none
            (integer) 0
            > HEXISTS none e
            (integer) 0
            > HDEL h e d none d
            (integer) 2
            > HKEYS h
            1) "a"
            2) "b"
            3) "c"
            > HVALS h
            1) "4"
            2) "2"
            3) "5"
            > HGETALL h
            1) "a"
            2) "4"
            3) "b"
            4) "2"
            5) "c"
            6) "5"
            > HDEL h a b c a
            (integer) 3
            > EXISTS h
            (integer) 0
            > HDEL h a
            (integer) 0
            > HGETALL h
            (empty array)
            > HKEYS h
            (empty array)
            > HVALS h
            (empty array)
            "#,
        );
    }

    #[test]
    fn several_fields_are_one_effect_and_one_field_is_the_plain_one() {
        let mut bench = Bench::new();
        for (command, effects, bytes_max) in [
            ("HSET long-name-of-a-hash a 1 b 2 c 3", 1, 42),
            ("HSET long-name-of-a-hash d 4", 1, 30),
            ("HMSET long-name-of-a-hash a 5 a 6", 1, 37),
            ("HDEL long-name-of-a-hash a b none b", 1, 31),
            ("HDEL long-name-of-a-hash none d", 1, 28),
            ("HDEL long-name-of-a-hash none", 0, 0),
            ("HDEL long-name-of-a-hash c d", 1, 28),
        ] {
            bench.run(0, command);
            assert_eq!(Reader::new(&bench.effects).count(), effects, "{command}");
            assert!(bench.effects.len() <= bytes_max, "{command}: {} bytes", bench.effects.len());
        }
        bench.check("> EXISTS long-name-of-a-hash\n(integer) 0");
        assert_eq!(bench.engine.data.changes(), 10);
    }

    #[test]
    fn hgetall_is_a_map_in_resp3() {
        let mut bench = Bench::new();
        bench.speak(0, Protocol::Resp3);
        bench.check(
            r#"
            > HGETALL h
            (empty hash)
            > HSET h a 1 b 2
            (integer) 2
            > HGETALL h
            1# "a" => "1"
            2# "b" => "2"
            > HMGET h x
            1) (nil)
            "#,
        );
    }

    #[test]
    fn a_deadline_survives_changes_of_fields() {
        check(
            "
            > HSET h a 1
            (integer) 1
            > EXPIRE h 10
            (integer) 1
            > HSET h b 1
            (integer) 1
            > HDEL h a
            (integer) 1
            > TTL h
            (integer) 10
            +10000ms
            > HLEN h
            (integer) 0
            > HSET h c 1
            (integer) 1
            > TTL h
            (integer) -1
            ",
        );
    }

    #[test]
    fn other_types_and_odd_arguments_are_refused() {
        let mut bench = Bench::new();
        bench.check(
            "
            > SET s v
            OK
            > HSET h a
            (error) ERR wrong number of arguments for 'hset' command
            > HSET s a b c
            (error) ERR wrong number of arguments for 'hset' command
            > HMSET h a b c
            (error) ERR wrong number of arguments for 'hmset' command
            > HSCAN s abc
            (error) ERR invalid cursor
            > HSCAN s 0 FOO
            (error) WRONGTYPE Operation against a key holding the wrong kind of value
            > HRANDFIELD s
            (error) WRONGTYPE Operation against a key holding the wrong kind of value
            > HINCRBY s f x
            (error) ERR value is not an integer or out of range
            ",
        );
        let wrong = "(error) WRONGTYPE Operation against a key holding the wrong kind of value";
        for command in [
            "HSET s a b",
            "HMSET s a b",
            "HSETNX s a b",
            "HGET s a",
            "HMGET s a",
            "HGETALL s",
            "HDEL s a",
            "HLEN s",
            "HSTRLEN s a",
            "HEXISTS s a",
            "HKEYS s",
            "HVALS s",
            "HINCRBY s a 1",
            "HRANDFIELD s 0",
        ] {
            assert_eq!(bench.run(0, command), wrong, "{command}");
        }
        bench.check("> GET s\n\"v\"");
    }

    #[test]
    fn hscan_filters_and_may_leave_values_out() {
        check(
            r#"
            > HSCAN none 0 FOO
            1) "0"
            2) (empty array)
            > HSCAN none abc
            (error) ERR invalid cursor
            > HSET h aa 1 ab 2 b 3
            (integer) 3
            > HSCAN h 5 MATCH a*
            1) "0"
            2) 1) "aa"
            2) "1"
            3) "ab"
            4) "2"
            > HSCAN h 0 NOVALUES MATCH a* COUNT 1
            1) "0"
            2) 1) "aa"
            2) "ab"
            > HSCAN h 0 TYPE hash
            (error) ERR syntax error
            > HSCAN h 0 COUNT 0
            (error) ERR syntax error
            > HSCAN h 0 COUNT x
            (error) ERR value is not an integer or out of range
            > HSCAN h 0 MATCH
            (error) ERR syntax error
            "#,
        );
    }

    #[test]
    fn a_large_hash_is_walked_in_steps() {
        let mut bench = Bench::new();
        for number in 0..600 {
            bench.run_args(0, &["HSET", "h", &format!("f{number}"), "v"]);
        }
        let (mut cursor, mut seen, mut steps) = ("0".to_string(), BTreeSet::new(), 0);
        loop {
            let reply = bench.run(0, &format!("HSCAN h {cursor} COUNT 20 NOVALUES"));
            let mut words = reply.split('"').skip(1).step_by(2).map(str::to_owned);
            cursor = words.next().expect("a cursor");
            words.for_each(|field| assert!(seen.insert(field), "nothing comes twice"));
            steps += 1;
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 600);
        assert!(steps > 10);
    }
}
