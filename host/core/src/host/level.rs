//! What does a host stand on? On nothing; or on another host, above which it has tools that a session or a task has brought along.
//! All else it shares with the one below, also what is changed there later.

use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use super::{Host, Rooms};
use crate::catalog::{Tool, ToolSet};
use crate::task::Tasks;

pub(super) enum Level {
    Ground(RwLock<Arc<Rooms>>),
    Above(Above),
}

pub(super) struct Above {
    below: Host,
    set: ToolSet,
    /// The tasks of its tools: only a host with the same ones takes them up, and they are kept and stopped for themselves.
    tasks: Arc<Tasks>,
    /// The rooms, and those below of which they were made.
    made: RwLock<Option<(Arc<Rooms>, Arc<Rooms>)>>,
}

impl Host {
    /// The same host, with tools above its own that a session or a task has brought along. Rules, breakers, rates, budgets, questions,
    /// places, the ledger and the log are those of this host, and so is what is set of them later.
    ///
    /// A tool of this host that calls others does not see what was brought along.
    ///
    /// ```
    /// use serde_json::json;
    /// use toolpost_core::catalog::ToolSet;
    /// use toolpost_core::{Call, Catalog, Host, Native};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut own = Catalog::default();
    /// own.add(Native::new("answer", "Answers 6").run(|_| async { Ok(json!(6)) }))?;
    /// let mut brought = Catalog::default();
    /// brought.add(Native::new("answer", "Answers 7").run(|_| async { Ok(json!(7)) }))?;
    ///
    /// let host = Host::new(own);
    /// let session = host.scoped(ToolSet::new("session-42", brought)?)?;
    /// assert_eq!(session.call(Call::new("answer", json!({}))).await.result?.value, json!(7));
    /// assert_eq!(host.call(Call::new("answer", json!({}))).await.result?.value, json!(6));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A set of that name is there already.
    pub fn scoped(&self, set: ToolSet) -> Result<Host, String> {
        if self.catalog().has_set(set.name()) {
            return Err(format!("a set of tools named `{}` is there already", set.name().as_str()));
        }
        let tasks = Arc::new(self.tasks().of_set(set.name().as_str()));
        Ok(Host(Arc::new(Level::Above(Above { below: self.clone(), set, tasks, made: RwLock::default() }))))
    }

    pub(super) fn rooms(&self) -> Arc<Rooms> {
        match &*self.0 {
            Level::Ground(rooms) => rooms.read().unwrap_or_else(PoisonError::into_inner).clone(),
            Level::Above(above) => above.rooms(),
        }
    }

    /// The rooms that all levels share, to change them.
    pub(super) fn ground(&self) -> RwLockWriteGuard<'_, Arc<Rooms>> {
        match &*self.0 {
            Level::Ground(rooms) => rooms.write().unwrap_or_else(PoisonError::into_inner),
            Level::Above(above) => above.below.ground(),
        }
    }

    /// The host on whose level a tool stands. There it finds the tools that it calls.
    pub(crate) fn of_tool(&self, tool: &Tool) -> &Host {
        match &*self.0 {
            Level::Above(above) if tool.set.as_ref() != Some(above.set.name()) => above.below.of_tool(tool),
            _ => self,
        }
    }
}

impl Above {
    fn rooms(&self) -> Arc<Rooms> {
        let below = self.below.rooms();
        let is_made = |made: &&(Arc<Rooms>, Arc<Rooms>)| Arc::ptr_eq(&made.0, &below);
        let known = self.made.read().unwrap_or_else(PoisonError::into_inner).as_ref().filter(is_made).cloned();
        let (_, rooms) = known.unwrap_or_else(|| {
            let catalog = below.catalog.under(&self.set);
            let rooms = Arc::new(Rooms { catalog, tasks: self.tasks.clone(), ..(*below).clone() });
            *self.made.write().unwrap_or_else(PoisonError::into_inner) = Some((below.clone(), rooms.clone()));
            (below, rooms)
        });
        rooms
    }
}
