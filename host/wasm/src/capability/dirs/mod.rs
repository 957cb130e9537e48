//! Folders of the host, by `wasi:filesystem`. Nothing is there that is not granted; everything that a tool does passes the gate
//! before it is done.
//!
//! The parts, as other capabilities have them: the **grant** says which folders there are and what may be done in each
//! ([`grant`], and the settings in `toolpost_core::catalog::grants`); the **driver** opens them, once for all attempts
//! ([`driver`]); the **handle** is what one attempt has of both, with its [`desk`], where the work is done; and the
//! **interface** turns what a guest asks for into what is done with a [`folder`], a [`file`] that it was asked to [`open`], a
//! [`stream`] or a [`list`].
//!
//! What is kept from a tool by `deny` is found by the way that is really gone ([`walk`]). It cannot be found by what a name stands
//! for: a second name (a hard link) that somebody else has given a denied file is another path, and so is the place to which
//! somebody else moves it. In the same way, a file that somebody else has given a name inside of a granted folder is in it.

// What was granted
mod grant;

// The driver
mod desk;
pub(crate) mod driver;
pub(crate) mod meant;
mod walk;

// What a guest holds
mod file;
mod folder;
mod list;
mod open;
mod stream;
mod times;

// The interface, in its own words
mod interface;

use std::any::Any;
use std::sync::Arc;

use toolpost_core::Attempt;
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::p2::bindings::filesystem::{preopens, types};

use self::desk::Desk;
use self::driver::Roots;
use self::folder::Descriptor;
use self::grant::Share;
use self::list::Listing;
use self::meant::Meant;
use super::Fate;
use crate::state::State;

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    types::add_to_linker::<_, Files>(linker, State::files)?;
    preopens::add_to_linker::<_, Files>(linker, State::files)
}

/// A granted folder is a name, and whatever is done with it asks whether the call may. All that was opened in it ends with the
/// call.
pub(super) fn close(held: &mut (dyn Any + Send)) -> Option<Fate> {
    if let Some(descriptor) = held.downcast_mut::<Descriptor>() {
        let lasts = matches!(descriptor, Descriptor::Granted(_) | Descriptor::Closed);
        if !lasts {
            *descriptor = Descriptor::Closed;
        }
        return Some(if lasts { Fate::Lasts } else { Fate::Closed });
    }
    let was_open = held.downcast_mut::<Listing>()?.close();
    Some(if was_open { Fate::Closed } else { Fate::Lasts })
}

/// Files, as the linker knows them.
struct Files;

impl HasData for Files {
    type Data<'a> = View<'a>;
}

/// What the interface works on.
pub(crate) struct View<'a> {
    pub(crate) handle: &'a Handle,
    pub(crate) table: &'a mut ResourceTable,
}

/// The granted folders, as far as one attempt has them. Dropping it is the end of every change that the attempt makes.
pub(crate) struct Handle {
    attempt: Attempt,
    shares: Vec<Arc<Share>>,
    desk: Arc<Desk>,
}

impl Handle {
    pub(crate) fn new(attempt: &Attempt, roots: &Roots, meant: &Meant) -> Self {
        let desk = Arc::new(Desk::new(&roots.driver));
        let share = |(at, root): (usize, &driver::Root)| Arc::new(Share::new(root, meant.of(at), attempt, &desk));
        Handle { attempt: attempt.clone(), shares: roots.roots.iter().enumerate().map(share).collect(), desk }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.desk.end();
    }
}
