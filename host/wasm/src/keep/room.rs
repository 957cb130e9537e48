//! The room in which instances stand, and what goes to make room. All of it happens under one lock, but for the end of an
//! instance, which takes its time: what goes is handed to the one who asked, and dropped there.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Weak};

use tokio::time::Instant;
use toolpost_core::CallError;

use super::{CROWDED, LARGE, Session, Shelf, Why, busy};
use crate::instance::Instance;

/// Sessions of which it is remembered that they have lost what they had.
const LOST_MAX: usize = 1_024;

/// What was on its way out. Dropping it is the end of it.
pub(super) type Gone = Vec<Idle>;

pub(super) struct Room {
    max: usize,
    latest: u64,
    rows: HashMap<u64, Row>,
    shelves: HashMap<[u8; 32], Weak<Shelf>>,
    /// In the order in which they were put here: that which was not used for longest comes first.
    idle: BTreeMap<u64, Idle>,
    ends: BTreeSet<(Instant, u64)>,
    lost: VecDeque<(u64, Session, Why)>,
    /// When somebody looks again whether something has ended; nothing where nobody does.
    pub(super) looks: Option<Instant>,
}

/// An instance that nobody uses.
pub(super) struct Idle {
    pub(super) shelf: u64,
    pub(super) session: Option<Session>,
    pub(super) instance: Instance,
    pub(super) ends: Instant,
    /// Why it ends then.
    pub(super) why: Why,
}

/// What belongs to a shelf.
#[derive(Default)]
struct Row {
    idle: BTreeSet<u64>,
    sessions: HashMap<Session, Where>,
}

/// Whether the end of an instance would pass unseen.
pub(super) enum Unseen {
    /// Somebody looks in time.
    No,
    /// Somebody looks, but later.
    InTime,
    /// Nobody looks.
    ByAnybody,
}

/// The instance of a session.
enum Where {
    AtWork,
    /// Here, under that number.
    Here(u64),
}

impl Room {
    pub(super) fn new(max: usize) -> Self {
        Room {
            max,
            latest: 0,
            rows: HashMap::new(),
            shelves: HashMap::new(),
            idle: BTreeMap::new(),
            ends: BTreeSet::new(),
            lost: VecDeque::new(),
            looks: None,
        }
    }

    pub(super) fn shelf(&mut self, key: [u8; 32], make: impl FnOnce(u64) -> Shelf) -> Arc<Shelf> {
        if let Some(known) = self.shelves.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        self.shelves.retain(|_, shelf| shelf.strong_count() > 0);
        self.latest += 1;
        let shelf = Arc::new(make(self.latest));
        self.rows.insert(self.latest, Row::default());
        self.shelves.insert(key, Arc::downgrade(&shelf));
        shelf
    }

    pub(super) fn count(&self) -> usize {
        self.idle.len()
    }

    /// What may serve a call, and why there is nothing, where there was something. From here on the session's is at work.
    ///
    /// # Errors
    /// It is at work already.
    pub(super) fn take(
        &mut self,
        shelf: u64,
        session: Option<&Session>,
        memory_bytes_max: u64,
    ) -> Result<(Option<Instance>, Option<Why>, Gone), CallError> {
        let (now, mut gone) = (Instant::now(), Gone::new());
        loop {
            let row = self.rows.entry(shelf).or_default();
            let at = match session {
                None => row.idle.last().copied(),
                Some(session) => match row.sessions.get(session) {
                    Some(Where::AtWork) => return Err(busy()),
                    Some(Where::Here(at)) => Some(*at),
                    None => None,
                },
            };
            let Some(idle) = at.and_then(|at| self.remove(at)) else { break };
            let why = match &idle {
                idle if idle.ends <= now => idle.why,
                idle if idle.instance.memory_bytes() > memory_bytes_max => LARGE,
                _ => {
                    self.begins(shelf, session);
                    return Ok((Some(idle.instance), None, gone));
                }
            };
            self.remember(&idle, why);
            gone.push(idle);
        }
        self.begins(shelf, session);
        let lost = session.and_then(|session| self.has_lost(shelf, session));
        Ok((None, lost, gone))
    }

