//! The file form of a history: JSON lines, format version 1.
//!
//! Lives here: writing and reading whole files through `Write` and `BufRead`.
//! Not here: opening files; callers own them.
//!
//! First line the header, then operations and events, last line the footer. A file without a footer is
//! truncated and never counts as a passed run; one whose digest differs was changed after it was written.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::{Event, Footer, Header, History, Operation, Status, VERSION};

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line {
    Header(Header),
    Op(Operation),
    Event(Event),
    Footer(Footer),
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("the history is truncated after line {lines}: no footer")]
    Truncated { lines: usize },
    #[error("line {line}: {reason}")]
    Syntax { line: usize, reason: String },
    #[error("format version {0} is not known")]
    Version(u32),
    #[error("the digest over the lines is {computed}, the footer says {written}")]
    Digest { computed: String, written: String },
    #[error("the footer counts {written} operations, the file holds {found}")]
    Count { written: u64, found: u64 },
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl History {
    /// Writes the whole history and gives back the footer that closes it. `faults` counts faults by kind.
    pub fn write(&self, out: &mut impl Write, faults: BTreeMap<String, u64>) -> io::Result<Footer> {
        let mut digest = Crc32c::default();
        let mut put = |line: &Line| -> io::Result<()> {
            let mut text = serde_json::to_vec(line).map_err(io::Error::other)?;
            text.push(b'\n');
            digest.update(&text);
            out.write_all(&text)
        };
        put(&Line::Header(self.header.clone()))?;
        for event in &self.events {
            put(&Line::Event(event.clone()))?;
        }
        for operation in &self.operations {
            put(&Line::Op(operation.clone()))?;
        }
        let footer = Footer {
            ops: self.operations.len() as u64,
            ok: self.count(Status::Ok),
            fail: self.count(Status::Fail),
            info: self.count(Status::Info),
            faults,
            final_read: self.final_read_ns().is_some(),
            digest: digest.text(),
        };
        serde_json::to_writer(&mut *out, &Line::Footer(footer.clone())).map_err(io::Error::other)?;
        out.write_all(b"\n")?;
        out.flush()?;
        Ok(footer)
    }

    /// Reads a whole file; operations come back in the order of their ids.
    pub fn read(input: impl BufRead) -> Result<(History, Footer), ReadError> {
        let mut digest = Crc32c::default();
        let (mut header, mut operations, mut events) = (None, Vec::new(), Vec::new());
        let mut lines = 0;
        for text in input.split(b'\n') {
            let text = text?;
            let syntax = |reason: String| ReadError::Syntax { line: lines + 1, reason };
            let line = match serde_json::from_slice(&text) {
                Ok(line) => line,
                // The writer died inside a line: nothing can follow it.
                Err(error) if error.is_eof() => return Err(ReadError::Truncated { lines }),
                Err(error) => return Err(syntax(error.to_string())),
            };
            match (line, &header) {
                (Line::Header(found), None) => {
                    if found.version != VERSION {
                        return Err(ReadError::Version(found.version));
                    }
                    header = Some(found);
                }
                (Line::Header(_), Some(_)) => return Err(syntax("a second header".into())),
                (_, None) => return Err(syntax("no header before it".into())),
                (Line::Op(operation), Some(_)) => operations.push(operation),
                (Line::Event(event), Some(_)) => events.push(event),
                (Line::Footer(footer), Some(header)) => {
                    let found = operations.len() as u64;
                    if footer.digest != digest.text() {
                        return Err(ReadError::Digest { computed: digest.text(), written: footer.digest });
                    }
                    if footer.ops != found {
                        return Err(ReadError::Count { written: footer.ops, found });
                    }
                    operations.sort_by_key(|operation: &Operation| operation.id);
                    return Ok((History { header: header.clone(), operations, events }, footer));
                }
            }
            digest.update(&text);
            digest.update(b"\n");
            lines += 1;
        }
        Err(ReadError::Truncated { lines })
    }
}

/// CRC-32C (Castagnoli), reflected, as iSCSI and ext4 use it.
struct Crc32c(u32);

impl Default for Crc32c {
    fn default() -> Crc32c {
        Crc32c(u32::MAX)
    }
}

const CRC32C_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut word = index as u32;
        let mut bit = 0;
        while bit < 8 {
            word = if word & 1 == 1 { word >> 1 ^ 0x82f6_3b78 } else { word >> 1 };
            bit += 1;
        }
        table[index] = word;
        index += 1;
    }
    table
};

