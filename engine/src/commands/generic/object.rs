//! OBJECT: how a key is stored and when it was last used.

use super::examine;
use crate::call::Call;
use crate::command::{Categories, Command, Flags, Keys, exactly};
use crate::error::{ErrorReply, Result};
use crate::keyspace::Entry;

const KEY: Keys = Keys::at(2);

pub const SUBCOMMANDS: &[Command] =
    &[
        Command::read("object|encoding", exactly(2), encoding)
            .keys(KEY, &["RO"])
            .acl(Categories::KEYSPACE)
            .doc("2.2.3", "key", "Tells the form in which a value is stored.", "O(1)"),
        Command::read("object|freq", exactly(2), freq).keys(KEY, &["RO"]).acl(Categories::KEYSPACE).doc(
            "4.0.0",
            "key",
            "Tells how often a key is used, on a logarithmic scale.",
            "O(1)",
        ),
        Command::node("object|help", exactly(1), help)
            .flags(Flags::LOADING.with(Flags::STALE))
            .acl(Categories::KEYSPACE)
            .doc("6.2.0", "", "Tells about the subcommands.", "O(1)"),
        Command::read("object|idletime", exactly(2), idletime)
            .keys(KEY, &["RO"])
            .acl(Categories::KEYSPACE)
            .doc("2.2.3", "key", "Tells how many seconds ago a key was last used.", "O(1)"),
        Command::read("object|refcount", exactly(2), refcount)
            .keys(KEY, &["RO"])
            .acl(Categories::KEYSPACE)
            .doc("2.2.3", "key", "Tells how many references the value at a key has.", "O(1)"),
    ];

const FREQUENCY_NOT_TRACKED: ErrorReply = ErrorReply::new(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
);
const IDLE_TIME_NOT_TRACKED: ErrorReply = ErrorReply::new(
    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
);

fn encoding(call: &mut Call<'_>) -> Result {
    match examine(call, call.arg(2), Entry::encoding) {
        Some(encoding) => call.reply.bulk(encoding.name().as_bytes()),
        None => call.reply.null(),
    }
    Ok(())
}

fn refcount(call: &mut Call<'_>) -> Result {
    match examine(call, call.arg(2), |_| ()) {
        Some(()) => call.reply.integer(1),
        None => call.reply.null(),
    }
    Ok(())
}

fn idletime(call: &mut Call<'_>) -> Result {
    let Some(access) = examine(call, call.arg(2), Entry::access) else {
        call.reply.null();
        return Ok(());
    };
    if call.engine.config.settings().maxmemory_policy.counts_frequency() {
        return Err(IDLE_TIME_NOT_TRACKED);
    }
    call.reply.integer(i64::from(call.engine.data.access.idle_seconds(access)));
    Ok(())
}

fn freq(call: &mut Call<'_>) -> Result {
    match examine(call, call.arg(2), Entry::access) {
        Some(access) => {
            let counter = call.engine.data.access.counter(access).ok_or(FREQUENCY_NOT_TRACKED)?;
            call.reply.integer(i64::from(counter));
        }
        None => call.reply.null(),
    }
    Ok(())
}

const HELP: [&str; 14] = [
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Tells the form in which the value at <key> is stored.",
    "FREQ <key>",
    "    Tells how often <key> is used, on a logarithmic scale from 0 to 255. Only under",
    "    an LFU maxmemory policy.",
    "IDLETIME <key>",
    "    Tells how many seconds ago <key> was last used. Not under an LFU maxmemory",
    "    policy.",
    "REFCOUNT <key>",
    "    Tells how many references the value at <key> has: one, values are not shared",
    "    between keys.",
    "HELP",
    "    Prints this help.",
];

pub fn help(call: &mut Call<'_>) -> Result {
    call.reply.array(HELP.len());
    HELP.iter().for_each(|line| call.reply.simple(line));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn object_tells_of_encodings_and_references() {
        check(
            r#"
            > SET i 12
            OK
            > SET s short
            OK
            > SET l 123456789012345678901234567890123456789012345
            OK
            > HSET h f v
            (integer) 1
            > OBJECT ENCODING i
            "int"
            > OBJECT ENCODING s
            "embstr"
            > OBJECT ENCODING l
            "raw"
            > object encoding h
            "listpack"
            > OBJECT ENCODING none
            (nil)
            > OBJECT REFCOUNT s
            (integer) 1
            > OBJECT REFCOUNT none
            (nil)
            > OBJECT FREQ none
            (nil)
            > OBJECT FREQ s
            (error) ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.
            > OBJECT ENCODING
            (error) ERR wrong number of arguments for 'object|encoding' command
            > OBJECT
            (error) ERR wrong number of arguments for 'object' command
            > OBJECT FOO x
            (error) ERR unknown subcommand 'FOO'. Try OBJECT HELP.
            "#,
        );
        assert_eq!(Bench::new().run(0, "OBJECT HELP").lines().count(), 14);
    }

    #[test]
    fn frequency_is_counted_under_a_policy_that_asks_for_it() {
        let mut bench = Bench::new();
        bench.check(
            "
            > CONFIG SET maxmemory-policy allkeys-lfu
            OK
            > SET k v
            OK
            > OBJECT FREQ k
            (integer) 5
            > GET k
            \"v\"
            > OBJECT FREQ k
            (integer) 6
            +120000ms
            > OBJECT FREQ k
            (integer) 4
            > CLIENT NO-TOUCH on
            OK
            > GET k
            \"v\"
            > OBJECT FREQ k
            (integer) 4
            > OBJECT FREQ none
            (nil)
            ",
        );
        assert!(
            bench.run(0, "OBJECT IDLETIME k").starts_with("(error) ERR An LFU maxmemory policy is selected")
        );
    }

    #[test]
    fn a_new_key_has_just_been_used() {
        check(
            "
            +7000ms
            > CLIENT NO-TOUCH on
            OK
            > SET a v
            OK
            > INCR b
            (integer) 1
            > APPEND c v
            (integer) 1
            > HSET d f v
            (integer) 1
            > COPY a e
            (integer) 1
            > OBJECT IDLETIME a
            (integer) 0
            > OBJECT IDLETIME b
            (integer) 0
            > OBJECT IDLETIME c
            (integer) 0
            > OBJECT IDLETIME d
            (integer) 0
            > OBJECT IDLETIME e
            (integer) 0
            ",
        );
    }

    #[test]
    fn idle_time_runs_until_the_key_is_read_and_object_does_not_stop_it() {
        check(
            r#"
            > SET k v
            OK
            > GET k
            "v"
            > OBJECT IDLETIME none
            (nil)
            +5000ms
            > EXISTS k
            (integer) 1
            > TYPE k
            string
            > OBJECT IDLETIME k
            (integer) 5
            > TOUCH k k none
            (integer) 2
            > OBJECT IDLETIME k
            (integer) 0
            "#,
        );
    }
}