    fn begins(&mut self, shelf: u64, session: Option<&Session>) {
        if let Some(session) = session {
            self.rows.entry(shelf).or_default().sessions.insert(session.clone(), Where::AtWork);
        }
    }

    /// Puts an instance here; says whether it ends before anybody would look. Where there are too many, others go, or this one.
    pub(super) fn put(&mut self, idle: Idle, max_of_shelf: usize) -> (Unseen, Gone) {
        self.latest += 1;
        let (at, shelf, ends) = (self.latest, idle.shelf, idle.ends);
        let Some(row) = self.rows.get_mut(&shelf) else { return (Unseen::No, vec![idle]) };
        row.idle.insert(at);
        if let Some(session) = &idle.session {
            row.sessions.insert(session.clone(), Where::Here(at));
        }
        let too_many = row.idle.len().saturating_sub(max_of_shelf);
        let mut crowd: Vec<u64> = row.idle.iter().take(too_many).copied().collect();
        let unseen = match self.looks {
            None => Unseen::ByAnybody,
            Some(at) if ends < at => Unseen::InTime,
            Some(_) => Unseen::No,
        };
        self.ends.insert((ends, at));
        self.idle.insert(at, idle);
        let too_many = self.idle.len().saturating_sub(crowd.len()).saturating_sub(self.max);
        crowd.extend(self.idle.keys().filter(|at| !crowd.contains(at)).take(too_many).copied().collect::<Vec<_>>());
        let gone = crowd.into_iter().filter_map(|at| self.goes(at, CROWDED)).collect();
        (unseen, gone)
    }

    /// The session has nothing any more; `lost` is why, where it had something.
    pub(super) fn free(&mut self, shelf: u64, session: &Session, lost: Option<Why>) {
        let Some(row) = self.rows.get_mut(&shelf) else { return };
        row.sessions.remove(session);
        if let Some(why) = lost {
            self.has_lost(shelf, session);
            self.lost.push_back((shelf, session.clone(), why));
            let too_many = self.lost.len().saturating_sub(LOST_MAX);
            self.lost.drain(..too_many);
        }
    }

    /// Whatever stands on a shelf goes, and nothing comes there any more.
    pub(super) fn clear(&mut self, shelf: u64) -> Gone {
        let row = self.rows.remove(&shelf).unwrap_or_default();
        self.lost.retain(|(of, ..)| *of != shelf);
        row.idle.into_iter().filter_map(|at| self.remove(at)).collect()
    }

    /// What has come to its end goes; says when the next one does.
    pub(super) fn expire(&mut self) -> (Option<Instant>, Gone) {
        let (now, mut gone) = (Instant::now(), Gone::new());
        while let Some((ends, at)) = self.ends.first().copied() {
            if ends > now {
                self.looks = Some(ends);
                return (Some(ends), gone);
            }
            gone.extend(self.remove(at).inspect(|idle| self.remember(idle, idle.why)));
        }
        (None, gone)
    }

    fn goes(&mut self, at: u64, why: Why) -> Option<Idle> {
        let idle = self.remove(at)?;
        self.remember(&idle, why);
        Some(idle)
    }

    fn remove(&mut self, at: u64) -> Option<Idle> {
        let idle = self.idle.remove(&at)?;
        self.ends.remove(&(idle.ends, at));
        if let Some(row) = self.rows.get_mut(&idle.shelf) {
            row.idle.remove(&at);
            if let Some(session) = &idle.session {
                row.sessions.remove(session);
            }
        }
        Some(idle)
    }

    fn remember(&mut self, idle: &Idle, why: Why) {
        if let Some(session) = &idle.session {
            self.free(idle.shelf, session, Some(why));
        }
    }

    /// Why a session has lost what it had, if it has. It is told once.
    fn has_lost(&mut self, shelf: u64, session: &Session) -> Option<Why> {
        let at = self.lost.iter().position(|(of, lost, _)| *of == shelf && lost == session)?;
        self.lost.remove(at).map(|(.., why)| why)
    }
}
