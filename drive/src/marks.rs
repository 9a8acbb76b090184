//! Keys that are written once: the plain count of what was acknowledged and what is there.
//!
//! Lives here: their writers, the list of acknowledged ones, when each was acknowledged, reading them back.
//! Not here: calls that a checker has to judge (`client`).
//!
//! Invariant: a number is sent once. What is not acknowledged is never asked for.

use std::io;
use std::time::Duration;

use ramkeep_check::random::between;
use ramkeep_check::reply::Reply;
use ramkeep_check::session::is_elsewhere;
use ramkeep_net::{ChaCha8Rng, Conn, Host, sleep, timeout};

use crate::ask::{encode, reply};
use crate::client::{SharedRef, find};
use crate::target::Target;

/// Keys of one pipeline, at most.
const PIPELINE_MAX: u64 = 8;
/// A writer gives up this soon: it also measures how long nothing is written.
const PATIENCE: Duration = Duration::from_millis(500);
/// Keys read back with one command.
const READ_BATCH: usize = 500;
/// Lost keys that are named.
const NAMED_MAX: usize = 20;

/// What all writers know.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    writers: Vec<Writer>,
    /// When each acknowledged pipeline was sent and when its first acknowledgement came, in order of the latter.
    pub times_ns: Vec<(u64, u64)>,
    /// When each write was acknowledged.
    pub acknowledged_ns: Vec<u64>,
}

#[derive(Clone, Debug, Default)]
struct Writer {
    sent: u64,
    /// Half-open ranges of numbers.
    acknowledged: Vec<(u64, u64)>,
}

impl Writer {
    fn acknowledge(&mut self, number: u64) {
        match self.acknowledged.last_mut() {
            Some((_, end)) if *end == number => *end += 1,
            _ => self.acknowledged.push((number, number + 1)),
        }
    }
}

impl Marks {
    pub fn acknowledged(&self) -> u64 {
        let ranges = self.writers.iter().flat_map(|writer| &writer.acknowledged);
        ranges.map(|(start, end)| end - start).sum()
    }

    /// Time from `since_ns` until the first acknowledgement of a write sent after it.
    pub fn until_written_ns(&self, since_ns: u64) -> Option<u64> {
        let from = self.times_ns.partition_point(|&(_, acknowledged_ns)| acknowledged_ns <= since_ns);
        let first = self.times_ns[from..].iter().find(|&&(sent_ns, _)| sent_ns >= since_ns)?;
        Some(first.1 - since_ns)
    }

    fn keys(&self) -> impl Iterator<Item = (usize, u64)> {
        let writers = self.writers.iter().enumerate();
        writers.flat_map(|(writer, journal)| {
            let numbers = journal.acknowledged.iter().flat_map(|&(start, end)| start..end);
            numbers.map(move |number| (writer, number))
        })
    }
}

fn key(writer: usize, number: u64) -> Vec<u8> {
    format!("mark:{writer}:{number}").into_bytes()
}

/// Writes until the run is over.
pub async fn run(host: Host, shared: SharedRef, targets: Vec<Target>, interval_us: u64, mut rng: ChaCha8Rng) {
    let writer = {
        let writers = &mut shared.borrow_mut().marks.writers;
        writers.push(Writer::default());
        writers.len() - 1
    };
    let mut place = 0;
    while !shared.borrow().is_over {
        let Some(conn) = find(&host, &targets, &mut place, &mut rng).await else { continue };
        while !shared.borrow().is_over {
            let count = between(&mut rng, 1, PIPELINE_MAX);
            match timeout(PATIENCE, write(&conn, &shared, writer, count)).await {
                Ok(Ok(())) => {}
                _ => break,
            }
            sleep(Duration::from_micros(between(&mut rng, 0, count * interval_us * 2))).await;
        }
        place += 1;
    }
}

