//! Error replies: what a client is told when it asked for something impossible.
//!
//! Not here: failures of the world (each module has its own enum) and protocol errors (`resp`).

use std::borrow::Cow;

/// An error reply without the leading `-`: its first word is what clients switch on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply(Cow<'static, [u8]>);

/// Result of a handler: the reply was written, or this error is the reply.
pub type Result<T = ()> = std::result::Result<T, ErrorReply>;

impl ErrorReply {
    pub const fn new(text: &'static str) -> ErrorReply {
        ErrorReply(Cow::Borrowed(text.as_bytes()))
    }

    pub fn owned(text: impl Into<Vec<u8>>) -> ErrorReply {
        ErrorReply(Cow::Owned(text.into()))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The error's first word, as counted by INFO errorstats.
    pub fn code(&self) -> &[u8] {
        self.0.split(|byte| *byte == b' ').next().unwrap_or(b"ERR")
    }
}

pub const WRONG_TYPE: ErrorReply =
    ErrorReply::new("WRONGTYPE Operation against a key holding the wrong kind of value");
pub const SYNTAX: ErrorReply = ErrorReply::new("ERR syntax error");
pub const NOT_AN_INTEGER: ErrorReply = ErrorReply::new("ERR value is not an integer or out of range");
pub const NOT_A_FLOAT: ErrorReply = ErrorReply::new("ERR value is not a valid float");
pub const NO_SUCH_KEY: ErrorReply = ErrorReply::new("ERR no such key");
pub const SAME_OBJECT: ErrorReply = ErrorReply::new("ERR source and destination objects are the same");
pub const DATABASE_OUT_OF_RANGE: ErrorReply = ErrorReply::new("ERR DB index is out of range");
pub const INVALID_CURSOR: ErrorReply = ErrorReply::new("ERR invalid cursor");
pub const OUT_OF_RANGE: ErrorReply = ErrorReply::new("ERR index out of range");
pub const OFFSET_OUT_OF_RANGE: ErrorReply = ErrorReply::new("ERR offset is out of range");
pub const STRING_TOO_LONG: ErrorReply =
    ErrorReply::new("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
pub const OVERFLOW: ErrorReply = ErrorReply::new("ERR increment or decrement would overflow");

/// `ERR invalid expire time in '<command>' command`.
pub fn invalid_expire_time(command: &str) -> ErrorReply {
    ErrorReply::owned(format!("ERR invalid expire time in '{command}' command"))
}

/// `ERR wrong number of arguments for '<command>' command`; subcommands read `config|get`.
pub fn wrong_arity(command: &str) -> ErrorReply {
    ErrorReply::owned(format!("ERR wrong number of arguments for '{command}' command"))
}
