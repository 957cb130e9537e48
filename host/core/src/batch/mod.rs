//! Many calls at once. What a model means by the order of its calls is kept, and nothing waits that need not.
//!
//! 1. What does each call **touch** ([`touch`])? The folders, servers, keys and tables that it was granted, as far as its arguments
//!    let it reach.
//! 2. How may it run beside others? Its **class** ([`class`]) follows from the effect of its tool, or an operator says it.
//! 3. Which call waits for which? The **plan** ([`plan`]): a call waits for the earlier ones that touch the same, where one of
//!    the two may change it, and for no others. What only computes or reads never waits for the like.
//! 4. Whose turn is it? The **line** ([`mod@line`]) lets a call go as soon as nothing is in its way and there is room.
//!
//! A [`Batch`] walks every call down the same road as a call alone. People are asked before its turn comes, so that all questions
//! of a batch stand at its beginning; its clock, its place and its rates begin with its turn. Every call has its own outcome, told
//! when it is there, whatever becomes of the others.

// What a call is to a plan
pub mod class;
pub mod touch;

// Which waits for which
pub mod plan;

// Whose turn it is
pub mod line;

// The batch itself
mod host;
mod run;
mod turn;

// What came of it
mod report;

use std::time::Duration;

pub use self::class::{Class, ClassRule, Classes, Said};
pub use self::plan::{Edge, Plan, Planned, Why};
pub use self::report::{BatchReport, ClassReport, Pace, Step};
pub use self::run::{Batch, Done};
pub use self::touch::{Touch, Ways};
pub use self::turn::Turn;

/// How many calls a batch may have, unless it is said otherwise.
pub const CALLS_MAX: usize = 1_024;

/// How a batch runs.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchSettings {
    /// Calls of it that run at once; 16 by default.
    pub max_parallel: usize,
    /// Calls that it may have; [`CALLS_MAX`] by default.
    pub max_calls: usize,
    /// How long it may take in all; as long as its calls do by default.
    pub time_max: Option<Duration>,
    /// Whether the first call that fails ends it: what has not begun does not begin, and what only reads is stopped. No by default.
    pub fail_fast: bool,
    /// What operators say of the classes of tools.
    pub classes: Classes,
}

impl Default for BatchSettings {
    fn default() -> Self {
        BatchSettings {
            max_parallel: 16,
            max_calls: CALLS_MAX,
            time_max: None,
            fail_fast: false,
            classes: Classes::default(),
        }
    }
}
