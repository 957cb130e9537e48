//! Tools that a session or a task brings along to a host, made of components, native functions and settings of their own.

use toolpost_core::catalog::ToolSet;

use super::{Builder, Fault, Faults, Keeps, Loaded};
use crate::reload::Made;

impl Loaded {
    /// Tools for a session or a task of this host, with settings of their own: [`Host::scoped`](toolpost_core::Host::scoped) puts them
    /// above those of the host.
    ///
    /// Of the builder's settings count what they say of tools (`limits`, `guard`, `components`, `host.cast`, and the stores and
    /// databases that these are granted), and a lock beside them is kept to. What they say of the whole host does not: who may use what,
    /// what is asked about, secrets, budgets and places are the host's. The engine is the host's, too, unless a program adds other
    /// interfaces.
    ///
    /// # Errors
    /// Everything that is wrong: nothing less than the whole set is brought along.
    ///
    /// # Cancel safety
    /// As for [`Builder::build`].
    pub async fn tool_set(&self, name: &str, builder: Builder) -> Result<ToolSet, Faults> {
        let own = &self.made.builder;
        let settings = builder.settings.clone().of_set(&own.settings);
        // What it keeps for its tools lies in the host's store.
        let keeps = match &own.keeps {
            Keeps::At(store) => Keeps::At(store.clone()),
            Keeps::AsSettingsSay | Keeps::InMemory => Keeps::InMemory,
        };
        let Made { engine, kv, databases, .. } = self.made.clone();
        let before = Made { engine, kv, databases, ..Made::default() };
        let loaded = Builder { settings, keeps, ..builder }.load_after(before, |_| {}).await;
        if !loaded.faults.is_empty() {
            return Err(Faults(loaded.faults));
        }
        ToolSet::new(name, loaded.host.catalog())
            .map_err(|message| Faults(vec![Fault { subject: format!("set `{name}`"), message }]))
    }
}
