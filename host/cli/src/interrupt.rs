//! Ctrl-C: once cancels politely, and what came of it is still told; twice ends at once.

use std::process::exit;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

/// The exit code of a program that was interrupted, as shells have it: 128 and the number of the signal.
const INTERRUPTED: i32 = 130;

/// Listens for interruptions until it is dropped.
pub(crate) struct Listening(AbortHandle);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Cancels at the first interruption, which `say` tells, and ends the program at the second one.
pub(crate) fn politely(cancel: CancellationToken, say: impl Fn(&str) + Send + Sync + 'static) -> Option<Listening> {
    let mut interrupts = signal(SignalKind::interrupt()).ok()?;
    let mut ends = signal(SignalKind::terminate()).ok()?;
    let listening = tokio::spawn(async move {
        for is_first in [true, false] {
            tokio::select! {
                _ = interrupts.recv() => {}
                _ = ends.recv() => {}
            }
            if !is_first {
                exit(INTERRUPTED);
            }
            say("cancelling: what may change something ends by itself; interrupt once more to end at once");
            cancel.cancel();
        }
    });
    Some(Listening(listening.abort_handle()))
}
