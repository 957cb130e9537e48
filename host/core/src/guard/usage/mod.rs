//! How much was used, and is there any left? What every caller and every session has used, and the budgets for it.
//!
//! A call is let in as long as something is left of each budget. It reserves what it is sure to use: one call, one
//! attempt, and the price of a call. Fuel, time, output and other costs are known when it ends, so calls that run at the
//! same time can pass a budget for these, each by what one call may use at most.
//!
//! A call that never began an attempt has used nothing. One that a tool makes is paid for by the same caller and session;
//! its time is that of the attempt around it, and does not count twice.

mod account;
mod settings;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use self::account::{Account, used};
use crate::call::Caller;
use crate::catalog::settings::Span;
use crate::owners::{Owners, lock};
use crate::run::{Attempt, Meter};
use crate::tell::{CallError, ErrorKind, Stage, milliseconds};

pub use self::settings::{Allowance, BudgetSettings, Price, PriceSettings};

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    /// Calls that began an attempt.
    pub calls: u64,
    /// Attempts.
    pub attempts: u64,
    /// Operations.
    pub fuel: u64,
    /// Time of the attempts.
    #[serde(rename = "time_ms", serialize_with = "milliseconds")]
    pub time: Duration,
    /// Length of the results in bytes of JSON.
    pub output_bytes: u64,
    /// What it cost, in whatever the operator counts.
    #[serde(skip_serializing_if = "is_free")]
    pub cost: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_free(cost: &f64) -> bool {
    *cost == 0.0
}

impl Usage {
    /// Whether nothing was used.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Usage::default()
    }

    fn add(&mut self, other: &Usage) {
        self.calls = self.calls.saturating_add(other.calls);
        self.attempts = self.attempts.saturating_add(other.attempts);
        self.fuel = self.fuel.saturating_add(other.fuel);
        self.time = self.time.saturating_add(other.time);
        self.output_bytes = self.output_bytes.saturating_add(other.output_bytes);
        self.cost += other.cost;
    }
}

/// The accounts of a host.
#[derive(Debug, Default)]
pub struct Accounts {
    callers: Owners<Account>,
    sessions: Owners<Account>,
}

/// A call that uses something. Dropping it charges what was used by then.
#[derive(Debug)]
pub(crate) struct Bill {
    accounts: Vec<Arc<Mutex<Account>>>,
    price: Price,
    reserved: Usage,
    used: Arc<Mutex<Usage>>,
    counts_time: bool,
}

/// An attempt that uses something. Dropping it writes on the bill what it has used by then.
#[derive(Debug)]
pub(crate) struct Charge {
    used: Arc<Mutex<Usage>>,
    price: Price,
    meter: Arc<Meter>,
    started: Instant,
}

impl Accounts {
    /// Opens the bill of a call, if there is something left of the budgets.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`]: a budget is used up. The error says which one, and when it begins anew.
    pub(crate) fn open(
        &self,
        budgets: &BudgetSettings,
        caller: &Caller,
        price: Price,
        is_inside: bool,
    ) -> Result<Bill, CallError> {
        let reserved = Usage { calls: 1, attempts: 1, cost: price.per_call, ..Usage::default() };
        let mut bill =
            Bill { accounts: Vec::with_capacity(2), price, reserved, used: Arc::default(), counts_time: !is_inside };
        let session = caller.session.as_deref();
        let account = self.callers.of(&caller.id, "");
        bill.reserve(account, budgets.caller.as_ref(), "caller")?;
        if let Some(session) = session {
            bill.reserve(self.sessions.of(&caller.id, session), budgets.session.as_ref(), "session")?;
        }
        Ok(bill)
    }

    /// What a caller has used in the current span of its budget.
    #[must_use]
    pub fn of_caller(&self, budgets: &BudgetSettings, caller: &Caller) -> Usage {
        used(&self.callers, &caller.id, "", budgets.caller.as_ref())
    }

    /// What the caller's session has used in the current span of its budget; nothing without a session.
    #[must_use]
    pub fn of_session(&self, budgets: &BudgetSettings, caller: &Caller) -> Usage {
        let session = caller.session.as_deref();
        session.map(|session| used(&self.sessions, &caller.id, session, budgets.session.as_ref())).unwrap_or_default()
    }

    /// How many accounts are kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.callers.len() + self.sessions.len()
    }
}

impl Bill {
    fn reserve(
        &mut self,
        account: Arc<Mutex<Account>>,
        allowance: Option<&Allowance>,
        whose: &str,
    ) -> Result<(), CallError> {
        let mut open = lock(&account);
        let open_now = open.now(allowance);
        if let Some(allowance) = allowance
            && let Some((key, limit)) = open_now.used_up(allowance, &self.reserved)
        {
            return Err(used_up(whose, key, &limit, allowance, open_now.left_of_span(Some(allowance))));
        }
        open_now.reserved.add(&self.reserved);
        drop(open);
        self.accounts.push(account);
        Ok(())
    }

    /// An attempt begins.
    pub(crate) fn charge(&self, attempt: &Attempt) -> Charge {
        let Attempt { meter, started, .. } = attempt;
        Charge { used: self.used.clone(), price: self.price, meter: meter.clone(), started: *started }
    }

    /// Closes the bill with a result of so many bytes, and says what was used.
    pub(crate) fn close(self, output_bytes: u64) -> Usage {
        lock(&self.used).output_bytes = output_bytes;
        self.total()
    }

    fn total(&self) -> Usage {
        let used = *lock(&self.used);
        match used.attempts {
            0 => Usage::default(),
            _ => Usage { calls: 1, cost: used.cost + self.price.per_call, ..used },
        }
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        let total = self.total();
        let used = if self.counts_time { total } else { Usage { time: Duration::ZERO, ..total } };
        for account in &self.accounts {
            lock(account).settle(&self.reserved, &used);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let fuel = self.meter.fuel();
        #[expect(clippy::cast_precision_loss, reason = "a price is no exact number either")]
        let cost = self.price.per_fuel * fuel as f64 + self.meter.cost();
        let time = self.started.elapsed();
        lock(&self.used).add(&Usage { attempts: 1, fuel, time, cost, ..Usage::default() });
    }
}

fn used_up(whose: &str, key: &str, limit: &str, allowance: &Allowance, left: Option<Duration>) -> CallError {
    let per = allowance.per.map_or_else(String::new, |Span(per)| format!(" in {}", humantime::format_duration(per)));
    let words = format!("this {whose} has used up its budget of {limit}{per}");
    let error = |help: String| CallError::new(ErrorKind::QuotaExceeded, Stage::Guard, words).with_help(help);
    match left {
        Some(left) => {
            // Rounded up: who waits as long as the words say is let in.
            let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            let wait = humantime::format_duration(Duration::from_secs(seconds));
            error(format!("call again in {wait}, or raise `budget.{whose}.{key}`")).retry_after(left)
        }
        None => error(format!("raise `budget.{whose}.{key}`, or give it a `per`")),
    }
}
