//! What does the operator say about tasks? Settings, with bounds and defaults.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::catalog::settings::{Bytes, Span, number_within};

/// The most tasks that settings may let run at once.
const PARALLEL_MOST: u64 = 100_000;

/// The most tasks that settings may let wait, and the most that they may keep.
const TASKS_MOST: u64 = 10_000_000;

/// The most often that settings may let a task be begun again.
const RERUNS_MOST: u64 = 1_000;

/// How calls are run for which nobody waits.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskSettings {
    /// Tasks that run at once, 1 to 100000, among the calls of the host. Default 32.
    #[serde(default, deserialize_with = "number_within::<_, _, 1, PARALLEL_MOST>")]
    #[schemars(range(min = 1, max = PARALLEL_MOST))]
    pub parallel: Option<usize>,
    /// Tasks that have not ended, 1 to 10000000. Default 10000.
    #[serde(default, deserialize_with = "number_within::<_, _, 1, TASKS_MOST>")]
    #[schemars(range(min = 1, max = TASKS_MOST))]
    pub max_waiting: Option<u64>,
    /// Tasks that have ended and are kept, up to 10000000; the oldest make room. Default 10000.
    #[serde(default, deserialize_with = "number_within::<_, _, 0, TASKS_MOST>")]
    #[schemars(range(min = 0, max = TASKS_MOST))]
    pub max_kept: Option<u64>,
    /// How long it is kept what came of a task; at least 30 days where that is not known. Default "24h".
    pub keep: Option<Span>,
    /// How much is kept of what a task hands out before its end. Default "256 KiB".
    pub partial: Option<Bytes>,
    /// How often a task is begun again whose host went away while it ran, up to 1000. Default 3.
    #[serde(default, deserialize_with = "number_within::<_, _, 0, RERUNS_MOST>")]
    #[schemars(range(min = 0, max = RERUNS_MOST))]
    pub reruns: Option<u32>,
    /// How long a task is tried again for which there is no place, or no leave to run yet. Default "1h".
    pub wait: Option<Span>,
    /// How long a client waits before its call goes on as a task, where the client allows that. Default "60s".
    pub after: Option<Span>,
}

impl TaskSettings {
    /// Tasks that run at once.
    #[must_use]
    pub fn parallel(&self) -> usize {
        self.parallel.unwrap_or(32)
    }

    /// Tasks that have not ended.
    #[must_use]
    pub fn max_waiting(&self) -> u64 {
        self.max_waiting.unwrap_or(10_000)
    }

    /// Tasks that have ended and are kept.
    #[must_use]
    pub fn max_kept(&self) -> u64 {
        self.max_kept.unwrap_or(10_000)
    }

    /// How long it is kept what came of one.
    #[must_use]
    pub fn keep(&self) -> Duration {
        self.keep.map_or(Duration::from_secs(86_400), |span| span.0)
    }

    /// How much is kept of what one hands out before its end, in bytes.
    #[must_use]
    pub fn partial_bytes_max(&self) -> u64 {
        self.partial.map_or(256 << 10, |bytes| bytes.0)
    }

    /// How often one is begun again.
    #[must_use]
    pub fn reruns(&self) -> u32 {
        self.reruns.unwrap_or(3)
    }

    /// How long one is tried again for which there is no place.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.wait.map_or(Duration::from_secs(3_600), |span| span.0)
    }

    /// How long a client waits.
    #[must_use]
    pub fn after(&self) -> Duration {
        self.after.map_or(Duration::from_secs(60), |span| span.0)
    }
}
