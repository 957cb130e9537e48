//! How batches run, as it is set.

use schemars::JsonSchema;
use serde::Deserialize;
use toolpost_core::batch::BatchSettings as Batches;
use toolpost_core::batch::Classes;
use toolpost_core::catalog::settings::{Span, number_within};

/// The most calls that a batch may have, and the most of it that may run at once.
const CALLS_MOST: u64 = 10_000;

/// How batches run: several calls that an agent makes at once.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchSettings {
    /// Calls of a batch that run at once, 1 to 10000. Default 16.
    #[serde(default, deserialize_with = "number_within::<_, _, 1, CALLS_MOST>")]
    #[schemars(range(min = 1, max = CALLS_MOST))]
    pub max_parallel: Option<usize>,
    /// Calls that a batch may have, 1 to 10000. Default 1024.
    #[serde(default, deserialize_with = "number_within::<_, _, 1, CALLS_MOST>")]
    #[schemars(range(min = 1, max = CALLS_MOST))]
    pub max_calls: Option<usize>,
    /// How long a batch may take in all. Default: as long as its calls do.
    #[serde(default)]
    pub time: Option<Span>,
    /// Whether the first call that fails ends its batch. Default false.
    #[serde(default)]
    pub fail_fast: bool,
}

impl BatchSettings {
    /// How batches run, with what is said of the classes of tools.
    #[must_use]
    pub fn with(&self, classes: &Classes) -> Batches {
        let defaults = Batches::default();
        Batches {
            max_parallel: self.max_parallel.unwrap_or(defaults.max_parallel),
            max_calls: self.max_calls.unwrap_or(defaults.max_calls),
            time_max: self.time.map(|span| span.0),
            fail_fast: self.fail_fast,
            classes: classes.clone(),
        }
    }
}
