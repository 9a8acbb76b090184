//! The commands, one file per group: each declares its slice of the table beside its handlers.
//!
//! Lives here: the list of groups. A new command = one entry, one handler, its tests, in one file.

pub mod bitmap;
pub mod connection;
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
