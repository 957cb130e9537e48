//! Tasks in memory: for a host of which nothing need survive.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::time::Instant;

use super::id::TaskId;
use super::record::{HostId, Record, State, later};
use super::store::{
    Asked, EFFECTS_MAX, Filed, LISTED_MAX, Listed, Look, Looking, Notes, Query, Room, Seen, TaskFailure, TaskStore,
    Touch, Words,
};
use crate::call::Arguments;
use crate::catalog::rough_size;
use crate::effect::Effect;

/// The most that all tasks may take together before no more are filed: their arguments, what they say and do, and what came of
/// them, in bytes.
pub const BYTES_MAX: usize = 256 << 20;

/// Tasks in memory.
#[derive(Debug)]
pub struct Memory {
    /// The same instant on both clocks. From there on the one counts that tests can pause.
    epoch: (u64, Instant),
    bytes_max: usize,
    tasks: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_id: HashMap<TaskId, Entry>,
    /// The tasks that have ended, in the order in which they are forgotten.
    over: BTreeMap<(u64, TaskId), ()>,
    hosts: HashMap<HostId, u64>,
    bytes: usize,
    came: u64,
}

#[derive(Debug)]
struct Entry {
    record: Arc<Record>,
    asked: Option<Asked>,
    notes: Notes,
    /// Its place among those that came in the same millisecond.
    came: u64,
    /// The numbers of the effects that are kept of the last run, which may come in any order.
    touched: BTreeSet<u32>,
    /// The parts that are kept of the last run.
    parts: u32,
    /// What its arguments weigh.
    asked_bytes: usize,
    bytes: usize,
}

impl Default for Memory {
    fn default() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        Memory { epoch: (now, Instant::now()), bytes_max: BYTES_MAX, tasks: Mutex::default() }
    }
}

impl Memory {
    /// Sets what all tasks may take together before no more are filed, in bytes; [`BYTES_MAX`] without it.
    #[must_use]
    pub fn holding(self, bytes_max: usize) -> Self {
        Memory { bytes_max, ..self }
    }

    fn now(&self) -> u64 {
        let (epoch, instant) = self.epoch;
        epoch.saturating_add(u64::try_from(instant.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Kept, u64) -> T) -> T {
        act(&mut self.tasks.lock().unwrap_or_else(PoisonError::into_inner), self.now())
    }

    /// Not before it is awaited: who drops the future has changed nothing.
    fn write<'s, T: Send + 's>(
        &'s self,
        act: impl FnOnce(&mut Kept, u64) -> T + Send + 's,
    ) -> BoxFuture<'s, Result<T, TaskFailure>> {
        async move { Ok(self.with(act)) }.boxed()
    }
}

impl Kept {
    fn is_gone(&self, record: &Record, now: u64) -> bool {
        let State::Running { host } = &record.state else { return false };
        self.hosts.get(host).is_none_or(|until| *until <= now)
    }

    fn filed(&self, entry: &Entry, now: u64) -> Filed {
        let Entry { record, notes, .. } = entry;
        let is_gone = self.is_gone(record, now);
        Filed { record: record.clone(), is_gone, progress: notes.progress.clone(), question: notes.question.clone() }
    }

    fn take_out(&mut self, id: &TaskId) {
        if let Some(entry) = self.by_id.remove(id) {
            self.bytes -= entry.bytes;
            self.over.remove(&(entry.record.expires_ms.unwrap_or_default(), id.clone()));
        }
    }

    /// What is too old goes; and the oldest where there are too many.
    fn make_room(&mut self, kept_max: u64, now: u64) {
        while let Some(((expires, id), ())) = self.over.first_key_value() {
            if *expires > now && self.over.len() as u64 <= kept_max {
                return;
            }
            let id = id.clone();
            self.take_out(&id);
        }
    }

    fn file(&mut self, record: Arc<Record>, asked: Asked, room: Room, bytes_max: usize, now: u64) -> bool {
        self.make_room(room.kept_max, now);
        let waiting = self.by_id.len() - self.over.len();
        if waiting as u64 >= room.waiting_max || self.bytes >= bytes_max {
            return false;
        }
        let id = record.request.id.clone();
        self.came += 1;
        let (notes, came, asked_bytes) = (Notes::default(), self.came, weight_of(&asked));
        let (touched, asked) = (BTreeSet::new(), Some(asked));
        let entry = Entry { record, asked, notes, came, touched, parts: 0, asked_bytes, bytes: 0 };
        self.by_id.insert(id.clone(), entry);
        self.weigh(&id);
        true
    }

