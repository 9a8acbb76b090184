//! DEBUG: what test suites ask of a server, only where `enable-debug-command` permits it.
//!
//! Lives here: the subcommands and whether they may run. They are no subcommands of the table:
//! COMMAND and the statistics know DEBUG alone, as clients are used to.
//! Not here: the rebuild and the standstill, which the node does when asked by an action.
//!
//! Invariant: nothing here changes data but POPULATE, and that by the mutators every write uses.

use crate::call::Call;
use crate::effect::Expiry;
use crate::error::{ErrorReply, NO_SUCH_KEY, Result, SYNTAX};
use crate::keyspace::Entry;
use crate::number::{double, integer};
use crate::resp::Protocol;
use crate::{Action, Availability, Blocked, SnapshotAsked};

const NOT_ALLOWED: ErrorReply = ErrorReply::new(
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.",
);
const NOT_POSITIVE: ErrorReply = ErrorReply::new("ERR value is out of range, must be positive");
const NOT_IN_TRANSACTION: ErrorReply = ErrorReply::new("ERR Command not allowed inside a transaction");
const NO_PUSH_IN_RESP2: ErrorReply = ErrorReply::new("ERR RESP2 is not supported by this command");
const PROTOCOL_TYPES: ErrorReply = ErrorReply::new(
    "ERR Wrong protocol type name. Please use one of the following: string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
);
const THRESHOLD: ErrorReply =
    ErrorReply::new("ERR argument must be a memory value bigger than 1 and smaller than 4gb");

const SLEEP_SECONDS_MAX: f64 = 3600.0;
const NUMBER_BYTES_MAX: usize = 64;
const MATCHED_BYTES_MAX: i64 = 1 << 20;
const POPULATED_BYTES_MAX: i64 = 512 << 20;

const HELP: &[&str] = &[
    "DIGEST",
    "    Return a digest of the logical content of all databases.",
    "DIGEST-VALUE [<key> ...]",
    "    Return a digest of the value of each key.",
    "DICT-RESIZING <0|1>",
    "    Accepted for test suites: tables have no such switch.",
    "ERROR <string>",
    "    Return an error of this text.",
    "LOADAOF",
    "    Wait until everything is committed, then rebuild the data from the log.",
    "LOG <message>",
    "    Accepted for test suites: nothing is kept.",
    "OBJECT <key> [fast]",
    "    Return low level facts about a key and its value.",
    "PAUSE-CRON <0|1>",
    "    Accepted for test suites: there is no such cycle.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Create <count> string keys named <prefix>:<number>, `key` being the",
    "    prefix unless another is given. Keys that exist stay as they are.",
    "    They are written to the log like any others.",
    "PROTOCOL <type>",
    "    Reply with a value of this type: string, integer, double, bignum, null,",
    "    array, set, map, attrib, push, verbatim, true, false.",
    "QUICKLIST-PACKED-THRESHOLD <size>",
    "    Accepted for test suites: lists have no such threshold.",
    "RELOAD",
    "    The same as LOADAOF.",
    "REPLYBUFFER PEAK-RESET-TIME <NEVER|RESET|time>",
    "REPLYBUFFER RESIZING <0|1>",
    "    Accepted for test suites: reply buffers have no such settings.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Switch the deletion of expired keys that nobody asks for.",
    "SET-DISABLE-DENY-SCRIPTS <0|1>",
    "    Accepted for test suites.",
    "SLEEP <seconds>",
    "    Let the whole server stand still. Decimals are allowed.",
    "STRINGMATCH-LEN <len> <pattern>",
    "    Match a pattern against a text of <len> letters `a`, to measure it.",
];

