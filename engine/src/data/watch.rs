//! Keys under WATCH.
//!
//! Lives here: who watches which key and whose watch a change has broken. Fed by the stream of
//! effects, so no command can forget it. Not here: EXEC (`commands::transaction`).

use crate::session::SessionId;
use std::collections::{BTreeMap, BTreeSet};

/// A key and its database.
type Place = (u8, Box<[u8]>);

#[derive(Debug, Default)]
pub struct Watches {
    by_key: BTreeMap<Place, Vec<SessionId>>,
    by_session: BTreeMap<SessionId, Vec<Place>>,
    broken: BTreeSet<SessionId>,
}

impl Watches {
    /// Number of keys watched and of sessions that watch: INFO clients.
    pub fn counts(&self) -> (usize, usize) {
        (self.by_key.len(), self.by_session.len())
    }

    /// Gives false when the session watched the key already.
    pub fn watch(&mut self, session: SessionId, database: u8, key: &[u8]) -> bool {
        let watchers = self.by_key.entry((database, key.into())).or_default();
        if watchers.contains(&session) {
            return false;
        }
        watchers.push(session);
        self.by_session.entry(session).or_default().push((database, key.into()));
        true
    }

    /// Ends all watches of the session; gives whether one of them was broken.
    pub fn unwatch(&mut self, session: SessionId) -> bool {
        for place in self.by_session.remove(&session).unwrap_or_default() {
            let watchers = self.by_key.get_mut(&place).expect("both directions are kept");
            watchers.retain(|watcher| *watcher != session);
            if watchers.is_empty() {
                self.by_key.remove(&place);
            }
        }
        self.broken.remove(&session)
    }

    pub fn mend(&mut self, session: SessionId) {
        self.broken.remove(&session);
    }

    pub fn is_broken(&self, session: SessionId) -> bool {
        self.broken.contains(&session)
    }

    /// Keys the session watches, with their databases.
    pub fn keys_of(&self, session: SessionId) -> &[(u8, Box<[u8]>)] {
        self.by_session.get(&session).map_or(&[], |keys| keys)
    }

    /// The key changed.
    pub fn changed(&mut self, database: u8, key: &[u8]) {
        if self.by_key.is_empty() {
            return;
        }
        if let Some(watchers) = self.by_key.get(&(database, Box::from(key))) {
            self.broken.extend(watchers.iter().copied());
        }
    }

    /// Keys of this database that are watched.
    pub fn watched_in(&self, database: u8) -> Vec<Box<[u8]>> {
        let of_database = |place: &&Place| place.0 == database;
        self.by_key.keys().filter(of_database).map(|(_, key)| key.clone()).collect()
    }

    /// Whose watches are broken now, to be put back when what follows is taken back.
    pub fn broken(&self) -> BTreeSet<SessionId> {
        self.broken.clone()
    }

    /// The changes since `broken` was asked never happened.
    pub fn restore(&mut self, broken: BTreeSet<SessionId>) {
        self.broken = broken;
    }

    /// Everything may have changed: the memory was rebuilt.
    pub fn break_all(&mut self) {
        self.broken.extend(self.by_session.keys().copied());
    }
}
