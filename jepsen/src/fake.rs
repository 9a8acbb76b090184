//! A server that is wrong on purpose: proof that a run can fail.
//!
//! Lives here: a few commands over a map in memory, with one flaw. Not here: anything that Ramkeep does.
//!
//! | flaw | what it does | who finds it |
//! |---|---|---|
//! | `forgets` | keeps nothing over a kill | the count of marks, the final read |
//! | `skips` | answers OK to every thousandth SET and does nothing | the count of marks |
//! | `stale` | now and then a GET answers the value before the last | the search for an order |

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use ramkeep_check::reply::{Reply, parse};
use ramkeep_net::{Conn, Host, spawn};

/// Every so manieth command of a kind is the flawed one.
const FLAWED_EVERY: u64 = 1000;

/// A value with the one before it.
type Held = (Vec<u8>, Option<Vec<u8>>);

#[derive(Default)]
struct Store {
    flaw: String,
    values: BTreeMap<Vec<u8>, Held>,
    gets: u64,
    sets: u64,
}

/// Serves until the process is killed.
pub async fn serve(host: Host, flaw: String, port: u16) -> io::Result<()> {
    let listener = host.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), 64)?;
    let store = Rc::new(RefCell::new(Store { flaw, ..Store::default() }));
    loop {
        let (conn, _) = listener.accept().await?;
        // A client that breaks off is no matter.
        let store = Rc::clone(&store);
        spawn(async move {
            let _ = talk(conn, store).await;
        });
    }
}

async fn talk(conn: Conn, store: Rc<RefCell<Store>>) -> io::Result<()> {
    let mut inbox = Vec::new();
    loop {
        let mut out = Vec::new();
        // A request has the form of a reply that is an array.
        while let Some((request, length)) =
            parse(&inbox).map_err(|error| io::Error::other(error.to_string()))?
        {
            inbox.drain(..length);
            store.borrow_mut().answer(&request, &mut out);
        }
        conn.write_all(&out).await?;
        if conn.read(&mut inbox).await? == 0 {
            return Ok(());
        }
    }
}

fn bulk(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        Some(value) => {
            out.extend(format!("${}\r\n", value.len()).bytes());
            out.extend(value);
            out.extend(b"\r\n");
        }
        None => out.extend(b"$-1\r\n"),
    }
}

impl Store {
    fn answer(&mut self, request: &Reply, out: &mut Vec<u8>) {
        let Reply::Array(items) = request else { return out.extend(b"-ERR Protocol error\r\n") };
        let words: Vec<&[u8]> = items
            .iter()
            .map(|item| if let Reply::Bulk(word) = item { word.as_slice() } else { b"".as_slice() })
            .collect();
        match words.as_slice() {
            [b"PING"] => out.extend(b"+PONG\r\n"),
            [b"ECHO", tag] => bulk(Some(tag), out),
            [b"GET", key] => {
                let value = self.get(key);
                bulk(value.as_deref(), out);
            }
            [b"MGET", keys @ ..] => {
                out.extend(format!("*{}\r\n", keys.len()).bytes());
                keys.iter()
                    .for_each(|key| bulk(self.values.get(*key).map(|(value, _)| value.as_slice()), out));
            }
            [b"SET", key, value] => {
                self.set(key, value);
                out.extend(b"+OK\r\n");
            }
            [b"SETNX", key, value] => {
                let is_new = !self.values.contains_key(*key);
                if is_new {
                    self.set(key, value);
                }
                out.extend(format!(":{}\r\n", u8::from(is_new)).bytes());
            }
            [b"GETSET", key, value] => {
                let before = self.values.get(*key).map(|(value, _)| value.clone());
                self.set(key, value);
                bulk(before.as_deref(), out);
            }
            [b"GETDEL", key] => {
                let before = self.values.remove(*key);
                bulk(before.as_ref().map(|(value, _)| value.as_slice()), out);
            }
            [b"DEL", key] => {
                out.extend(format!(":{}\r\n", u8::from(self.values.remove(*key).is_some())).bytes());
            }
            _ => out.extend(b"-ERR unknown command\r\n"),
        }
    }

    fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.gets += 1;
        let (value, before) = self.values.get(key)?;
        let is_stale = self.flaw == "stale" && self.gets.is_multiple_of(FLAWED_EVERY / 10);
        Some(if is_stale { before.as_ref().unwrap_or(value).clone() } else { value.clone() })
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.sets += 1;
        if self.flaw == "skips" && self.sets.is_multiple_of(FLAWED_EVERY) {
            return;
        }
        let before = self.values.remove(key).map(|(value, _)| value);
        self.values.insert(key.to_vec(), (value.to_vec(), before));
    }
}
