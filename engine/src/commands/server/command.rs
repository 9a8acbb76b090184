//! COMMAND: the command table as clients see it.

use crate::call::Call;
use crate::command::{Categories, Command, Flags, Handler, Keys, at_least, exactly};
use crate::commands::table;
use crate::error::{ErrorReply, Result, SYNTAX};
use crate::glob;
use crate::resp::{Args, Reply};

const fn sub(name: &'static str, arity: i16, handler: Handler) -> Command {
    Command::node(name, arity, handler)
        .flags(Flags::LOADING.with(Flags::STALE))
        .acl(Categories::CONNECTION)
        .group("server")
}

pub(super) const SUBCOMMANDS: &[Command] = &[
    sub("command|count", exactly(1), count).doc("2.8.13", "", "Returns a count of commands.", "O(1)"),
    sub("command|info", at_least(1), info).doc(
        "2.8.13",
        "[command-name [command-name ...]]",
        "Returns information about one, multiple or all commands.",
        "O(N) where N is the number of commands to look up",
    ),
    sub("command|docs", at_least(1), docs).doc(
        "7.0.0",
        "[command-name [command-name ...]]",
        "Returns documentary information about one, multiple or all commands.",
        "O(N) where N is the number of commands to look up",
    ),
    sub("command|list", at_least(1), list).doc(
        "7.0.0",
        "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
        "Returns a list of command names.",
        "O(N) where N is the total number of commands",
    ),
    sub("command|getkeys", at_least(2), get_keys).doc(
        "2.8.13",
        "command [arg [arg ...]]",
        "Extracts the key names from an arbitrary command.",
        "O(N) where N is the number of arguments to the command",
    ),
    sub("command|getkeysandflags", at_least(2), get_keys_and_flags).doc(
        "7.0.0",
        "command [arg [arg ...]]",
        "Extracts the key names and access flags for an arbitrary command.",
        "O(N) where N is the number of arguments to the command",
    ),
    crate::commands::help_of("command|help").acl(Categories::CONNECTION).group("server"),
];

pub(super) fn command(call: &mut Call<'_>) -> Result {
    call.reply.array(table().iter().len());
    table().iter().for_each(|command| describe(call.reply, command));
    Ok(())
}

fn count(call: &mut Call<'_>) -> Result {
    call.reply.integer(table().iter().len() as i64);
    Ok(())
}

/// The command of a name such as `get` or `config|get`.
fn find(name: &[u8]) -> Option<&'static Command> {
    match name.iter().position(|byte| *byte == b'|') {
        None => table().find(name),
        Some(at) => table().find(&name[..at])?.subcommand(&name[at + 1..]),
    }
}

fn info(call: &mut Call<'_>) -> Result {
    if call.args.len() == 2 {
        return command(call);
    }
    call.reply.array(call.args.len() - 2);
    for index in 2..call.args.len() {
        match find(call.arg(index)) {
            Some(command) => describe(call.reply, command),
            None => call.reply.null_array(),
        }
    }
    Ok(())
}

/// The ten fields of COMMAND INFO.
fn describe(reply: &mut Reply, command: &Command) {
    let (first, last, step) = match command.keys {
        Keys::Range { first, last, step } => (first, last, step),
        Keys::None | Keys::Counted { .. } => (0, 0, 0),
    };
    reply.array(10);
    reply.bulk(command.name.as_bytes());
    reply.integer(i64::from(command.arity));
    let flags: Vec<&str> = command.flags.names().collect();
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.simple(flag));
    reply.integer(i64::from(first));
    reply.integer(i64::from(last));
    reply.integer(i64::from(step));
    let categories: Vec<String> = command.all_categories().names().map(|name| format!("@{name}")).collect();
    reply.set(categories.len());
    categories.iter().for_each(|category| reply.simple(category));
    reply.set(0);
    key_specifications(reply, command);
    reply.set(command.subcommands.len());
    command.subcommands.iter().for_each(|sub| describe(reply, sub));
}

fn key_specifications(reply: &mut Reply, command: &Command) {
    let (first, last, step) = match command.keys {
        Keys::None => return reply.set(0),
        Keys::Range { first, last, step } => (first, last, step),
        Keys::Counted { at } => (at as i16, -1, 1),
    };
    reply.set(1);
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(command.key_use.0.len());
    command.key_use.0.iter().for_each(|flag| reply.simple(flag));
    reply.bulk(b"begin_search");
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(b"index");
    reply.bulk(b"spec");
    reply.map(1);
    reply.bulk(b"index");
    reply.integer(i64::from(first));
    reply.bulk(b"find_keys");
    reply.map(2);
    reply.bulk(b"type");
    if matches!(command.keys, Keys::Counted { .. }) {
        reply.bulk(b"keynum");
        reply.bulk(b"spec");
        reply.map(3);
        for (name, value) in [("keynumidx", 0), ("firstkey", 1), ("keystep", 1)] {
            reply.bulk(name.as_bytes());
            reply.integer(value);
        }
        return;
    }
    reply.bulk(b"range");
    reply.bulk(b"spec");
    reply.map(3);
    reply.bulk(b"lastkey");
    reply.integer(i64::from(if last < 0 { last } else { last - first }));
    reply.bulk(b"keystep");
    reply.integer(i64::from(step));
    reply.bulk(b"limit");
    reply.integer(0);
}

