//! The turn of one call: where its road waits until the earlier calls of its batch are out of its way.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::class::{Class, Classes};
use super::line::Line;
use super::plan::{Plan, Planned};
use crate::tell::{CallError, Stage};

/// The turn of a call in its batch. Only [`super::Batch`] makes one.
#[derive(Clone)]
pub struct Turn(Arc<Place>);

struct Place {
    queue: Arc<Queue>,
    index: usize,
}

/// The calls of a batch that wait for their turns.
pub(super) struct Queue {
    classes: Classes,
    waiting: Mutex<Waiting>,
}

struct Waiting {
    line: Line,
    /// Those that have come, and are told when they go.
    told: HashMap<usize, oneshot::Sender<()>>,
    times: Vec<Times>,
}

/// When a call did what.
#[derive(Clone, Debug)]
pub(super) struct Times {
    pub(super) added: Instant,
    /// When it could have run.
    pub(super) came: Option<Instant>,
    /// When its turn came, and the call whose end it had waited for.
    pub(super) went: Option<Instant>,
    pub(super) behind: Option<usize>,
    pub(super) ended: Option<Instant>,
}

impl Queue {
    pub(super) fn new(max_parallel: usize, classes: Classes) -> Arc<Self> {
        let waiting = Waiting { line: Line::new(max_parallel), told: HashMap::new(), times: Vec::new() };
        Arc::new(Queue { classes, waiting: Mutex::new(waiting) })
    }

    pub(super) fn push(self: &Arc<Self>, call: Planned) -> Turn {
        let mut waiting = self.waiting();
        let index = waiting.line.push(call);
        waiting.times.push(Times { added: Instant::now(), came: None, went: None, behind: None, ended: None });
        Turn(Arc::new(Place { queue: self.clone(), index }))
    }

    pub(super) fn ends(&self, index: usize) {
        let mut waiting = self.waiting();
        if let Some(times) = waiting.times.get_mut(index) {
            times.ended = Some(Instant::now());
        }
        waiting.line.ends(index);
        waiting.told.remove(&index);
        waiting.go(Some(index));
    }

    pub(super) fn plan(&self) -> Plan {
        self.waiting().line.plan().clone()
    }

    pub(super) fn times(&self) -> Vec<Times> {
        self.waiting().times.clone()
    }

    pub(super) fn class(&self, index: usize) -> Option<Class> {
        self.waiting().line.plan().calls().get(index).and_then(|call| call.class.clone())
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Lets those go whose turn it is, behind the end of a call.
    fn go(&mut self, behind: Option<usize>) {
        let now = Instant::now();
        for index in self.line.go() {
            if let Some(times) = self.times.get_mut(index) {
                (times.went, times.behind) = (Some(now), behind);
            }
            // Whoever has gone away meanwhile ends by itself, and makes room then.
            let _ = self.told.remove(&index).map(|goes| goes.send(()));
        }
    }
}

impl Turn {
    /// The call may run: waits until its turn comes. `call` is what it has come to, perhaps by an edit.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the call where it is in the line, until it ends.
    pub(crate) async fn comes(&self, call: Planned) -> Result<(), CallError> {
        let goes = {
            let mut waiting = self.0.queue.waiting();
            let edited = (waiting.line.plan().calls().get(self.0.index) != Some(&call)).then_some(call);
            let (told, goes) = oneshot::channel();
            waiting.told.insert(self.0.index, told);
            if let Some(times) = waiting.times.get_mut(self.0.index) {
                times.came = Some(Instant::now());
            }
            waiting.line.comes(self.0.index, edited);
            waiting.go(None);
            goes
        };
        goes.await.map_err(|lost| crate::bug!(Stage::Guard, "a call of a batch was forgotten: {lost}"))
    }

    /// Whether earlier calls are in its way, or were: what was known before them may not be so behind them.
    pub(crate) fn is_behind_others(&self) -> bool {
        self.0.queue.waiting().line.is_behind_others(self.0.index)
    }

    pub(crate) fn classes(&self) -> &Classes {
        &self.0.queue.classes
    }

    pub(super) fn index(&self) -> usize {
        self.0.index
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Turn").field(&self.0.index).finish()
    }
}
