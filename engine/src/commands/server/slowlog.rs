//! SLOWLOG.

use crate::call::Call;
use crate::command::{Command, Flags, at_least, exactly};
use crate::error::{ErrorReply, Result};

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
    crate::commands::help_of("slowlog|help").group("server"),
];

const BAD_COUNT: ErrorReply = ErrorReply::new("ERR count should be greater than or equal to -1");
const DEFAULT_COUNT: usize = 10;

fn get(call: &mut Call<'_>) -> Result {
    let count = match call.args.len() {
        2 => DEFAULT_COUNT,
        3 => match call.integer(2)? {
            -1 => usize::MAX,
            count => usize::try_from(count).map_err(|_| BAD_COUNT)?,
        },
        _ => return Err(crate::error::wrong_arity(call.name())),
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