pub(super) fn debug(call: &mut Call<'_>) -> Result {
    let is_local = super::config::is_local(&call.session.address);
    if !call.engine.config.settings().enable_debug_command.permits(is_local) {
        return Err(NOT_ALLOWED);
    }
    let word = call.arg(1).to_ascii_lowercase();
    match (word.as_slice(), call.args.len()) {
        (b"help", 2) => crate::commands::print_help(call, HELP),
        (b"sleep", 3) => return sleep(call),
        (b"set-active-expire", 3) => {
            call.engine.is_active_expire = call.integer(2).unwrap_or(0) != 0;
            call.reply.ok();
        }
        (b"loadaof", 2) => return rebuild(call),
        (b"reload", 2..) => return reload(call),
        (b"digest", 2) => digest(call),
        (b"digest-value", _) => digest_value(call),
        (b"object", 3 | 4) => return object(call),
        (b"protocol", 3) => return protocol(call),
        (b"error", 3) => return Err(ErrorReply::owned(call.arg(2))),
        (b"populate", 3..=5) => return populate(call),
        (b"stringmatch-len", 4) => return string_match(call),
        (b"quicklist-packed-threshold", 3) => return threshold(call),
        (b"log" | b"dict-resizing" | b"pause-cron" | b"set-disable-deny-scripts", 3) => call.reply.ok(),
        (b"replybuffer", 4) if call.is_word(2, "PEAK-RESET-TIME") || call.is_word(2, "RESIZING") => {
            call.reply.ok();
        }
        _ => {
            let rest: &[u8] = b"'. Try DEBUG HELP.";
            let start: &[u8] = b"ERR unknown subcommand or wrong number of arguments for '";
            return Err(ErrorReply::owned([start, call.arg(1), rest].concat()));
        }
    }
    Ok(())
}

/// The command counts as one that took that long. As in Redis the number is what the word begins with, or 0.
fn sleep(call: &mut Call<'_>) -> Result {
    let word = &call.arg(2)[..call.arg(2).len().min(NUMBER_BYTES_MAX)];
    let seconds = (1..=word.len()).rev().find_map(|end| double::parse(&word[..end]));
    let seconds = seconds.unwrap_or(0.0).clamp(0.0, SLEEP_SECONDS_MAX);
    let microseconds = (seconds * 1e6) as u64;
    call.engine.sleep_ns += microseconds * 1000;
    call.engine.actions.push(Action::Sleep { microseconds });
    call.reply.ok();
    Ok(())
}

/// A snapshot, then everything is read again from it and the log.
fn reload(call: &mut Call<'_>) -> Result {
    if call.session.is_in_exec {
        return Err(NOT_IN_TRANSACTION);
    }
    call.session.blocked = Some(Blocked::Action);
    call.engine.actions.push(Action::Snapshot { asked: SnapshotAsked::Reload(call.session.id) });
    Ok(())
}

fn rebuild(call: &mut Call<'_>) -> Result {
    if call.session.is_in_exec {
        return Err(NOT_IN_TRANSACTION);
    }
    call.session.blocked = Some(Blocked::Action);
    call.engine.actions.push(Action::Rebuild { session: call.session.id });
    Ok(())
}

/// Forty digits, as clients of other servers expect.
fn digits(digest: u128) -> String {
    format!("{digest:040x}")
}

fn digest(call: &mut Call<'_>) {
    call.engine.data.depend_on_all();
    call.reply.simple(&digits(call.engine.data.digest()));
}

fn digest_value(call: &mut Call<'_>) {
    call.reply.array(call.args.len() - 2);
    for index in 2..call.args.len() {
        let digest = call.engine.data.peek(call.arg(index)).map_or(0, Entry::value_digest);
        call.reply.simple(&digits(digest));
    }
}

fn object(call: &mut Call<'_>) -> Result {
    let entry = call.engine.data.peek(call.arg(2)).ok_or(NO_SUCH_KEY)?;
    let (encoding, access, bytes) = (entry.encoding().name(), entry.access(), entry.memory_bytes());
    let length = if call.args.len() == 4 && call.is_word(3, "fast") {
        String::new()
    } else {
        format!(" serializedlength:{bytes}")
    };
    let idle = call.engine.data.access.idle_seconds(access);
    call.reply.simple(&format!(
        "Value at:0x0 refcount:1 encoding:{encoding}{length} lru:{access} lru_seconds_idle:{idle}"
    ));
    Ok(())
}

fn threshold(call: &mut Call<'_>) -> Result {
    let argument = call.arg(2).to_ascii_lowercase();
    let digits = argument.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let is_unit = matches!(&argument[digits..], b"" | b"b" | b"k" | b"kb" | b"m" | b"mb" | b"g" | b"gb");
    if digits == 0 || !is_unit {
        return Err(THRESHOLD);
    }
    call.reply.ok();
    Ok(())
}

