//! Placeholder.
use crate::call::Call;
use crate::command::{Command, Flags, at_least};
use crate::error::Result;
pub const COMMANDS: &[Command] = &[Command::node("ping", at_least(0), ping).flags(Flags::FAST)];
fn ping(call: &mut Call<'_>) -> Result {
    call.reply.simple("PONG");
    Ok(())
}
