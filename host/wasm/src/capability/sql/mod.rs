//! Databases, by `toolpost:sql`. Nothing is open that is not granted, and every statement passes the gate before it is sent.
//!
//! The parts, as other capabilities have them: the **grant** says which databases there are and what may be done in each
//! ([`grant`], and the settings in `toolpost_core::catalog::grants`); the **driver** is a trait ([`backend`]), because there are
//! several kinds of database, and this crate knows none of them; the **handle** is what one attempt has of both, with the
//! [`work`] that is done; and the **interface** turns what a guest asks for into that.
//!
//! A [`statement`] is looked at only for what the host must know beforehand. What it may touch, the database itself decides,
//! under the rules that it was given: whatever way a change is asked for, by a word, a function or a trigger, it sees it.

// What was granted
mod grant;
mod lexer;
mod statement;

// The driver
pub mod backend;

// What is done
mod work;

// The interface, in its own words
mod interface;

use std::any::Any;
use std::sync::Arc;

use toolpost_core::Attempt;
use toolpost_core::catalog::grants::SqlGrant;
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, ResourceTable};

use self::backend::{Backend, Databases};
use self::grant::Share;
use super::Fate;
use crate::state::State;

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    interface::add_to_linker::<_, Sql>(linker, State::databases)
}

/// A database that was taken up is a name, and each statement asks whether the call may. What was not committed did not happen.
pub(super) fn close(held: &mut (dyn Any + Send)) -> Option<Fate> {
    if held.is::<interface::Database>() {
        return Some(Fate::Lasts);
    }
    let was_open = held.downcast_mut::<work::Transaction>()?.close();
    Some(if was_open { Fate::Closed } else { Fate::Lasts })
}

/// Databases, as the linker knows them.
struct Sql;

impl HasData for Sql {
    type Data<'a> = View<'a>;
}

/// What the interface works on.
pub(crate) struct View<'a> {
    pub(crate) handle: &'a Handle,
    pub(crate) table: &'a mut ResourceTable,
}

/// The databases that a tool has been granted, with what leads to each.
#[derive(Default)]
pub(crate) struct Opened(Vec<(SqlGrant, Arc<dyn Backend>)>);

impl Opened {
    /// Finds them.
    ///
    /// # Errors
    /// One is not there, or cannot keep to its grant.
    pub(crate) fn find(grants: &[SqlGrant], databases: &Databases) -> std::result::Result<Self, String> {
        let find = |grant: &SqlGrant| Ok((grant.clone(), databases.granted(grant)?));
        Ok(Opened(grants.iter().map(find).collect::<std::result::Result<_, String>>()?))
    }
}

/// The granted databases, as far as one attempt has them.
pub(crate) struct Handle {
    shares: Vec<Arc<Share>>,
    attempt: Attempt,
}

impl Handle {
    pub(crate) fn new(attempt: &Attempt, granted: &Opened) -> Self {
        let share = |(grant, backend): &(SqlGrant, Arc<dyn Backend>)| Arc::new(Share::new(grant, backend, attempt));
        Handle { shares: granted.0.iter().map(share).collect(), attempt: attempt.clone() }
    }
}
