//! What nobody calls any more goes when its time is over, and not only when somebody asks for it.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

use super::Keeper;

/// Sees to it, if nobody does. It ends when nothing stands there any more.
pub(super) fn begin(keeper: &Arc<Keeper>) {
    let Ok(runtime) = Handle::try_current() else { return };
    let mut room = keeper.room();
    if room.looks.is_none() && room.count() > 0 {
        room.looks = Some(Instant::now());
        drop(room);
        runtime.spawn(watch(Watching(Arc::downgrade(keeper))));
    }
}

/// One who watches. Dropping it, as a runtime does that ends, means that nobody does.
struct Watching(Weak<Keeper>);

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(keeper) = self.0.upgrade() {
            keeper.room().looks = None;
        }
    }
}

async fn watch(watching: Watching) {
    loop {
        let Some(keeper) = watching.0.upgrade() else { return };
        let earlier = keeper.earlier.clone();
        let (next, gone) = keeper.room().expire();
        drop((gone, keeper));
        let Some(next) = next else { break };
        tokio::select! {
            () = sleep_until(next) => {}
            () = earlier.notified() => {}
        }
    }
    let again = watching.0.upgrade();
    drop(watching);
    // Something may have come since it was looked.
    if let Some(keeper) = again {
        begin(&keeper);
    }
}
