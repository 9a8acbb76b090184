//! Writing large files beside the log on the same device.
//!
//! Lives here: [`Pace`], which keeps little of a growing file on its way to the device at any time.
//! Not here: making the file durable, its name.
//!
//! A sync of a growing file commits the file system's journal each time, and the log's writes wait for that commit;
//! one sync at the end of everything written hands the device gigabytes at once, and the log's writes wait behind
//! them. So each piece is handed to the device by itself, without the journal, and the next one only when the one
//! before has arrived.

use super::system;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;

/// How far a file's bytes have come that are written one after another.
#[derive(Debug, Default)]
pub struct Pace {
    end: u64,
    /// Handed to the device and not yet waited for.
    under_way: Range<u64>,
}

impl Pace {
    /// Writes at the end. On the way to the device are afterwards these bytes alone; nothing is durable yet.
    pub fn write(&mut self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)?;
        let written = self.end..self.end + bytes.len() as u64;
        self.end = written.end;
        system::begin_write_back(&file, written.clone())?;
        let before = std::mem::replace(&mut self.under_way, written);
        if before.is_empty() { Ok(()) } else { system::end_write_back(&file, before) }
    }
}
