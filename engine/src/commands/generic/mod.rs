//! Keys of any type: deleting, finding out about them, renaming, copying, moving.
//!
//! Lives here: the group's table and the commands on single keys.
//! Not here: deadlines (`expire`), walks over many keys (`scan`), OBJECT (`object`).

mod expire;
mod object;
pub(super) mod scan;

use crate::call::Call;
use crate::command::{Categories, Command, Flags, Keys, at_least, exactly};
use crate::error::{DATABASE_OUT_OF_RANGE, ErrorReply, NO_SUCH_KEY, Result, SAME_OBJECT, SYNTAX};
use crate::keyspace::Entry;

const ACL: Categories = Categories::KEYSPACE;
const KEY: Keys = Keys::at(1);
const KEY_LIST: Keys = Keys::range(1, -1, 1);
const TWO_KEYS: Keys = Keys::range(1, 2, 1);

pub const COMMANDS: &[Command] = &[
    Command::write("del", at_least(1), delete).keys(KEY_LIST, &["RM", "delete"]).acl(ACL).doc(
        "1.0.0",
        "key [key ...]",
        "Deletes keys.",
        "O(N) where N is the number of keys.",
    ),
    Command::write("unlink", at_least(1), delete).keys(KEY_LIST, &["RM", "delete"]).fast().acl(ACL).doc(
        "4.0.0",
        "key [key ...]",
        "Deletes keys, as DEL does.",
        "O(N) where N is the number of keys.",
    ),
    Command::read("exists", at_least(1), exists).keys(KEY_LIST, &["RO"]).fast().acl(ACL).doc(
        "1.0.0",
        "key [key ...]",
        "Counts which of the keys exist; a key named twice counts twice.",
        "O(N) where N is the number of keys.",
    ),
    Command::read("touch", at_least(1), touch).keys(KEY_LIST, &["RO"]).fast().acl(ACL).doc(
        "3.2.1",
        "key [key ...]",
        "Counts which of the keys exist and sets their time of last access.",
        "O(N) where N is the number of keys.",
    ),
    Command::read("type", exactly(1), kind).keys(KEY, &["RO"]).fast().acl(ACL).doc(
        "1.0.0",
        "key",
        "Tells the type of the value at a key.",
        "O(1)",
    ),
    Command::write("expire", at_least(2), expire::expire).keys(KEY, &["RW", "update"]).fast().acl(ACL).doc(
        "1.0.0",
        "key seconds [<NX | XX | GT | LT>]",
        "Sets how many seconds a key has left.",
        "O(1)",
    ),
    Command::write("pexpire", at_least(2), expire::pexpire).keys(KEY, &["RW", "update"]).fast().acl(ACL).doc(
        "2.6.0",
        "key milliseconds [<NX | XX | GT | LT>]",
        "Sets how many milliseconds a key has left.",
        "O(1)",
    ),
    Command::write("expireat", at_least(2), expire::expireat)
        .keys(KEY, &["RW", "update"])
        .fast()
        .acl(ACL)
        .doc(
            "1.2.0",
            "key unix-time-seconds [<NX | XX | GT | LT>]",
            "Sets a key's deadline in Unix seconds.",
            "O(1)",
        ),
    Command::write("pexpireat", at_least(2), expire::pexpireat)
        .keys(KEY, &["RW", "update"])
        .fast()
        .acl(ACL)
        .doc(
            "2.6.0",
            "key unix-time-milliseconds [<NX | XX | GT | LT>]",
            "Sets a key's deadline in Unix milliseconds.",
            "O(1)",
        ),
    Command::read("ttl", exactly(1), expire::ttl).keys(KEY, &["RO", "access"]).fast().acl(ACL).doc(
        "1.0.0",
        "key",
        "Tells how many seconds a key has left.",
        "O(1)",
    ),
    Command::read("pttl", exactly(1), expire::pttl).keys(KEY, &["RO", "access"]).fast().acl(ACL).doc(
        "2.6.0",
        "key",
        "Tells how many milliseconds a key has left.",
        "O(1)",
    ),
    Command::read("expiretime", exactly(1), expire::expiretime)
        .keys(KEY, &["RO", "access"])
        .fast()
        .acl(ACL)
        .doc("7.0.0", "key", "Tells a key's deadline in Unix seconds.", "O(1)"),
    Command::read("pexpiretime", exactly(1), expire::pexpiretime)
        .keys(KEY, &["RO", "access"])
        .fast()
        .acl(ACL)
        .doc("7.0.0", "key", "Tells a key's deadline in Unix milliseconds.", "O(1)"),
    Command::write("persist", exactly(1), expire::persist).keys(KEY, &["RW", "update"]).fast().acl(ACL).doc(
        "2.2.0",
        "key",
        "Takes the deadline of a key away.",
        "O(1)",
    ),
    Command::write("rename", exactly(2), rename).keys(TWO_KEYS, &["RW", "access", "delete"]).acl(ACL).doc(
        "1.0.0",
        "key newkey",
        "Renames a key, replacing what stands at the new name.",
        "O(1)",
    ),
    Command::write("renamenx", exactly(2), rename_if_free)
        .keys(TWO_KEYS, &["RW", "access", "delete"])
        .fast()
        .acl(ACL)
        .doc("1.0.0", "key newkey", "Renames a key if the new name is free.", "O(1)"),
    Command::write("copy", at_least(2), copy)
        .keys(TWO_KEYS, &["RO", "access"])
        .flags(Flags::DENY_OOM)
        .acl(ACL)
        .doc(
            "6.2.0",
            "source destination [DB destination-db] [REPLACE]",
            "Copies the value of a key, with its deadline, to another key.",
            "O(1): the copy shares large contents until one of the two changes.",
        ),
    Command::write("move", exactly(2), move_key).keys(KEY, &["RW", "access", "update"]).fast().acl(ACL).doc(
        "1.0.0",
        "key db",
        "Moves a key to another database.",
        "O(1)",
    ),
    Command::read("randomkey", exactly(0), scan::randomkey).flags(Flags::READS_MANY).acl(ACL).doc(
        "1.0.0",
        "",
        "Gives a key drawn at random.",
        "O(1)",
    ),
    Command::read("keys", exactly(1), scan::keys)
        .flags(Flags::READS_MANY)
        .acl(ACL.with(Categories::DANGEROUS))
        .doc(
            "1.0.0",
            "pattern",
            "Gives all keys that match a pattern.",
            "O(N) where N is the number of keys in the database.",
        ),
    Command::read("scan", at_least(1), scan::scan).flags(Flags::READS_MANY).acl(ACL).doc(
        "2.8.0",
        "cursor [MATCH pattern] [COUNT count] [TYPE type]",
        "Walks over the keys of the database step by step.",
        "O(1) for every call, O(N) for a whole walk over N keys.",
    ),
    Command::node("object", at_least(1), object::help).subcommands(object::SUBCOMMANDS).doc(
        "2.2.3",
        "",
        "A container for commands about how a key is stored.",
        "Depends on subcommand.",
    ),
];

