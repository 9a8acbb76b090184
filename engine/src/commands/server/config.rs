//! CONFIG over the table of directives (`crate::config`).
//!
//! Not here: what values are allowed, and the file that REWRITE writes: the node has it.

use crate::call::Call;
use crate::command::{Command, Flags, at_least, exactly};
use crate::error::{ErrorReply, Result, SYNTAX};
use crate::glob;
use crate::{Action, Blocked, Engine};

/// Directives that say where clients come in.
const DOORS: [&str; 2] = ["port", "bind"];

const fn sub(name: &'static str, arity: i16, handler: crate::command::Handler) -> Command {
    Command::node(name, arity, handler)
        .flags(Flags::ADMIN.with(Flags::NO_SCRIPT).with(Flags::LOADING).with(Flags::STALE))
        .group("server")
}

pub(super) const SUBCOMMANDS: &[Command] = &[
    sub("config|get", at_least(2), get).doc(
        "2.0.0",
        "parameter [parameter ...]",
        "Returns the effective values of configuration parameters.",
        "O(N) when N is the number of configuration parameters provided",
    ),
    sub("config|set", at_least(3), set).doc(
        "2.0.0",
        "parameter value [parameter value ...]",
        "Sets configuration parameters in-flight.",
        "O(N) when N is the number of configuration parameters provided",
    ),
    sub("config|resetstat", exactly(1), reset_stat).doc(
        "2.0.0",
        "",
        "Resets the server's statistics.",
        "O(1)",
    ),
    sub("config|rewrite", exactly(1), rewrite).doc(
        "2.8.0",
        "",
        "Persists the effective configuration to file.",
        "O(1)",
    ),
    crate::commands::help_of("config|help").group("server"),
];

fn get(call: &mut Call<'_>) -> Result {
    let mut pairs: Vec<(&[u8], Vec<u8>)> = Vec::new();
    let matches = |pattern: &[u8], name: &[u8]| glob::matches(pattern, name, true);
    for index in 2..call.args.len() {
        let pattern = call.arg(index);
        let is_name = !pattern.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['));
        for (name, value) in call.engine.config.get(pattern, matches) {
            // One that is asked for by name is answered under the name as it was written.
            let name = if is_name { pattern } else { name.as_bytes() };
            if !pairs.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                pairs.push((name, value));
            }
        }
    }
    call.reply.map(pairs.len());
    for (name, value) in pairs {
        call.reply.bulk(name);
        call.reply.bulk(&value);
    }
    Ok(())
}

fn set(call: &mut Call<'_>) -> Result {
    if !call.args.len().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    let pairs: Vec<(&[u8], &[u8])> =
        (2..call.args.len()).step_by(2).map(|index| (call.arg(index), call.arg(index + 1))).collect();
    let is_local = is_local(&call.session.address);
    let outcome = call.engine.config.set(&pairs, is_local);
    let changed = outcome.map_err(|error| ErrorReply::owned(format!("ERR {error}")))?;
    let moves_doors = changed.iter().any(|it| DOORS.contains(&it.name));
    if moves_doors && (call.session.is_in_exec || call.engine.moving_doors.is_some()) {
        // The outcome comes later: a transaction answers at once, and one change is under way at a time.
        call.engine.config.restore(changed);
        return Err(ErrorReply::new("ERR CONFIG SET of port or bind cannot be done right now"));
    }
    call.engine.parameters_changed();
    call.engine.actions.push(Action::ParametersChanged);
    if moves_doors {
        call.session.blocked = Some(Blocked::Action);
        call.engine.moving_doors = Some(changed);
        call.engine.actions.push(Action::Listen { session: call.session.id });
    } else {
        call.reply.ok();
    }
    Ok(())
}

