//! MEMORY USAGE.

use crate::call::Call;
use crate::command::{Command, Flags, Keys, at_least};
use crate::error::{Result, SYNTAX};

pub(super) const SUBCOMMANDS: &[Command] = &[
    Command::read("memory|usage", at_least(2), usage).keys(Keys::at(2), &["RO"]).group("server").doc(
        "4.0.0",
        "key [SAMPLES count]",
        "Estimates the memory usage of a key.",
        "O(1)",
    ),
    crate::commands::help_of("memory|help").flags(Flags::NONE).group("server"),
];

fn usage(call: &mut Call<'_>) -> Result {
    for index in (3..call.args.len()).step_by(2) {
        if !call.is_word(index, "SAMPLES") || index + 1 == call.args.len() {
            return Err(SYNTAX);
        }
        // The account is exact: nothing is sampled.
        if call.integer(index + 1)? < 0 {
            return Err(SYNTAX);
        }
    }
    match call.engine.data.peek(call.args.get(2)) {
        Some(entry) => call.reply.integer(entry.memory_bytes() as i64),
        None => call.reply.null(),
    }
    Ok(())
}
