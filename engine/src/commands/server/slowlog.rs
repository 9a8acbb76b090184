//! SLOWLOG's replies. The log itself is `crate::slowlog`.

use crate::call::Call;
use crate::command::{Command, Flags, at_least, exactly};
use crate::error::{ErrorReply, Result};
use crate::number::integer;

const fn sub(name: &'static str, arity: i16, handler: crate::command::Handler) -> Command {
    Command::node(name, arity, handler)
        .flags(Flags::ADMIN.with(Flags::LOADING).with(Flags::STALE))
        .group("server")
}

pub(super) const SUBCOMMANDS: &[Command] = &[
    sub("slowlog|get", at_least(1), get).doc(
        "2.2.12",
        "[count]",
        "Returns the slow log's entries.",
        "O(N) where N is the number of entries returned",
    ),
    sub("slowlog|len", exactly(1), len).doc(
        "2.2.12",
        "",
        "Returns the number of entries in the slow log.",
        "O(1)",
    ),
    sub("slowlog|reset", exactly(1), reset).doc(
        "2.2.12",
        "",
        "Clears all entries from the slow log.",
        "O(N) where N is the number of entries",
    ),
    Command::node("slowlog|help", exactly(1), help)
        .flags(Flags::LOADING.with(Flags::STALE))
        .group("server")
        .doc("6.2.0", "", "Returns helpful text about the different subcommands.", "O(1)"),
];

const BAD_COUNT: ErrorReply = ErrorReply::new("ERR count should be greater than or equal to -1");
const DEFAULT_COUNT: usize = 10;

fn get(call: &mut Call<'_>) -> Result {
    let count = match call.args.len() {
        2 => DEFAULT_COUNT,
        3 => match integer::parse(call.arg(2)) {
            Some(-1) => usize::MAX,
            count => count.and_then(|count| usize::try_from(count).ok()).ok_or(BAD_COUNT)?,
        },
        _ => return Err(crate::commands::too_many_arguments(call)),
    };
    let entries: Vec<_> = call.engine.slowlog.iter().take(count).cloned().collect();
    call.reply.array(entries.len());
    for entry in entries {
        call.reply.array(6);
        call.reply.integer(entry.id as i64);
        call.reply.integer(entry.at_seconds);
        call.reply.integer(entry.duration_us as i64);
        call.reply.array(entry.arguments.len());
        entry.arguments.iter().for_each(|argument| call.reply.bulk(argument));
        call.reply.bulk(entry.client_address.as_bytes());
        call.reply.bulk(&entry.client_name);
    }
    Ok(())
}

fn len(call: &mut Call<'_>) -> Result {
    call.reply.integer(call.engine.slowlog.len() as i64);
    Ok(())
}

fn reset(call: &mut Call<'_>) -> Result {
    call.engine.slowlog.reset();
    call.reply.ok();
    Ok(())
}

fn help(call: &mut Call<'_>) -> Result {
    crate::commands::print_help(
        call,
        &[
            "GET [<count>]",
            "    Return the newest <count> entries (default: 10, -1 means all).",
            "    An entry has these parts:",
            "    id, time in seconds since 1970, duration in microseconds, arguments,",
            "    address of the client, name of the client",
            "LEN",
            "    Return the number of entries.",
            "RESET",
            "    Forget all entries.",
        ],
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Bench, check};

    #[test]
    fn slow_commands_are_kept_and_forgotten() {
        check(
            "
            > SLOWLOG GET
            (empty array)
            > CONFIG SET slowlog-log-slower-than 0 slowlog-max-len 2
            OK
            > ECHO v
            \"v\"
            > SLOWLOG GET 1
            1) 1) (integer) 1
               2) (integer) 1700000000
               3) (integer) 0
               4) 1) \"ECHO\"
                  2) \"v\"
               5) \"127.0.0.1:1\"
               6) \"\"
            > SLOWLOG LEN
            (integer) 2
            > CONFIG SET slowlog-log-slower-than -1
            OK
            > SLOWLOG RESET
            OK
            > SLOWLOG LEN
            (integer) 0
            > SLOWLOG GET x
            (error) ERR count should be greater than or equal to -1
            > SLOWLOG GET -2
            (error) ERR count should be greater than or equal to -1
            > SLOWLOG GET -1
            (empty array)
            ",
        );
    }

    #[test]
    fn passwords_are_not_kept() {
        let mut bench = Bench::new();
        bench.check("> CONFIG SET slowlog-log-slower-than 0\nOK\n> CONFIG SET hz 20 requirepass secret\nOK");
        bench.run(0, "AUTH default secret");
        bench.run(0, "HELLO 2 AUTH default secret SETNAME me");
        let text = bench.run(0, "SLOWLOG GET -1");
        assert!(!text.contains("secret"), "{text}");
        assert_eq!(text.matches("(redacted)").count(), 5);
        assert!(text.contains("\"me\"") && text.contains("\"20\""));
    }
}