/// Writes `count` new keys in one pipeline. An error where the connection broke or the node refuses.
async fn write(conn: &Conn, shared: &SharedRef, writer: usize, count: u64) -> io::Result<()> {
    let (first, sent_ns) = {
        let mut shared = shared.borrow_mut();
        let sent_ns = shared.clock.monotonic_ns();
        let journal = &mut shared.marks.writers[writer];
        journal.sent += count;
        (journal.sent - count, sent_ns)
    };
    let mut request = Vec::new();
    for number in first..first + count {
        encode(&[b"SET", &key(writer, number), number.to_string().as_bytes()], &mut request);
    }
    conn.write_all(&request).await?;
    let mut inbox = Vec::new();
    let mut is_first = true;
    for number in first..first + count {
        let reply = reply(conn, &mut inbox).await?;
        let mut shared = shared.borrow_mut();
        let now_ns = shared.clock.monotonic_ns();
        match reply {
            Reply::Simple(text) if text == "OK" => {
                shared.marks.writers[writer].acknowledge(number);
                shared.marks.acknowledged_ns.push(now_ns);
                if std::mem::take(&mut is_first) {
                    shared.marks.times_ns.push((sent_ns, now_ns));
                }
            }
            Reply::Error(text) if is_elsewhere(&text) => return Err(io::Error::other(text)),
            // Another error promises nothing.
            _ => {}
        }
    }
    Ok(())
}

/// What came of reading every acknowledged key.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub acknowledged: u64,
    pub found: u64,
    /// Some of the lost ones, with what stood in their place.
    pub lost: Vec<String>,
}

impl Found {
    pub fn lost_count(&self) -> u64 {
        self.acknowledged - self.found
    }
}

/// Reads back every acknowledged key.
pub async fn read_back(host: &Host, target: &Target, marks: &Marks) -> io::Result<Found> {
    let conn = target.connect(host).await?;
    let keys: Vec<(usize, u64)> = marks.keys().collect();
    let mut found = Found::default();
    let mut inbox = Vec::new();
    for batch in keys.chunks(READ_BATCH) {
        let names: Vec<Vec<u8>> = batch.iter().map(|&(writer, number)| key(writer, number)).collect();
        let words: Vec<&[u8]> =
            std::iter::once(b"MGET".as_slice()).chain(names.iter().map(Vec::as_slice)).collect();
        let mut request = Vec::new();
        encode(&words, &mut request);
        conn.write_all(&request).await?;
        let answer = timeout(Duration::from_secs(20), reply(&conn, &mut inbox)).await??;
        let Reply::Array(values) = answer else {
            return Err(io::Error::other(format!("MGET answered {answer:?}")));
        };
        if values.len() != batch.len() {
            return Err(io::Error::other("MGET answered for other keys than it was asked for"));
        }
        for (&(writer, number), value) in batch.iter().zip(&values) {
            found.acknowledged += 1;
            if *value == Reply::Bulk(number.to_string().into_bytes()) {
                found.found += 1;
            } else if found.lost.len() < NAMED_MAX {
                found
                    .lost
                    .push(format!("mark:{writer}:{number} was acknowledged, the final read shows {value:?}"));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_writes_sent_after_the_moment_end_a_gap() {
        let marks = Marks { times_ns: vec![(1, 5), (2, 12), (14, 15), (16, 18)], ..Marks::default() };
        assert_eq!(marks.until_written_ns(10), Some(5));
        assert_eq!(marks.until_written_ns(0), Some(5));
        assert_eq!(marks.until_written_ns(15), Some(3));
        assert_eq!(marks.until_written_ns(17), None);
    }

    #[test]
    fn what_was_not_acknowledged_is_not_asked_for() {
        let mut writer = Writer { sent: 6, ..Writer::default() };
        [0, 1, 4, 5].into_iter().for_each(|number| writer.acknowledge(number));
        let marks = Marks { writers: vec![Writer::default(), writer], ..Marks::default() };
        assert_eq!(marks.acknowledged(), 4);
        assert_eq!(marks.keys().collect::<Vec<_>>(), [(1, 0), (1, 1), (1, 4), (1, 5)]);
    }
}
