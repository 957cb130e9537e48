//! What part of the places is a caller's? Said by an operator, for when more is wanted than there is.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::call::Caller;
use crate::catalog::settings::number_within;
use crate::check::authorize::{Pattern, anything, means};

/// The most that a caller can weigh.
pub const WEIGHT_MAX: u64 = 1_000;

/// What part of the host's places callers get while more calls come than can run. Who is not named weighs 1.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Shares {
    rules: Vec<ShareRule>,
}

/// One rule; the first that fits a caller counts.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShareRule {
    /// The callers, by id, or by group as `group:NAME`; `*` stands for any characters. Default ["*"].
    #[serde(default = "anything")]
    pub callers: Vec<Pattern>,
    /// How many calls of one of them go for each call of a caller that weighs 1, up to 1000. Default 1.
    #[serde(default = "one", deserialize_with = "weight")]
    #[schemars(range(min = 1, max = WEIGHT_MAX))]
    pub weight: u64,
}

impl Shares {
    /// Shares by these rules.
    #[must_use]
    pub fn new(rules: Vec<ShareRule>) -> Self {
        Shares { rules }
    }

    /// What a caller weighs.
    #[must_use]
    pub fn weight(&self, caller: &Caller) -> u64 {
        let rule = self.rules.iter().find(|rule| means(&rule.callers, caller));
        rule.map_or(1, |rule| rule.weight).clamp(1, WEIGHT_MAX)
    }
}

fn one() -> u64 {
    1
}

fn weight<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    number_within::<_, u64, 1, WEIGHT_MAX>(deserializer).map(Option::unwrap_or_default)
}
