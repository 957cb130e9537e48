//! The open seam: what an embedding program offers to tools beside Toolpost's own interfaces. It has the four parts that each
//! capability has: a grant, which settings write under `grants.own`; whatever drives it, which is the program's; what one attempt
//! has of it ([`State::own`]); and the functions that it links, each of which passes the gate before it has an effect on the world
//! ([`Attempt::pass`](toolpost_core::Attempt::pass)).

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use toolpost_core::EffectClass;
use toolpost_core::catalog::grants::Grants;
use wasmtime::component::Linker;

use crate::state::State;

/// An interface of the embedding program's own.
pub trait Interface: Send + Sync {
    /// Its key under `grants.own` in the settings: `grants.own.mail = { .. }`.
    fn name(&self) -> &str;

    /// What the names of its imports begin with, such as `acme:mail/`.
    fn imports(&self) -> &str;

    /// Reads a grant, and says how far a tool reaches with it. Without a grant it is told to reach nothing: the functions must
    /// refuse.
    ///
    /// # Errors
    /// It is no such grant; the error says what would be one.
    fn judge(&self, grant: &Value) -> Result<EffectClass, String>;

    /// Links its functions.
    ///
    /// # Errors
    /// Whatever wasmtime reports.
    fn link(&self, linker: &mut Linker<State>) -> wasmtime::Result<()>;
}

/// The interfaces that a program offers.
#[derive(Clone, Default)]
pub struct Interfaces(Vec<Arc<dyn Interface>>);

impl Interfaces {
    /// These, and one more.
    #[must_use]
    pub fn and(mut self, interface: Arc<dyn Interface>) -> Self {
        self.0.push(interface);
        self
    }

    pub(crate) fn link(&self, linker: &mut Linker<State>) -> wasmtime::Result<()> {
        self.0.iter().try_for_each(|interface| interface.link(linker))
    }

    fn offering(&self, import: &str) -> Option<&dyn Interface> {
        self.0.iter().find(|interface| import.starts_with(interface.imports())).map(|interface| &**interface)
    }

    /// How far a tool reaches by an import, if it is of one of these.
    pub(crate) fn effect(&self, import: &str, grants: &Grants) -> Option<EffectClass> {
        let interface = self.offering(import)?;
        let granted = grants.own.get(interface.name());
        Some(granted.map_or(EffectClass::Pure, |grant| interface.judge(grant).unwrap_or(EffectClass::Open)))
    }

    /// Whether each grant is one of these, of use to a component with these imports, and well formed.
    ///
    /// # Errors
    /// One is not; the error names it.
    pub(crate) fn take<'i>(
        &self,
        grants: &Grants,
        imports: impl Iterator<Item = &'i str> + Clone,
    ) -> Result<(), String> {
        for (name, grant) in &grants.own {
            let Some(interface) = self.0.iter().find(|interface| interface.name() == name) else {
                let offered: Vec<String> = self.0.iter().map(|interface| format!("`{}`", interface.name())).collect();
                let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
                return Err(format!("`grants.own.{name}` is no interface that this program adds; it adds {offered}"));
            };
            if !imports.clone().any(|import| import.starts_with(interface.imports())) {
                let begin = interface.imports();
                return Err(format!(
                    "`grants.own.{name}` is of no use to it: it does not import `{begin}..`; take the grant out"
                ));
            }
            interface.judge(grant).map_err(|why| format!("`grants.own.{name}`: {why}"))?;
        }
        Ok(())
    }
}

impl PartialEq for Interfaces {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(one, other)| Arc::ptr_eq(one, other))
    }
}

impl Eq for Interfaces {}

impl fmt::Debug for Interfaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|interface| interface.name())).finish()
    }
}
