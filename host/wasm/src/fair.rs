//! A guest that yields lets everything else go first, also what the runtime waits for.
//!
//! wasmtime yields by waking its own task at once. A runtime whose workers all have such a task never runs out of work, and
//! then looks at its timers and at the network only once in a while (tokio: after 61 polls, each of which is a slice of a
//! guest's time). So a task that woke itself is put off until the runtime has looked: that is what `yield_now` does.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Wake, Waker};

use futures_util::task::AtomicWaker;

/// The future is being polled.
const POLLED: u8 = 0;
/// It was woken while it was polled.
const WOKEN: u8 = 1;
/// It waits.
const WAITING: u8 = 2;

/// Stands between a future and its task, to see when the future is woken.
#[derive(Default)]
struct Relay {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == WAITING {
            self.task.wake();
        }
    }
}

/// Runs the future to its end.
///
/// # Cancel safety
/// That of the future.
pub(crate) async fn fair<F: Future>(future: F) -> F::Output {
    let relay = Arc::new(Relay::default());
    let waker = Waker::from(relay.clone());
    let mut future = pin!(future);
    std::future::poll_fn(move |task| {
        relay.task.register(task.waker());
        relay.state.store(POLLED, Ordering::Release);
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        let waits = relay.state.compare_exchange(POLLED, WAITING, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if polled.is_pending() && !waits {
            go_last(task);
        }
        polled
    })
    .await
}

/// Has the task woken, behind everything else.
fn go_last(task: &mut Context<'_>) {
    if pin!(tokio::task::yield_now()).poll(task).is_ready() {
        task.waker().wake_by_ref();
    }
}
