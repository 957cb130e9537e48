//! What has one of them used?

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytesize::ByteSize;
use tokio::time::Instant;

use super::{Allowance, Usage};
use crate::catalog::settings::Span;
use crate::deadline::after;
use crate::owners::{Owners, lock};

#[derive(Debug)]
pub(super) struct Account {
    /// When the span began in which it counts.
    began: Instant,
    pub(super) used: Usage,
    /// What calls that run now are sure to use.
    pub(super) reserved: Usage,
}

impl Default for Account {
    fn default() -> Self {
        Account { began: Instant::now(), used: Usage::default(), reserved: Usage::default() }
    }
}

/// What an owner has used in the current span.
pub(super) fn used(owners: &Owners<Account>, caller: &str, session: &str, allowance: Option<&Allowance>) -> Usage {
    let used = |account: Arc<Mutex<Account>>| lock(&account).now(allowance).used;
    owners.find(caller, session).map(used).unwrap_or_default()
}

impl Account {
    /// The account now: what was used in an earlier span is forgotten.
    pub(super) fn now(&mut self, allowance: Option<&Allowance>) -> &mut Self {
        if self.left_of_span(allowance).is_some_and(|left| left.is_zero()) {
            (self.began, self.used) = (Instant::now(), Usage::default());
        }
        self
    }

    /// Takes what a call has reserved for what it has used.
    pub(super) fn settle(&mut self, reserved: &Usage, used: &Usage) {
        self.used.add(used);
        self.reserved = match self.reserved.calls.saturating_sub(reserved.calls) {
            // So that fractions which were lost do not add up.
            0 => Usage::default(),
            calls => Usage {
                calls,
                attempts: self.reserved.attempts.saturating_sub(reserved.attempts),
                cost: self.reserved.cost - reserved.cost,
                ..Usage::default()
            },
        };
    }

    pub(super) fn left_of_span(&self, allowance: Option<&Allowance>) -> Option<Duration> {
        let Span(per) = allowance?.per?;
        Some(after(self.began, per).saturating_duration_since(Instant::now()))
    }

    /// What of a budget is used up, if one more call is added: its key, and how much it is.
    pub(super) fn used_up(&self, allowance: &Allowance, more: &Usage) -> Option<(&'static str, String)> {
        let mut used = self.used;
        used.add(&self.reserved);
        let Allowance { calls, attempts, fuel, time, output, cost, per: _ } = *allowance;
        let passed = |limit: Option<u64>, used: u64, more: u64| {
            limit.filter(|limit| used >= *limit || used.saturating_add(more) > *limit)
        };
        // Sums of fractions are not exact.
        let most = cost.map(|cost| cost * (1.0 + 1e-9));
        let costs_too_much = most.is_some_and(|most| used.cost >= most || used.cost + more.cost > most);
        let of_calls = passed(calls, used.calls, more.calls).map(|limit| ("calls", format!("{limit} calls")));
        let of_attempts = || {
            let limit = passed(attempts, used.attempts, more.attempts)?;
            Some(("attempts", format!("{limit} attempts")))
        };
        let of_fuel = || passed(fuel, used.fuel, 0).map(|limit| ("fuel", format!("{limit} of fuel")));
        let of_time = || {
            let Span(limit) = time.filter(|limit| used.time >= limit.0)?;
            Some(("time", format!("{} of running", humantime::format_duration(limit))))
        };
        let of_output = || {
            let limit = passed(output.map(|bytes| bytes.0), used.output_bytes, 0)?;
            Some(("output", format!("{} of results", ByteSize(limit).display().iec())))
        };
        let of_cost = || cost.filter(|_| costs_too_much).map(|limit| ("cost", format!("a cost of {limit}")));
        of_calls.or_else(of_attempts).or_else(of_fuel).or_else(of_time).or_else(of_output).or_else(of_cost)
    }
}