    fn swap(&mut self, id: &TaskId, expected: u64, record: Option<Arc<Record>>) -> bool {
        let Some(entry) = self.by_id.get_mut(id).filter(|entry| entry.record.version == expected) else {
            return false;
        };
        let Some(record) = record else {
            self.take_out(id);
            return true;
        };
        let before = std::mem::replace(&mut entry.record, record.clone());
        if before.fence != record.fence {
            entry.notes = Notes { effects: std::mem::take(&mut entry.notes.effects), ..Notes::default() };
            entry.touched.clear();
            entry.parts = 0;
        }
        if record.ended().is_some() {
            (entry.asked, entry.notes.question, entry.asked_bytes) = (None, None, 0);
            entry.touched.clear();
        }
        if let Some(expires) = before.expires_ms {
            self.over.remove(&(expires, id.clone()));
        }
        if let Some(expires) = record.expires_ms {
            self.over.insert((expires, id.clone()), ());
        }
        self.weigh(id);
        true
    }

    fn touch(&mut self, touch: Touch) -> bool {
        let Some(entry) = self.by_id.get_mut(&touch.id).filter(|entry| entry.is_of(touch.fence)) else { return false };
        // What is beyond the list is not told here.
        if entry.touched.len() >= EFFECTS_MAX || !entry.touched.insert(touch.number) {
            return true;
        }
        let record = Arc::make_mut(&mut entry.record);
        record.version = touch.version;
        record.effects = record.effects.saturating_add(1);
        record.again &= touch.again;
        let listed = &mut entry.notes.effects;
        if listed.len() < EFFECTS_MAX {
            let before = listed.iter().take_while(|(run, _)| *run < record.runs).count();
            let place = before + entry.touched.range(..touch.number).count();
            listed.insert(place.min(listed.len()), (record.runs, touch.effect));
        }
        self.weigh(&touch.id);
        true
    }

    fn say(&mut self, words: Words) -> bool {
        let Some(entry) = self.by_id.get_mut(&words.id).filter(|entry| entry.is_of(words.fence)) else { return false };
        entry.notes.progress = words.progress.or(entry.notes.progress.take());
        entry.notes.question = words.question.unwrap_or(entry.notes.question.take());
        if let Some(part) = words.part.filter(|part| part.number >= entry.parts) {
            entry.notes.partial.push_str(&part.text);
            entry.parts = part.number + 1;
        }
        entry.notes.dropped_bytes = entry.notes.dropped_bytes.max(words.dropped_bytes);
        self.weigh(&words.id);
        true
    }

    fn weigh(&mut self, id: &TaskId) {
        let Some(entry) = self.by_id.get_mut(id) else { return };
        let weight = entry.weight();
        self.bytes = self.bytes - std::mem::replace(&mut entry.bytes, weight) + weight;
    }

    fn look(&self, looking: &Looking, now: u64) -> Look {
        let mut look = Look::default();
        let mut ready: Vec<(u64, u64, &TaskId)> = Vec::new();
        for (id, entry) in self.by_id.iter().filter(|(_, entry)| entry.record.request.scope == looking.scope) {
            match &entry.record.state {
                State::Queued { due_ms } if *due_ms <= now => ready.push((*due_ms, entry.came, id)),
                State::Queued { due_ms } => look.next_ms = Some(look.next_ms.map_or(*due_ms, |next| next.min(*due_ms))),
                State::Running { host } if *host == looking.host => {
                    look.own.push(id.clone());
                    if entry.record.cancel.is_some() {
                        look.unwanted.push(id.clone());
                    }
                }
                State::Running { .. } if self.is_gone(&entry.record, now) => {
                    ready.push((entry.record.changed_ms, entry.came, id));
                }
                State::Running { .. } | State::Ended(_) => {}
            }
        }
        ready.sort_unstable();
        look.ready = ready.into_iter().take(looking.limit).map(|(.., id)| id.clone()).collect();
        look
    }
}

impl Entry {
    /// Whether that run has it.
    fn is_of(&self, fence: u64) -> bool {
        self.record.fence == fence && matches!(self.record.state, State::Running { .. })
    }

    /// About how many bytes it takes.
    fn weight(&self) -> usize {
        const FIXED: usize = 1 << 10;
        let ended = self.record.ended().map_or(0, |ended| ended.texts().0.len() + ended.texts().1.len());
        let effects: usize = self.notes.effects.iter().map(|(_, effect)| weight_of_effect(effect)).sum();
        FIXED + self.asked_bytes + ended + effects + self.notes.partial.len() + self.record.request.shown.len()
    }
}

