//! The commands, one file per group: each declares its slice of the table beside its handlers.
//!
//! Lives here: the list of groups. A new command = one entry, one handler, its tests, in one file.

pub mod bitmap;
pub mod connection;
pub mod function;
pub mod generic;
pub mod hash;
pub mod server;
pub mod string;
pub mod transaction;

use crate::command::{Command, Table};
use crate::resp::Reply;
use crate::value::StringRef;
use std::sync::OnceLock;

/// Every group's slice.
pub const GROUPS: &[&[Command]] = &[
    bitmap::COMMANDS,
    connection::COMMANDS,
    function::COMMANDS,
    generic::COMMANDS,
    hash::COMMANDS,
    server::COMMANDS,
    string::COMMANDS,
    transaction::COMMANDS,
];

/// The table over all groups. Built at first use from constants alone: no state.
pub fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| Table::new(GROUPS))
}

/// A string of any storage as a byte string, without a copy in between.
pub(crate) fn string_reply(reply: &mut Reply, string: StringRef<'_>) {
    match string {
        StringRef::Bytes(bytes) => reply.bulk(bytes),
        StringRef::Integer(value) => reply.bulk_integer(value),
        StringRef::Chunks(_) => {
            reply.bulk_head(string.len());
            string.for_each_part(|part| reply.raw(part));
            reply.bulk_end();
        }
    }
}

/// Handler of a command that only holds subcommands; one without a subcommand never gets here.
pub(crate) fn container(call: &mut crate::call::Call<'_>) -> crate::error::Result {
    Err(crate::error::wrong_arity(call.name()))
}

/// What Redis says to more arguments than a subcommand with an open end takes.
pub(crate) fn too_many_arguments(call: &crate::call::Call<'_>) -> crate::error::ErrorReply {
    let container = call.command.container_name().to_uppercase();
    let start: &[u8] = b"ERR unknown subcommand or wrong number of arguments for '";
    let end = format!("'. Try {container} HELP.");
    crate::error::ErrorReply::owned([start, call.arg(1), end.as_bytes()].concat())
}

/// HELP of a container, from the table: each subcommand with its arguments and what it does.
pub(crate) fn help(call: &mut crate::call::Call<'_>) -> crate::error::Result {
    let parent = call.command.container_name();
    let container = table().find(parent.as_bytes()).expect("its container is in the table");
    let mut lines = Vec::new();
    for sub in container.subcommands.iter().filter(|sub| !std::ptr::eq(*sub, call.command)) {
        let name = sub.name[parent.len() + 1..].to_uppercase();
        lines.push(format!("{name} {}", sub.syntax).trim_end().to_owned());
        lines.push(format!("    {}", sub.summary));
    }
    print_help(call, &lines);
    Ok(())
}

/// Help about a container in the shape that clients show: lines about its subcommands between a
/// title and HELP itself.
pub(crate) fn print_help(call: &mut crate::call::Call<'_>, lines: &[impl AsRef<str>]) {
    let parent = call.command.container_name().to_uppercase();
    call.reply.array(lines.len() + 3);
    call.reply.simple(&format!("{parent} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    lines.iter().for_each(|line| call.reply.simple(line.as_ref()));
    call.reply.simple("HELP");
    call.reply.simple("    Print this help.");
}

/// The HELP subcommand of a container.
pub(crate) const fn help_of(name: &'static str) -> Command {
    Command::node(name, crate::command::exactly(1), help)
        .flags(crate::command::Flags::LOADING.with(crate::command::Flags::STALE))
        .doc("5.0.0", "", "Returns helpful text about the different subcommands.", "O(1)")
}