/// What `look` tells of a key that is there; hits and misses are counted, the access clock stays.
fn examine<T>(call: &mut Call<'_>, key: &[u8], look: impl FnOnce(&Entry) -> T) -> Option<T> {
    let seen = call.engine.data.peek(key).map(look);
    let stats = &mut call.engine.data.stats;
    match seen {
        Some(_) => stats.keyspace_hits += 1,
        None => stats.keyspace_misses += 1,
    }
    seen
}

/// Calls `holds` with every key from argument 1 on and answers how often it was true.
fn count_keys(call: &mut Call<'_>, holds: fn(&mut Call<'_>, &[u8]) -> bool) -> Result {
    let mut count = 0;
    for index in 1..call.args.len() {
        count += i64::from(holds(call, call.arg(index)));
    }
    call.reply.integer(count);
    Ok(())
}

fn delete(call: &mut Call<'_>) -> Result {
    count_keys(call, |call, key| call.engine.data.entry(key).delete())
}

fn exists(call: &mut Call<'_>) -> Result {
    count_keys(call, |call, key| examine(call, key, |_| ()).is_some())
}

fn touch(call: &mut Call<'_>) -> Result {
    count_keys(call, |call, key| call.engine.data.read(key).is_some())
}

fn kind(call: &mut Call<'_>) -> Result {
    let kind = examine(call, call.arg(1), Entry::kind);
    call.reply.simple(kind.map_or("none", |kind| kind.name()));
    Ok(())
}

fn rename(call: &mut Call<'_>) -> Result {
    let (from, to) = (call.arg(1), call.arg(2));
    if call.engine.data.peek(from).is_none() {
        return Err(NO_SUCH_KEY);
    }
    if from != to {
        // A target past its deadline goes by itself first, so that it counts as expired.
        call.engine.data.peek(to);
        call.engine.data.rename(from, to);
    }
    call.reply.ok();
    Ok(())
}

fn rename_if_free(call: &mut Call<'_>) -> Result {
    let (from, to) = (call.arg(1), call.arg(2));
    if call.engine.data.peek(from).is_none() {
        return Err(NO_SUCH_KEY);
    }
    let is_free = from != to && call.engine.data.peek(to).is_none();
    if is_free {
        call.engine.data.rename(from, to);
    }
    call.reply.integer(i64::from(is_free));
    Ok(())
}

const NO_DATABASE_NUMBER: ErrorReply =
    ErrorReply::new("ERR value is out of range, value must between -2147483648 and 2147483647");

/// The database whose number is argument `index`.
fn database(call: &Call<'_>, index: usize) -> Result<u8> {
    let number = i32::try_from(call.integer(index)?).map_err(|_| NO_DATABASE_NUMBER)?;
    let count = call.engine.data.databases().count().min(call.engine.config.settings().databases as usize);
    match u8::try_from(number) {
        Ok(number) if usize::from(number) < count => Ok(number),
        _ => Err(DATABASE_OUT_OF_RANGE),
    }
}

/// Whether the key stands in another database.
fn stands_in(call: &mut Call<'_>, database: u8, key: &[u8]) -> bool {
    let current = call.engine.data.database();
    call.engine.data.select(database);
    let stands = call.engine.data.peek(key).is_some();
    call.engine.data.select(current);
    stands
}