impl Crc32c {
    fn update(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = CRC32C_TABLE[(self.0 as u8 ^ byte) as usize] ^ self.0 >> 8;
        }
    }

    fn text(&self) -> String {
        format!("{:08x}", !self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{ClockKind, Malformed, MicroOperation, Source, Value};

    fn header() -> Header {
        Header {
            version: VERSION,
            run: "sim-1".into(),
            source: Source::Sim,
            seed: u64::MAX.to_string(),
            commit: "abc".into(),
            config: BTreeMap::from([("clients".into(), serde_json::json!(4))]),
            clock: ClockKind::Virtual,
            models: vec!["register".into()],
            minimum_ok: BTreeMap::new(),
        }
    }

    fn operation(id: u64) -> Operation {
        Operation {
            id,
            process: id,
            command: "SET".into(),
            key: Some(b"reg1".to_vec()),
            args: vec![b"1.1".to_vec(), vec![0xff, 0]],
            micro_operations: Vec::new(),
            watch: Vec::new(),
            watch_id: None,
            invoke_ns: 5,
            return_ns: Some(u64::MAX),
            status: Status::Ok,
            result: Value::ok(),
            node: None,
            shard: None,
            connection: Some(3),
            pipeline: None,
            position: None,
            read_from: None,
            scan: None,
            error: None,
        }
    }

    fn history() -> History {
        let mut transaction = operation(2);
        transaction.command = "TXN".into();
        transaction.key = None;
        transaction.args = Vec::new();
        transaction.watch = vec![b"{txn1}a".to_vec()];
        transaction.watch_id = Some(1);
        transaction.micro_operations = vec![MicroOperation {
            command: "HGETALL".into(),
            key: Some(b"{txn1}h".to_vec()),
            args: Vec::new(),
            result: Value::Map(BTreeMap::from([(b"f".to_vec(), Value::Bytes(b"1".to_vec()))])),
        }];
        let details = BTreeMap::from([("node".to_string(), serde_json::json!("n1"))]);
        let mut unknown = operation(3);
        (unknown.status, unknown.return_ns, unknown.error) = (Status::Info, None, Some("timeout".into()));
        History {
            header: header(),
            operations: vec![operation(1), transaction, unknown],
            events: vec![
                Event { t_ns: 9, kind: "kill9".into(), details },
                Event { t_ns: 10, kind: "final_read".into(), details: BTreeMap::new() },
            ],
        }
    }

    fn written() -> Vec<u8> {
        let mut bytes = Vec::new();
        history().write(&mut bytes, BTreeMap::from([("kill9".into(), 1)])).unwrap();
        bytes
    }

    #[test]
    fn the_digest_is_crc32c() {
        let mut crc = Crc32c::default();
        crc.update(b"123456789");
        assert_eq!(crc.text(), "e3069283");
    }

    #[test]
    fn a_history_is_read_back_as_written() {
        let (read, footer) = History::read(&written()[..]).unwrap();
        assert_eq!(read, history());
        assert_eq!((footer.ops, footer.ok, footer.fail, footer.info), (3, 2, 0, 1));
        assert!(footer.final_read);
        assert_eq!(footer.faults["kill9"], 1);
        assert_eq!(read.validate(), Ok(()));
    }

    #[test]
    fn lines_have_the_documented_shape() {
        let text = String::from_utf8(written()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "{\"type\":\"header\",\"v\":1,\"run\":\"sim-1\",\"source\":\"sim\",\"seed\":\"18446744073709551615\",\
             \"commit\":\"abc\",\"config\":{\"clients\":4},\"clock\":\"virtual\",\"models\":[\"register\"]}"
        );
        assert_eq!(lines[1], "{\"type\":\"event\",\"t_ns\":9,\"kind\":\"kill9\",\"node\":\"n1\"}");
        assert_eq!(
            lines[3],
            "{\"type\":\"op\",\"id\":1,\"process\":1,\"op\":\"SET\",\"key\":\"reg1\",\
             \"args\":[\"1.1\",{\"b64\":\"/wA=\"}],\"invoke_ns\":5,\"return_ns\":18446744073709551615,\
             \"status\":\"ok\",\"result\":\"OK\",\"conn\":3}"
        );
        assert!(lines[6].starts_with("{\"type\":\"footer\",\"ops\":3,\"ok\":2,\"fail\":0,\"info\":1,"));
    }

    #[test]
    fn every_cut_is_reported_as_truncated() {
        let bytes = written();
        let footer_end = bytes.len() - 1;
        for cut in 0..footer_end {
            assert!(matches!(History::read(&bytes[..cut]), Err(ReadError::Truncated { .. })), "cut at {cut}");
        }
    }

    #[test]
    fn a_changed_line_is_reported() {
        let text = String::from_utf8(written()).unwrap().replace("\"kill9\",", "\"pause\",");
        assert!(matches!(History::read(text.as_bytes()), Err(ReadError::Digest { .. })));
    }

    #[test]
    fn rules_of_the_format_are_checked() {
        let mut twice = history();
        twice.operations[1].id = 1;
        assert_eq!(twice.validate(), Err(Malformed::Duplicate(1)));
        let mut reused = history();
        (reused.operations[2].id, reused.operations[2].process) = (0, 1);
        assert_eq!(reused.validate(), Err(Malformed::Reused { process: 1, id: 1 }));
        let mut overlap = history();
        overlap.operations[1].process = 1;
        assert_eq!(overlap.validate(), Err(Malformed::Overlap { process: 1, id: 2 }));
        overlap.operations.iter_mut().for_each(|operation| operation.pipeline = Some(7));
        assert_eq!(overlap.validate(), Ok(()));
        let mut idle = history();
        idle.header.minimum_ok = BTreeMap::from([("SET".into(), 2)]);
        assert_eq!(idle.validate(), Err(Malformed::Idle { command: "SET".into(), seen: 1, wanted: 2 }));
    }
}
