//! A node as a child process.
//!
//! Lives here: start, SIGKILL, SIGSTOP, SIGCONT, SIGTERM, how it ended, what it printed.
//! Not here: its configuration (`cluster`), whether it serves.
//!
//! Invariant: no process outlives its value, nor the process that holds it: a node whose standard input ends, because
//! nobody holds the other end any more, ends too.
#![allow(clippy::disallowed_methods, reason = "files and processes of the machine are what this is about")]

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// Set in the environment of a node that is to end when its standard input does.
pub const ENDS_WITH_INPUT: &str = "RAMKEEP_ENDS_WITH_INPUT";

/// Bytes of the end of a log that are shown.
const TAIL_BYTES: u64 = 2000;

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    Ramkeep(PathBuf),
    /// A server that is wrong on purpose, in this very program: see `fake`.
    Fake {
        path: PathBuf,
        flaw: String,
    },
}

pub struct Process {
    child: Child,
    log: PathBuf,
    /// Where in the log this process began.
    log_start: u64,
}

impl Process {
    /// Starts `program` in `folder`, its output added to `log`.
    pub fn start(program: &Program, arguments: &[String], folder: &Path, log: &Path) -> io::Result<Process> {
        let output = File::options().create(true).append(true).open(log)?;
        let log_start = output.metadata()?.len();
        let mut command = match program {
            Program::Ramkeep(path) => Command::new(path),
            Program::Fake { path, flaw } => {
                let mut command = Command::new(path);
                command.args(["fake-server", flaw]);
                command
            }
        };
        let child = command
            .args(arguments)
            .current_dir(folder)
            // The child has the other end until it ends or this process does, by whatever cause.
            .stdin(Stdio::piped())
            .env(ENDS_WITH_INPUT, "1")
            .stderr(output.try_clone()?)
            .stdout(output)
            // A Ctrl-C is for the process that plays, which has the nodes answer until it has read back what it must.
            .process_group(0)
            .spawn()?;
        Ok(Process { child, log: log.to_path_buf(), log_start })
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// `kill -9`, and waits for the end. Works on a paused process too.
    pub fn kill(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn signal(&self, name: &str) -> bool {
        let number = self.child.id().to_string();
        Command::new("kill")
            .args([&format!("-{name}"), &number])
            .status()
            .is_ok_and(|status| status.success())
    }

    /// Whether it has printed `text` since it was started.
    pub fn has_printed(&self, text: &str) -> bool {
        let mut printed = Vec::new();
        if let Ok(mut file) = File::open(&self.log)
            && file.seek(SeekFrom::Start(self.log_start)).is_ok()
        {
            let _ = file.read_to_end(&mut printed);
        }
        String::from_utf8_lossy(&printed).contains(text)
    }

    /// The end of what it has printed.
    pub fn log_tail(&self) -> String {
        log_tail(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The end of a log.
pub fn log_tail(log: &Path) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(log) {
        let length = file.metadata().map_or(0, |facts| facts.len());
        // A log that cannot be read is only less to show.
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)));
        let _ = file.read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}