fn copy(call: &mut Call<'_>) -> Result {
    let (from, to) = (call.arg(1), call.arg(2));
    let from_database = call.engine.data.database();
    let (mut to_database, mut replaces) = (from_database, false);
    let mut index = 3;
    while index < call.args.len() {
        if call.is_word(index, "REPLACE") {
            replaces = true;
        } else if call.is_word(index, "DB") && index + 1 < call.args.len() {
            index += 1;
            to_database = database(call, index)?;
        } else {
            return Err(SYNTAX);
        }
        index += 1;
    }
    if from_database == to_database && from == to {
        return Err(SAME_OBJECT);
    }
    let is_copied = call.engine.data.read(from).is_some() && (!stands_in(call, to_database, to) || replaces);
    if is_copied {
        call.engine.data.copy(from, to_database, to);
    }
    call.reply.integer(i64::from(is_copied));
    Ok(())
}

fn move_key(call: &mut Call<'_>) -> Result {
    let key = call.arg(1);
    let to_database = database(call, 2)?;
    if to_database == call.engine.data.database() {
        return Err(SAME_OBJECT);
    }
    let is_moved = call.engine.data.peek(key).is_some() && !stands_in(call, to_database, key);
    if is_moved {
        call.engine.data.move_key(key, to_database);
    }
    call.reply.integer(i64::from(is_moved));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn deleting_and_counting_go_key_by_key() {
        check(
            "
            > SET a 1
            OK
            > HSET h f v
            (integer) 1
            > EXISTS a a h none
            (integer) 3
            > TYPE a
            string
            > TYPE h
            hash
            > TYPE none
            none
            > DEL a a none
            (integer) 1
            > UNLINK h none
            (integer) 1
            > EXISTS a h
            (integer) 0
            > DEL
            (error) ERR wrong number of arguments for 'del' command
            ",
        );
    }

    #[test]
    fn a_due_key_is_not_there_to_be_deleted() {
        check(
            "
            > SET a 1 PX 10
            OK
            +10ms
            > DEL a
            (integer) 0
            ",
        );
    }

    #[test]
    fn rename_carries_value_and_deadline() {
        check(
            r#"
            > RENAME a a
            (error) ERR no such key
            > RENAMENX a b
            (error) ERR no such key
            > SET a 1 EX 10
            OK
            > SET b 2
            OK
            > RENAMENX a b
            (integer) 0
            > RENAMENX a a
            (integer) 0
            > RENAME a a
            OK
            > RENAME a b
            OK
            > GET b
            "1"
            > TTL b
            (integer) 10
            > EXISTS a
            (integer) 0
            > RENAMENX b c
            (integer) 1
            > SET d 1 PX 5
            OK
            +5ms
            > RENAMENX c d
            (integer) 1
            > RENAME c d
            (error) ERR no such key
            > HSET h f v
            (integer) 1
            > RENAME h d
            OK
            > HGET d f
            "v"
            > TTL d
            (integer) -1
            "#,
        );
    }

    #[test]
    fn copy_leaves_the_source_and_replaces_only_when_told() {
        check(
            r#"
            > HSET h f v
            (integer) 1
            > EXPIRE h 100
            (integer) 1
            > COPY h i
            (integer) 1
            > HSET i f w
            (integer) 0
            > HGET h f
            "v"
            > TTL i
            (integer) 100
            > SET s 1
            OK
            > COPY s i
            (integer) 0
            > COPY s i REPLACE
            (integer) 1
            > TTL i
            (integer) -1
            > COPY s s
            (error) ERR source and destination objects are the same
            > COPY none none
            (error) ERR source and destination objects are the same
            > COPY none i REPLACE
            (integer) 0
            > COPY s s DB 1
            (integer) 1
            > COPY s s DB 1
            (integer) 0
            > COPY s s db 1 replace
            (integer) 1
            > COPY s t DB x
            (error) ERR value is not an integer or out of range
            > COPY s t DB 99
            (error) ERR DB index is out of range
            > COPY s t DB -1
            (error) ERR DB index is out of range
            > COPY s t DB 99999999999
            (error) ERR value is out of range, value must between -2147483648 and 2147483647
            > COPY s t DB
            (error) ERR syntax error
            > COPY none t FOO
            (error) ERR syntax error
            "#,
        );
    }

    #[test]
    fn move_takes_a_key_to_a_database_where_it_is_not() {
        check(
            "
            > SET a 1 PX 50
            OK
            > MOVE a 1
            (integer) 1
            > EXISTS a
            (integer) 0
            > MOVE a 1
            (integer) 0
            > SET a 2
            OK
            > MOVE a 1
            (integer) 0
            +50ms
            > MOVE a 1
            (integer) 1
            > MOVE a 0
            (error) ERR source and destination objects are the same
            > MOVE a x
            (error) ERR value is not an integer or out of range
            > MOVE a 16
            (error) ERR DB index is out of range
            > MOVE a 9999999999
            (error) ERR value is out of range, value must between -2147483648 and 2147483647
            ",
        );
    }
}
