//! Subcommands beside `server`: each takes what was read and gives text and an exit code.
//!
//! Not here: the command line itself (`options`), opening files and printing (`main`).

pub mod client;
pub mod config_check;
pub mod demo;
pub mod dev;
pub mod log;
pub mod member;
pub mod snapshot;
pub mod status;

/// What a subcommand prints, and how it ends.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// For standard output, with its last line's end.
    pub text: String,
    /// 0: fine; 1: something was found.
    pub exit_code: u8,
}

/// Rows in aligned columns, each line indented.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text += "  ";
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}