fn string_match(call: &mut Call<'_>) -> Result {
    let length = call.integer(2)?;
    if !(0..=MATCHED_BYTES_MAX).contains(&length) {
        return Err(SYNTAX);
    }
    let is_match = crate::glob::matches(call.arg(3), &vec![b'a'; length as usize], false);
    call.reply.integer(i64::from(is_match));
    Ok(())
}

/// `count` strings that are not there yet, each its own change.
fn populate(call: &mut Call<'_>) -> Result {
    match &call.engine.availability {
        Availability::Primary => {}
        Availability::ReadOnly(error)
        | Availability::Unavailable(error)
        | Availability::NoPrimary(error)
        | Availability::Replica { write: error, .. } => return Err(error.clone()),
    }
    let positive =
        |index: usize| integer::parse(call.arg(index)).filter(|number| *number >= 0).ok_or(NOT_POSITIVE);
    let count = positive(2)?;
    let prefix: &[u8] = if call.args.len() > 3 { call.arg(3) } else { b"key" };
    let size = if call.args.len() > 4 { Some(positive(4)?) } else { None };
    if size.is_some_and(|size| size > POPULATED_BYTES_MAX) {
        return Err(crate::error::STRING_TOO_LONG);
    }
    for number in 0..count {
        let number = number.to_string();
        let key = [prefix, b":", number.as_bytes()].concat();
        let mut value = [b"value:", number.as_bytes()].concat();
        if let Some(size) = size {
            value.resize(size as usize, 0);
        }
        let mut entry = call.engine.data.entry(&key);
        if !entry.exists() {
            entry.set_string(&value, Expiry::None);
        }
        // What the log has no room for is taken back as a whole.
        if call.engine.data.effects_bytes() as u64 > call.engine.room_bytes {
            break;
        }
    }
    call.reply.ok();
    Ok(())
}

