//! COMMAND: the command table as clients see it.
//!
//! Not here: the table itself (`crate::command`) and what only clients want to know
//! (`command_facts`, `command_docs`).

use super::command_docs::{self, Docs};
use super::command_facts::{self, Span};
use crate::call::Call;
use crate::command::{Categories, Command, Flags, Handler, Keys, at_least, exactly};
use crate::commands::table;
use crate::error::{ErrorReply, Result, SYNTAX};
use crate::glob;
use crate::resp::{OwnedArgs, Reply};

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
            None => call.reply.null(),
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
    let tips = command_facts::tips(command.name);
    reply.set(tips.len());
    tips.iter().for_each(|tip| reply.bulk(tip.as_bytes()));
    key_specifications(reply, command);
    reply.set(command.subcommands.len());
    command.subcommands.iter().for_each(|sub| describe(reply, sub));
}

fn key_specifications(reply: &mut Reply, command: &Command) {
    if let Some(spans) = command_facts::spans(command.name) {
        reply.set(spans.len());
        spans.iter().for_each(|span| range(reply, command, span, 1));
        return;
    }
    let flags = command.key_use.0;
    match command.keys {
        Keys::None => reply.set(0),
        Keys::Range { first, last, step } => {
            reply.set(1);
            let last = if last < 0 { last } else { last - first };
            range(reply, command, &Span { first, last, flags }, step);
        }
        Keys::Counted { at } => {
            reply.set(1);
            begin_specification(reply, command, at as i16, flags);
            find_keys(reply, "keynum", [("keynumidx", 0), ("firstkey", 1), ("keystep", 1)]);
        }
    }
}

fn range(reply: &mut Reply, command: &Command, span: &Span, step: i16) {
    begin_specification(reply, command, span.first, span.flags);
    find_keys(reply, "range", [("lastkey", span.last), ("keystep", step), ("limit", 0)]);
}

/// What stands before `find_keys`: remarks, flags, and the argument at which keys begin.
fn begin_specification(reply: &mut Reply, command: &Command, first: i16, flags: &[&str]) {
    let notes = command_facts::notes(command.name);
    reply.map(3 + usize::from(notes.is_some()));
    if let Some(notes) = notes {
        reply.bulk(b"notes");
        reply.bulk(notes.as_bytes());
    }
    reply.bulk(b"flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.simple(flag));
    reply.bulk(b"begin_search");
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(b"index");
    reply.bulk(b"spec");
    reply.map(1);
    reply.bulk(b"index");
    reply.integer(i64::from(first));
}

fn find_keys(reply: &mut Reply, kind: &str, numbers: [(&str, i16); 3]) {
    reply.bulk(b"find_keys");
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(numbers.len());
    for (name, number) in numbers {
        reply.bulk(name.as_bytes());
        reply.integer(i64::from(number));
    }
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
    let docs = command_docs::docs(command.name);
    reply.map(4 + docs.map_or(0, Docs::fields) + usize::from(has_subcommands));
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
    if let Some(docs) = docs {
        docs.write(reply);
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
    call.reply.array(names.len());
    names.iter().for_each(|name| call.reply.bulk(name.as_bytes()));
    Ok(())
}

const INVALID_COMMAND: ErrorReply = ErrorReply::new("ERR Invalid command specified");
const NO_KEYS: ErrorReply = ErrorReply::new("ERR The command has no key arguments");
const INVALID_COUNT: ErrorReply = ErrorReply::new("ERR Invalid number of arguments specified for command");
const INVALID_ARGUMENTS: ErrorReply = ErrorReply::new("ERR Invalid arguments specified for command");

/// A key that a command names, and what it would do with it.
struct NamedKey<'a> {
    key: &'a [u8],
    flags: Vec<&'static str>,
}

/// The keys of the command that the arguments from 2 on make.
fn named_keys<'a>(call: &Call<'a>) -> Result<Vec<NamedKey<'a>>> {
    let container = table().find(call.arg(2)).ok_or(INVALID_COMMAND)?;
    let command = if container.subcommands.is_empty() || call.args.len() < 4 {
        container
    } else {
        container.subcommand(call.arg(3)).ok_or(INVALID_COMMAND)?
    };
    if command.keys == Keys::None {
        return Err(NO_KEYS);
    }
    if !command.takes(call.args.len() - 2) {
        return Err(INVALID_COUNT);
    }
    let words: Vec<&'a [u8]> = call.args.iter().skip(2).collect();
    let indexes = command.keys.indexes(OwnedArgs::from_list(&words).as_args());
    if indexes.is_empty() {
        return Err(INVALID_ARGUMENTS);
    }
    let named = |index: usize| NamedKey { key: words[index], flags: use_of(command, &words, index) };
    Ok(indexes.into_iter().map(named).collect())
}

/// What a command does with its argument `index`, a key; with these words, where that matters.
fn use_of(command: &Command, words: &[&[u8]], index: usize) -> Vec<&'static str> {
    let has = |word: &str| words.iter().skip(2).any(|other| other.eq_ignore_ascii_case(word.as_bytes()));
    let flags = match command.name {
        "set" if !has("GET") => &["OW", "update"],
        "bitfield" if !has("SET") && !has("INCRBY") => &["RO", "access"],
        _ => {
            let span = command_facts::spans(command.name)
                .and_then(|spans| spans.iter().rev().find(|span| span.first as usize <= index));
            span.map_or(command.key_use.0, |span| span.flags)
        }
    };
    flags.iter().copied().filter(|flag| *flag != "variable_flags").collect()
}

fn get_keys(call: &mut Call<'_>) -> Result {
    let keys = named_keys(call)?;
    call.reply.array(keys.len());
    keys.iter().for_each(|named| call.reply.bulk(named.key));
    Ok(())
}

fn get_keys_and_flags(call: &mut Call<'_>) -> Result {
    let keys = named_keys(call)?;
    call.reply.array(keys.len());
    for named in keys {
        call.reply.array(2);
        call.reply.bulk(named.key);
        call.reply.set(named.flags.len());
        named.flags.iter().for_each(|flag| call.reply.simple(flag));
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
            > COMMAND GETKEYS MSET a 1 b 2
            1) \"a\"
            2) \"b\"
            > COMMAND GETKEYS GET
            (error) ERR Invalid number of arguments specified for command
            > COMMAND GETKEYS MEMORY USAGE k
            1) \"k\"
            > COMMAND GETKEYS MEMORY JUNK k
            (error) ERR Invalid command specified
            > COMMAND GETKEYS MEMORY
            (error) ERR The command has no key arguments
            > COMMAND GETKEYSANDFLAGS SET k v
            1) 1) \"k\"
               2) 1) OW
                  2) update
            > COMMAND GETKEYSANDFLAGS SET k v GET
            1) 1) \"k\"
               2) 1) RW
                  2) access
                  3) update
            > COMMAND GETKEYSANDFLAGS RENAME a b
            1) 1) \"a\"
               2) 1) RW
                  2) access
                  3) delete
            2) 1) \"b\"
               2) 1) OW
                  2) update
            > COMMAND LIST FILTERBY MODULE x
            (empty array)
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
