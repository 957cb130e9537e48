//! What does the operator say of prices and budgets?

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::catalog::settings::{Bytes, Span};

/// What a call costs, where it differs from what stands above.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceSettings {
    /// For each call. Nothing by default.
    #[serde(default, deserialize_with = "amount")]
    #[schemars(range(min = 0.0))]
    pub per_call: Option<f64>,
    /// For each operation. Nothing by default.
    #[serde(default, deserialize_with = "amount")]
    #[schemars(range(min = 0.0))]
    pub per_fuel: Option<f64>,
}

/// What a call costs, beside what its tool reports.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Price {
    /// For each call.
    pub per_call: f64,
    /// For each operation.
    pub per_fuel: f64,
}

impl Price {
    /// This price, with what settings say over it.
    #[must_use]
    pub fn with(self, settings: &PriceSettings) -> Self {
        Price {
            per_call: settings.per_call.unwrap_or(self.per_call),
            per_fuel: settings.per_fuel.unwrap_or(self.per_fuel),
        }
    }
}

/// How much may be used.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetSettings {
    /// By each caller. Not limited by default.
    pub caller: Option<Allowance>,
    /// By each session of a caller. Not limited by default.
    pub session: Option<Allowance>,
}

/// How much may be used in a span of time; what is not set is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Allowance {
    /// Calls.
    pub calls: Option<u64>,
    /// Attempts.
    pub attempts: Option<u64>,
    /// Operations.
    pub fuel: Option<u64>,
    /// Time of the attempts, such as "1h".
    pub time: Option<Span>,
    /// Length of the results as JSON, such as "10 MiB".
    pub output: Option<Bytes>,
    /// What they cost.
    #[serde(default, deserialize_with = "amount")]
    #[schemars(range(min = 0.0))]
    pub cost: Option<f64>,
    /// After so long it begins anew, such as "1d". Default: never.
    pub per: Option<Span>,
}

/// Reads an amount of money, or of whatever costs are counted in.
fn amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let amount = f64::deserialize(deserializer).ok().filter(|amount| amount.is_finite() && *amount >= 0.0);
    amount.map(Some).ok_or_else(|| serde::de::Error::custom("expected a number of at least 0"))
}