#[allow(clippy::approx_constant, reason = "the value that test suites expect, not a number of mathematics")]
fn protocol(call: &mut Call<'_>) -> Result {
    let reply = &mut *call.reply;
    let is_resp3 = reply.protocol == Protocol::Resp3;
    match call.args.get(2).to_ascii_lowercase().as_slice() {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.integer(12345),
        b"double" => reply.double(3.141),
        b"bignum" => reply.big_number(b"1234567999999999999999999999999999999"),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|number| reply.integer(number));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|number| reply.integer(number));
        }
        b"map" => {
            reply.map(3);
            for number in 0..3 {
                reply.integer(number);
                reply.boolean(number == 1);
            }
        }
        b"attrib" => {
            if is_resp3 {
                reply.attribute(1);
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.integer(90);
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        b"push" if !is_resp3 => return Err(NO_PUSH_IN_RESP2),
        b"push" => {
            reply.bulk(b"Some real reply following the push reply");
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.integer(42);
        }
        b"verbatim" => reply.verbatim(*b"txt", b"This is a verbatim\nstring"),
        b"true" => reply.boolean(true),
        b"false" => reply.boolean(false),
        _ => return Err(PROTOCOL_TYPES),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::resp::Protocol;
    use crate::testing::{Bench, check};
    use crate::{Action, Blocked};

    fn permitted() -> Bench {
        let mut bench = Bench::new();
        bench.engine.config.set_at_start("enable-debug-command", &[b"local"]).expect("a valid value");
        bench
    }

    #[test]
    fn debug_is_refused_unless_the_configuration_permits_it() {
        check(
            "
            > DEBUG DIGEST
            (error) ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.
            ",
        );
    }

    #[test]
    fn unknown_words_and_wrong_counts_are_one_error() {
        permitted().check(
            "
            > DEBUG JUNK
            (error) ERR unknown subcommand or wrong number of arguments for 'JUNK'. Try DEBUG HELP.
            > DEBUG SLEEP
            (error) ERR unknown subcommand or wrong number of arguments for 'SLEEP'. Try DEBUG HELP.
            > DEBUG REPLYBUFFER junk 1
            (error) ERR unknown subcommand or wrong number of arguments for 'REPLYBUFFER'. Try DEBUG HELP.
            > DEBUG REPLYBUFFER RESIZING 0
            OK
            > DEBUG PAUSE-CRON 1
            OK
            > DEBUG QUICKLIST-PACKED-THRESHOLD 100b
            OK
            > DEBUG QUICKLIST-PACKED-THRESHOLD x
            (error) ERR argument must be a memory value bigger than 1 and smaller than 4gb
            > DEBUG STRINGMATCH-LEN 10 a*
            (integer) 1
            > DEBUG STRINGMATCH-LEN -1 a*
            (error) ERR syntax error
            > DEBUG ERROR \"MY error\"
            (error) MY error
            > DEBUG OBJECT nokey
            (error) ERR no such key
            ",
        );
    }

    #[test]
    fn populate_makes_the_keys_that_are_missing() {
        permitted().check(
            "
            > SET key:1 mine
            OK
            > DEBUG POPULATE 3
            OK
            > MGET key:0 key:1 key:2 key:3
            1) \"value:0\"
            2) \"mine\"
            3) \"value:2\"
            4) (nil)
            > DEBUG POPULATE 1 p 10
            OK
            > GET p:0
            \"value:0\\x00\\x00\\x00\"
            > DEBUG POPULATE x
            (error) ERR value is out of range, must be positive
            > DBSIZE
            (integer) 4
            ",
        );
    }

    #[test]
    fn populate_is_taken_back_when_the_log_has_no_room() {
        let mut bench = permitted();
        bench.engine.room_bytes = 1000;
        assert!(bench.run(0, "DEBUG POPULATE 1000000000").starts_with("(error) MISCONF "));
        bench.check("> DBSIZE\n(integer) 0");
    }

    #[test]
    fn digests_follow_content_alone() {
        let mut bench = permitted();
        let zeros = "0".repeat(40);
        assert_eq!(bench.run(0, "DEBUG DIGEST"), zeros);
        bench.check("> SET a 1\nOK\n> SET b 1\nOK\n> SET c 2\nOK");
        let values = bench.run(0, "DEBUG DIGEST-VALUE a b c nokey");
        let values: Vec<&str> = values.lines().map(|line| &line[3..]).collect();
        assert!(values[0] == values[1] && values[1] != values[2] && values[3] == zeros);
        let before = bench.run(0, "DEBUG DIGEST");
        bench.check("> SET a 2\nOK\n> SET a 1\nOK");
        assert_eq!(bench.run(0, "DEBUG DIGEST"), before);
    }

    #[test]
    fn sleeping_and_rebuilding_are_asked_of_the_node() {
        let mut bench = permitted();
        bench.check("> CONFIG SET latency-monitor-threshold 100 slowlog-log-slower-than 100000\nOK\n> DEBUG SLEEP 0.25\nOK");
        assert!(bench.engine.actions.contains(&Action::Sleep { microseconds: 250_000 }));
        bench.check("> SLOWLOG LEN\n(integer) 1");
        bench.check("> LATENCY LATEST\n1) 1) \"command\"\n2) (integer) 1700000000\n3) (integer) 250\n4) (integer) 250");
        assert_eq!(bench.run(0, "DEBUG LOADAOF"), "");
        assert_eq!(bench.session(0).blocked, Some(Blocked::Action));
        bench.check("1> MULTI\nOK\n1> DEBUG RELOAD\nQUEUED\n1> EXEC\n1) (error) ERR Command not allowed inside a transaction");
    }

    #[test]
    fn every_type_of_reply_can_be_asked_for() {
        let mut bench = permitted();
        bench.check("> DEBUG PROTOCOL push\n(error) ERR RESP2 is not supported by this command");
        bench.check("> DEBUG PROTOCOL attrib\n\"Some real reply following the attribute\"");
        bench.speak(0, Protocol::Resp3);
        bench.check("> DEBUG PROTOCOL map\n1# (integer) 0 => (false)\n2# (integer) 1 => (true)\n3# (integer) 2 => (false)");
        bench.check("> DEBUG PROTOCOL double\n(double) 3.141\n> DEBUG PROTOCOL null\n(nil)");
        let attribute = bench.run_args(0, &["DEBUG", "PROTOCOL", "attrib"]);
        assert!(attribute.starts_with(b"|1\r\n$14\r\nkey-popularity\r\n*2\r\n"));
        assert!(bench.run(0, "DEBUG PROTOCOL junk").starts_with("(error) ERR Wrong protocol type name."));
    }
}