fn weight_of(asked: &Asked) -> usize {
    let key = asked.idempotency_key.as_ref().map_or(0, String::len);
    key + match &asked.arguments {
        Arguments::Text(text) => text.len(),
        Arguments::Value(value) => usize::try_from(rough_size(value)).unwrap_or(usize::MAX),
    }
}

fn weight_of_effect(effect: &Effect) -> usize {
    let Effect { action, target, detail, .. } = effect;
    action.len() + target.len() + detail.as_ref().map_or(0, String::len) + 100
}

impl TaskStore for Memory {
    fn now_ms(&self) -> u64 {
        self.now()
    }

    fn file(&self, record: Arc<Record>, asked: Asked, room: Room) -> BoxFuture<'_, Result<bool, TaskFailure>> {
        self.write(move |tasks, now| tasks.file(record, asked, room, self.bytes_max, now))
    }

    fn asked<'a>(&'a self, id: &'a TaskId) -> BoxFuture<'a, Result<Option<Asked>, TaskFailure>> {
        ready(Ok(self.with(|tasks, _| tasks.by_id.get(id)?.asked.clone()))).boxed()
    }

    fn get<'a>(&'a self, id: &'a TaskId) -> BoxFuture<'a, Result<Seen, TaskFailure>> {
        let seen = self.with(|tasks, now_ms| {
            let record =
                tasks.by_id.get(id).map(|entry| entry.record.clone()).filter(|record| is_known(record, now_ms));
            let is_gone = record.as_ref().is_some_and(|record| tasks.is_gone(record, now_ms));
            Seen { record, is_gone, now_ms }
        });
        ready(Ok(seen)).boxed()
    }

    fn swap<'a>(
        &'a self,
        id: &'a TaskId,
        expected: u64,
        record: Option<Arc<Record>>,
    ) -> BoxFuture<'a, Result<bool, TaskFailure>> {
        self.write(move |tasks, _| tasks.swap(id, expected, record))
    }

    fn touch(&self, touch: Touch) -> BoxFuture<'_, Result<bool, TaskFailure>> {
        self.write(move |tasks, _| tasks.touch(touch))
    }

    fn say(&self, words: Words) -> BoxFuture<'_, Result<bool, TaskFailure>> {
        self.write(move |tasks, _| tasks.say(words))
    }

    fn notes<'a>(&'a self, id: &'a TaskId) -> BoxFuture<'a, Result<Notes, TaskFailure>> {
        ready(Ok(self.with(|tasks, _| tasks.by_id.get(id).map(|entry| entry.notes.clone()).unwrap_or_default())))
            .boxed()
    }

    fn list<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Listed, TaskFailure>> {
        let listed = self.with(|tasks, now_ms| {
            let known = tasks.by_id.values().filter(|entry| is_known(&entry.record, now_ms));
            let mut fit: Vec<(u64, Filed)> = known.map(|entry| (entry.came, tasks.filed(entry, now_ms))).collect();
            fit.retain(|(_, filed)| query.fits(filed));
            fit.sort_by_key(|(came, _)| std::cmp::Reverse(*came));
            fit.truncate(query.limit.min(LISTED_MAX));
            Listed { tasks: fit.into_iter().map(|(_, filed)| filed).collect(), now_ms }
        });
        ready(Ok(listed)).boxed()
    }

    fn look<'a>(&'a self, looking: &'a Looking) -> BoxFuture<'a, Result<Look, TaskFailure>> {
        ready(Ok(self.with(|tasks, now| tasks.look(looking, now)))).boxed()
    }

    fn renew<'a>(&'a self, host: &'a HostId, lease: Duration) -> BoxFuture<'a, Result<(), TaskFailure>> {
        self.write(move |tasks, now| {
            tasks.make_room(u64::MAX, now);
            // Whoever runs nothing is forgotten: its tasks are taken for left also without it.
            tasks.hosts.retain(|_, until| *until > now);
            tasks.hosts.insert(host.clone(), later(now, lease));
        })
    }

    fn leave<'a>(&'a self, host: &'a HostId) -> BoxFuture<'a, Result<(), TaskFailure>> {
        self.write(move |tasks, _| {
            tasks.hosts.remove(host);
        })
    }
}

fn is_known(record: &Record, now: u64) -> bool {
    record.expires_ms.is_none_or(|expires| expires > now)
}
