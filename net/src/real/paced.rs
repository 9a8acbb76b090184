//! Large files written and read beside the log on the same device.
//!
//! Lives here: [`Pace`], which keeps little of a growing file on its way to the device at any time, and [`Rested`],
//! a reader that leaves the device most of its time. Not here: making a file durable, its name.
//!
//! A sync of a growing file commits the file system's journal each time, and the log's writes wait for that commit;
//! one sync at the end of everything written hands the device gigabytes at once, and the log's writes wait behind
//! them. So each piece is handed to the device by itself, without the journal, and the next one only when the one
//! before has arrived. Reading has all the time, and a device that is kept busy with reads answers writes late, by its
//! own queue or by a limit set from outside: so the reader rests after each piece. The writer does not: the longer a
//! snapshot is being written, the more memory is kept for it. What was written or read leaves the page cache piece by
//! piece: letting go of gigabytes at once keeps a processor busy for a fifth of a second.

use super::system;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::time::{Duration, Instant};

/// A device that stood still is no reason to rest for long.
const REST_MAX: Duration = Duration::from_millis(50);

#[allow(clippy::disallowed_methods, reason = "the replacement itself")]
fn now() -> Instant {
    Instant::now()
}

/// Rests for four times as long as the work since `began` took.
#[allow(clippy::disallowed_methods, reason = "the replacement itself")]
fn rest_after(began: Instant) {
    std::thread::sleep((began.elapsed() * 4).min(REST_MAX));
}

/// How far a file's bytes have come that are written one after another.
#[derive(Debug, Default)]
pub struct Pace {
    end: u64,
    /// Handed to the device and not yet waited for.
    under_way: Range<u64>,
    /// Nobody reads soon what is written.
    leaves_cache: bool,
}

impl Pace {
    /// Of a file that nobody reads soon.
    pub fn leaving_cache() -> Self {
        Self { leaves_cache: true, ..Self::default() }
    }

    /// Writes at the end. On the way to the device are afterwards these bytes alone; nothing is durable yet.
    pub fn write(&mut self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)?;
        let written = self.end..self.end + bytes.len() as u64;
        self.end = written.end;
        system::begin_write_back(&file, written.clone())?;
        let before = std::mem::replace(&mut self.under_way, written);
        if before.is_empty() {
            return Ok(());
        }
        system::end_write_back(&file, before.clone())?;
        if self.leaves_cache {
            system::drop_cached(&file, before);
        }
        Ok(())
    }
}

/// Reads a file; before each read it rests for four times as long as the one before took, with what was done with its bytes.
#[derive(Debug)]
pub struct Rested {
    file: File,
    offset: u64,
    began: Option<Instant>,
}

impl Rested {
    pub fn new(file: File) -> Self {
        Self { file, offset: 0, began: None }
    }
}

impl Read for Rested {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(began) = self.began {
            rest_after(began);
        }
        self.began = Some(now());
        let count = self.file.read(buffer)?;
        let read = self.offset..self.offset + count as u64;
        self.offset = read.end;
        if !read.is_empty() {
            system::drop_cached(&self.file, read);
        }
        Ok(count)
    }
}
