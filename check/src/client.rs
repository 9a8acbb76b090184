//! A small client without a socket: bytes out, bytes in, and which call each reply belongs to.
//!
//! Lives here: encoding calls, several in flight, matching replies in order, and what is known of each call when the
//! connection ends. Not here: sockets and timeouts; their owner moves the bytes and calls `close`.
//!
//! Invariant: every call that was queued ends exactly once. The owner reports bytes as sent only after the transport
//! took them, and never hands bytes to the transport that it does not report.

use std::collections::VecDeque;

use crate::call::{Call, End};
use crate::reply::{Reply, ReplyError, parse};

#[derive(Debug, Default)]
pub struct Client {
    outbox: Vec<u8>,
    /// Bytes of the outbox that the transport took, and those it ever took.
    outbox_sent: usize,
    sent: u64,
    queued: u64,
    inbox: Vec<u8>,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    /// Position in the stream of the call's last byte.
    end: u64,
    replies_wanted: usize,
    replies: Vec<Reply>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Reply(#[from] ReplyError),
    #[error("a reply that nobody waits for")]
    Unasked,
}

impl Client {
    /// Queues a call; `id` comes back with its end.
    pub fn queue(&mut self, id: u64, call: &Call) {
        let commands = call.wire();
        let before = self.outbox.len();
        for words in &commands {
            encode(words, &mut self.outbox);
        }
        self.queued += (self.outbox.len() - before) as u64;
        let replies_wanted = commands.len();
        self.waiting.push_back(Waiting { id, end: self.queued, replies_wanted, replies: Vec::new() });
    }

    /// Bytes for the transport.
    pub fn unsent(&self) -> &[u8] {
        &self.outbox[self.outbox_sent..]
    }

    /// The transport took `count` of the unsent bytes.
    pub fn sent(&mut self, count: usize) {
        assert!(count <= self.unsent().len(), "not more was offered");
        self.outbox_sent += count;
        self.sent += count as u64;
        if self.outbox_sent == self.outbox.len() {
            self.outbox.clear();
            self.outbox_sent = 0;
        }
    }

    pub fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    /// Takes bytes from the transport; calls that are now answered in full are added to `ended`, in their order.
    /// After an error the connection is to be closed.
    pub fn receive(&mut self, bytes: &[u8], ended: &mut Vec<(u64, End)>) -> Result<(), ClientError> {
        self.inbox.extend_from_slice(bytes);
        let mut at = 0;
        while let Some((reply, length)) = parse(&self.inbox[at..])? {
            at += length;
            let front = self.waiting.front_mut().ok_or(ClientError::Unasked)?;
            front.replies.push(reply);
            if front.replies.len() == front.replies_wanted {
                let done = self.waiting.pop_front().expect("it is at the front");
                ended.push((done.id, End::Replies(done.replies)));
            }
        }
        self.inbox.drain(..at);
        Ok(())
    }

    /// The connection is gone, for `reason`: what became of every call still open.
    pub fn close(self, reason: &'static str, ended: &mut Vec<(u64, End)>) {
        for waiting in self.waiting {
            let end = if waiting.end > self.sent { End::Cut("cut") } else { End::Unknown(reason) };
            ended.push((waiting.id, end));
        }
    }
}

fn encode(words: &[Vec<u8>], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::MicroCall;

    fn get() -> Call {
        Call::Single(MicroCall::new("GET", b"k", &[]))
    }

    fn ids(ended: &[(u64, End)]) -> Vec<u64> {
        ended.iter().map(|(id, _)| *id).collect()
    }

    #[test]
    fn replies_go_to_calls_in_order_however_the_bytes_come() {
        let transaction = Call::Transaction {
            calls: vec![MicroCall::new("INCR", b"n", &[])],
            watch: vec![],
            watch_id: None,
        };
        let mut client = Client::default();
        client.queue(1, &get());
        client.queue(2, &transaction);
        client.queue(3, &Call::Echo(b"t".to_vec()));
        assert!(client.unsent().starts_with(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$5\r\nMULTI\r\n"));
        client.sent(client.unsent().len());
        assert_eq!(client.unsent(), b"");
        let mut ended = Vec::new();
        for byte in b"$1\r\nv\r\n+OK\r\n+QUEUED\r\n*1\r\n:1\r\n$1\r\nt\r\n" {
            client.receive(&[*byte], &mut ended).unwrap();
        }
        assert_eq!(ids(&ended), [1, 2, 3]);
        assert_eq!(ended[0].1, End::Replies(vec![Reply::Bulk(b"v".to_vec())]));
        assert_eq!(transaction.outcome(&ended[1].1).micro_results[0].to_string(), "1");
        assert_eq!(client.receive(b"+OK\r\n", &mut ended), Err(ClientError::Unasked));
    }

    #[test]
    fn a_cut_tells_what_cannot_have_happened() {
        let mut client = Client::default();
        (1..=3).for_each(|id| client.queue(id, &get()));
        let whole = client.unsent().len() / 3;
        client.sent(whole);
        client.sent(whole - 1);
        let mut ended = Vec::new();
        client.receive(b"$1\r", &mut ended).unwrap();
        client.close("reset", &mut ended);
        assert_eq!(ended, [(1, End::Unknown("reset")), (2, End::Cut("cut")), (3, End::Cut("cut"))]);
    }

    #[test]
    fn nonsense_is_an_error() {
        let mut client = Client::default();
        client.queue(1, &get());
        assert!(client.receive(b"?what\r\n", &mut Vec::new()).is_err());
    }
}