impl Engine {
    /// Clients come in where CONFIG SET said, or it could not be done: then all of that CONFIG SET is taken back. Gives
    /// the reply.
    pub fn doors_moved(&mut self, is_moved: bool) -> Result {
        let changed = self.moving_doors.take().unwrap_or_default();
        if is_moved {
            self.node.port = self.config.settings().port;
            return Ok(());
        }
        let name = changed.iter().map(|it| it.name).find(|name| DOORS.contains(name)).unwrap_or("port");
        let why = match name {
            "bind" => "Failed to bind to specified addresses.",
            _ => "Unable to listen on this port. Check server logs.",
        };
        self.config.restore(changed);
        self.parameters_changed();
        let text = format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}");
        Err(ErrorReply::owned(text))
    }
}

/// Whether an address is this machine's loopback.
pub(super) fn is_local(address: &str) -> bool {
    address.parse::<std::net::SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
}

fn reset_stat(call: &mut Call<'_>) -> Result {
    call.engine.stats.reset();
    call.engine.data.stats = Default::default();
    call.reply.ok();
    Ok(())
}

fn rewrite(call: &mut Call<'_>) -> Result {
    if call.engine.node.config_file.is_empty() {
        return Err(ErrorReply::new("ERR The server is running without a config file"));
    }
    if call.session.is_in_exec {
        // The outcome comes later, and a transaction answers at once.
        return Err(ErrorReply::new("ERR Command not allowed inside a transaction"));
    }
    call.session.blocked = Some(Blocked::Action);
    call.engine.actions.push(Action::RewriteConfig { session: call.session.id });
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::Action;
    use crate::session::SessionId;
    use crate::testing::{Bench, check};

    #[test]
    fn where_clients_come_in_changes_when_it_could_be_done_and_all_is_taken_back_when_not() {
        let mut bench = Bench::new();
        bench.check("> CONFIG SET hz 20 port 7000 timeout 9");
        assert!(bench.session(0).blocked.is_some(), "the reply comes later");
        let actions = std::mem::take(&mut bench.engine.actions);
        assert!(actions.contains(&Action::Listen { session: SessionId(1) }));
        let busy = "(error) ERR CONFIG SET of port or bind cannot be done right now";
        bench.check(&format!("1> CONFIG SET port 7001\n{busy}\n1> CONFIG SET port 7000\nOK"));
        let error = bench.engine.doors_moved(false).expect_err("it says why");
        assert_eq!(
            error.as_bytes(),
            b"ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port. Check server logs."
        );
        bench.check(
            "1> CONFIG GET port\n1) \"port\"\n2) \"6379\"\n1> CONFIG GET timeout\n1) \"timeout\"\n2) \"0\"",
        );
        bench.check("1> CONFIG SET port 7001");
        bench.engine.doors_moved(true).expect("it is done");
        assert_eq!(bench.engine.node.port, 7001);
        bench.check(&format!("> MULTI\nOK\n> CONFIG SET bind 127.0.0.1\nQUEUED\n> EXEC\n1) {busy}"));
    }

    #[test]
    fn parameters_are_read_and_set_all_or_none() {
        check(
            "
            > CONFIG GET maxmemory
            1) \"maxmemory\"
            2) \"0\"
            > CONFIG SET maxmemory 1mb hz 20
            OK
            > CONFIG GET maxmemory hz
            1) \"maxmemory\"
            2) \"1048576\"
            3) \"hz\"
            4) \"20\"
            > CONFIG GET MaxMemory maxmemory nosuch
            1) \"MaxMemory\"
            2) \"1048576\"
            > CONFIG GET maxmemor? MAXMEMORY
            1) \"maxmemory\"
            2) \"1048576\"
            > CONFIG SET maxmemory
            (error) ERR wrong number of arguments for 'config|set' command
            > CONFIG SET maxmemory 1 maxmemory
            (error) ERR syntax error
            > CONFIG SET foo bar
            (error) ERR Unknown option or number of arguments for CONFIG SET - 'foo'
            > CONFIG REWRITE
            (error) ERR The server is running without a config file
            > CONFIG RESETSTAT
            OK
            ",
        );
    }
}
