//! What a handler is given: one call of one command by one client.
//!
//! Not here: admission and statistics around it (`execute`).

use crate::Engine;
use crate::command::Command;
use crate::error::{NOT_AN_INTEGER, Result};
use crate::number::integer;
use crate::resp::{Args, Reply};
use crate::session::Session;
use crate::time::Now;

pub struct Call<'a> {
    /// Argument 0 is the command's name as the client wrote it.
    pub args: Args<'a>,
    pub command: &'static Command,
    pub session: &'a mut Session,
    pub engine: &'a mut Engine,
    pub reply: &'a mut Reply,
    pub now: Now,
}

impl<'a> Call<'a> {
    /// Argument `index`, which the arity promises; it outlives borrows of the call.
    pub fn arg(&self, index: usize) -> &'a [u8] {
        self.args.get(index)
    }

    /// Argument `index` as a signed 64-bit integer.
    pub fn integer(&self, index: usize) -> Result<i64> {
        integer::parse(self.arg(index)).ok_or(NOT_AN_INTEGER)
    }

    /// Whether argument `index` is this word, in any case.
    pub fn is_word(&self, index: usize, word: &str) -> bool {
        self.arg(index).eq_ignore_ascii_case(word.as_bytes())
    }

    /// Shard time in milliseconds since 1970: what deadlines are made of.
    pub fn now_ms(&self) -> i64 {
        self.engine.data.now_ms()
    }

    /// Name of the command for error texts; a subcommand reads `config|get`.
    pub fn name(&self) -> &'static str {
        self.command.name
    }
}