fn docs(call: &mut Call<'_>) -> Result {
    let commands: Vec<&'static Command> = if call.args.len() == 2 {
        table().iter().collect()
    } else {
        (2..call.args.len()).filter_map(|index| find(call.arg(index))).collect()
    };
    call.reply.map(commands.len());
    commands.iter().for_each(|command| document(call.reply, command));
    Ok(())
}

fn document(reply: &mut Reply, command: &Command) {
    reply.bulk(command.name.as_bytes());
    let has_subcommands = !command.subcommands.is_empty();
    reply.map(4 + usize::from(has_subcommands));
    let fields = [
        ("summary", command.summary),
        ("since", command.since),
        ("group", command.group),
        ("complexity", command.complexity),
    ];
    for (name, value) in fields {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    if has_subcommands {
        reply.bulk(b"subcommands");
        reply.map(command.subcommands.len());
        command.subcommands.iter().for_each(|sub| document(reply, sub));
    }
}

fn list(call: &mut Call<'_>) -> Result {
    let is_wanted: Box<dyn Fn(&Command) -> bool> = match call.args.len() {
        2 => Box::new(|_| true),
        5 if call.is_word(2, "FILTERBY") && call.is_word(3, "PATTERN") => {
            let pattern = call.arg(4).to_vec();
            Box::new(move |command| glob::matches(&pattern, command.name.as_bytes(), true))
        }
        5 if call.is_word(2, "FILTERBY") && call.is_word(3, "ACLCAT") => {
            let category = call.arg(4).to_ascii_lowercase();
            Box::new(move |command| command.all_categories().names().any(|name| name.as_bytes() == category))
        }
        // There are no modules.
        5 if call.is_word(2, "FILTERBY") && call.is_word(3, "MODULE") => Box::new(|_| false),
        _ => return Err(SYNTAX),
    };
    let all = table().iter().flat_map(|command| std::iter::once(command).chain(command.subcommands));
    let names: Vec<&str> = all.filter(|command| is_wanted(command)).map(|command| command.name).collect();
    call.reply.set(names.len());
    names.iter().for_each(|name| call.reply.bulk(name.as_bytes()));
    Ok(())
}

/// The command that the arguments from 2 on make, and where its keys stand among them.
fn keys_of(call: &Call<'_>) -> Result<(&'static Command, Vec<usize>)> {
    let container = table().find(call.arg(2)).ok_or(ErrorReply::new("ERR Invalid command specified"))?;
    let command = if container.subcommands.is_empty() || call.args.len() < 4 {
        container
    } else {
        container.subcommand(call.arg(3)).ok_or(ErrorReply::new("ERR Invalid command specified"))?
    };
    if command.keys == Keys::None {
        return Err(ErrorReply::new("ERR The command has no key arguments"));
    }
    if !command.takes(call.args.len() - 2) {
        return Err(ErrorReply::new("ERR Invalid number of arguments specified for command"));
    }
    let words: Vec<&[u8]> = call.args.iter().skip(2).collect();
    let owned = crate::resp::OwnedArgs::from_list(&words);
    let args: Args<'_> = owned.as_args();
    let indexes = command.keys.indexes(args);
    if indexes.is_empty() {
        return Err(ErrorReply::new("ERR Invalid arguments specified for command"));
    }
    Ok((command, indexes))
}

fn get_keys(call: &mut Call<'_>) -> Result {
    let (_, indexes) = keys_of(call)?;
    call.reply.array(indexes.len());
    indexes.iter().for_each(|index| call.reply.bulk(call.args.get(index + 2)));
    Ok(())
}

fn get_keys_and_flags(call: &mut Call<'_>) -> Result {
    let (command, indexes) = keys_of(call)?;
    call.reply.array(indexes.len());
    for index in indexes {
        call.reply.array(2);
        call.reply.bulk(call.args.get(index + 2));
        call.reply.set(command.key_use.0.len());
        command.key_use.0.iter().for_each(|flag| call.reply.simple(flag));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn commands_are_described_and_their_keys_found() {
        check(
            "
            > COMMAND GETKEYS SET a b
            1) \"a\"
            > COMMAND GETKEYS PING
            (error) ERR The command has no key arguments
            > COMMAND GETKEYS NOPE
            (error) ERR Invalid command specified
            > COMMAND INFO NOPE
            1) (nil)
            > COMMAND LIST FILTERBY PATTERN ge?
            1) \"get\"
            > COMMAND LIST FILTERBY FOO x
            (error) ERR syntax error
            ",
        );
    }

    /// The table is built from constants: a name that stands twice would panic here.
    #[test]
    fn every_command_has_its_facts() {
        for command in super::table().iter().flat_map(|it| std::iter::once(it).chain(it.subcommands)) {
            assert!(!command.summary.is_empty() && !command.since.is_empty(), "{}", command.name);
            assert_ne!(command.arity, 0, "{}", command.name);
            assert_eq!(command.name, command.name.to_ascii_lowercase());
        }
    }
}
