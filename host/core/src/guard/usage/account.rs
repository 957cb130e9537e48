//! What has one of them used? The accounts of callers or of sessions, a bounded number of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytesize::ByteSize;
use tokio::time::Instant;

use super::{Allowance, Usage, lock};
use crate::catalog::settings::Span;
use crate::deadline::after;

/// The most accounts of callers, and of sessions, that are kept. Beyond that those that were quiet for the longest time are
/// forgotten, and with them what they have used.
pub const ACCOUNTS_MAX: usize = 10_000;

/// Accounts, and how often one was used.
#[derive(Debug, Default)]
pub(super) struct Book(Mutex<(u64, ByOwner)>);

/// Accounts by caller and session; the session is empty where all of a caller's count together.
type ByOwner = HashMap<(String, String), Kept>;

#[derive(Debug)]
struct Kept {
    account: Arc<Mutex<Account>>,
    /// When it was last used, as a count of uses.
    used: u64,
}

#[derive(Debug)]
pub(super) struct Account {
    /// When the span began in which it counts.
    began: Instant,
    pub(super) used: Usage,
    /// What calls that run now are sure to use.
    pub(super) reserved: Usage,
}

impl Book {
    /// The account, which is made where there is none.
    pub(super) fn account(&self, caller: &str, session: &str) -> Arc<Mutex<Account>> {
        let mut book = lock(&self.0);
        let (uses, accounts) = &mut *book;
        *uses += 1;
        let key = (caller.to_owned(), session.to_owned());
        if accounts.len() >= ACCOUNTS_MAX && !accounts.contains_key(&key) {
            forget(accounts);
        }
        let kept = accounts.entry(key).or_insert_with(|| {
            let (began, used, reserved) = (Instant::now(), Usage::default(), Usage::default());
            Kept { account: Arc::new(Mutex::new(Account { began, used, reserved })), used: 0 }
        });
        kept.used = *uses;
        kept.account.clone()
    }

    /// How many accounts are kept.
    pub(super) fn kept(&self) -> usize {
        lock(&self.0).1.len()
    }

    /// What was used in the current span.
    pub(super) fn used(&self, caller: &str, session: &str, allowance: Option<&Allowance>) -> Usage {
        let account = lock(&self.0).1.get(&(caller.to_owned(), session.to_owned())).map(|kept| kept.account.clone());
        let used = |account: Arc<Mutex<Account>>| lock(&account).now(allowance).used;
        account.map(used).unwrap_or_default()
    }
}

/// Forgets the tenth of the accounts that was not used for the longest time, but for those of calls that run.
fn forget(accounts: &mut ByOwner) {
    let mut uses: Vec<u64> = accounts.values().map(|kept| kept.used).collect();
    uses.sort_unstable();
    let oldest = uses.get(uses.len() / 10).copied().unwrap_or(u64::MAX);
    accounts.retain(|_, kept| kept.used > oldest || Arc::strong_count(&kept.account) > 1);
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
