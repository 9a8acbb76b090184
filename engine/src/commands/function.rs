//! FUNCTION, as far as it can be true without an engine for scripts: there is no library.
//!
//! Lives here: listing and removing the libraries, of which there are none. Not here: loading one, which is refused as
//! an unknown subcommand until scripts exist.

use crate::call::Call;
use crate::command::{Categories, Command, Flags, at_least, exactly};
use crate::error::{ErrorReply, Result};

pub const COMMANDS: &[Command] = &[Command::node("function", at_least(1), crate::commands::container)
    .group("scripting")
    .subcommands(SUBCOMMANDS)
    .doc("7.0.0", "", "A container for function commands.", "Depends on subcommand.")];

const SUBCOMMANDS: &[Command] = &[
    Command::write("function|flush", at_least(1), flush)
        .flags(Flags::NO_SCRIPT)
        .acl(Categories::SCRIPTING)
        .group("scripting")
        .doc(
            "7.0.0",
            "[<ASYNC | SYNC>]",
            "Deletes all libraries and functions.",
            "O(N) where N is the number of functions deleted",
        ),
    Command::node("function|list", at_least(1), list)
        .flags(Flags::NO_SCRIPT)
        .acl(Categories::SCRIPTING)
        .group("scripting")
        .doc(
            "7.0.0",
            "[LIBRARYNAME library-name-pattern] [WITHCODE]",
            "Returns information about all libraries.",
            "O(N) where N is the number of functions",
        ),
    Command::write("function|delete", exactly(2), delete)
        .flags(Flags::NO_SCRIPT)
        .acl(Categories::SCRIPTING)
        .group("scripting")
        .doc("7.0.0", "library-name", "Deletes a library and its functions.", "O(1)"),
    crate::commands::help_of("function|help").acl(Categories::SCRIPTING).group("scripting"),
];

const NO_LIBRARY: ErrorReply = ErrorReply::new("ERR Library not found");
const BAD_FLUSH: ErrorReply = ErrorReply::new("ERR FUNCTION FLUSH only supports SYNC|ASYNC option");
const BAD_COUNT: ErrorReply =
    ErrorReply::new("ERR unknown subcommand or wrong number of arguments for 'flush'. Try FUNCTION HELP.");
const NO_NAME: ErrorReply = ErrorReply::new("ERR library name argument was not given");

fn flush(call: &mut Call<'_>) -> Result {
    match call.args.len() {
        2 => {}
        3 if [&b"SYNC"[..], b"ASYNC"].iter().any(|mode| call.arg(2).eq_ignore_ascii_case(mode)) => {}
        3 => return Err(BAD_FLUSH),
        _ => return Err(BAD_COUNT),
    }
    call.reply.ok();
    Ok(())
}

fn list(call: &mut Call<'_>) -> Result {
    let (mut has_pattern, mut has_code) = (false, false);
    let mut index = 2;
    while index < call.args.len() {
        let argument = call.arg(index);
        if !has_code && argument.eq_ignore_ascii_case(b"WITHCODE") {
            has_code = true;
        } else if !has_pattern && argument.eq_ignore_ascii_case(b"LIBRARYNAME") {
            has_pattern = true;
            index += 1;
            if index == call.args.len() {
                return Err(NO_NAME);
            }
        } else {
            let text = [&b"ERR Unknown argument "[..], argument].concat();
            return Err(ErrorReply::owned(text));
        }
        index += 1;
    }
    call.reply.array(0);
    Ok(())
}

fn delete(_: &mut Call<'_>) -> Result {
    Err(NO_LIBRARY)
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn there_is_no_library() {
        check(
            "
            > FUNCTION FLUSH
            OK
            > FUNCTION FLUSH ASYNC
            OK
            > FUNCTION FLUSH NOW
            (error) ERR FUNCTION FLUSH only supports SYNC|ASYNC option
            > FUNCTION LIST LIBRARYNAME * WITHCODE
            (empty array)
            > FUNCTION DELETE lib
            (error) ERR Library not found
            ",
        );
    }
}
