//! How much may be tried again? What bounds the retries of many calls together, and those of one call in all its layers.
//!
//! A dependency that is down fails every call, and each retry is one more request that it cannot bear. So calls of one
//! tenant to one dependency share a purse that only success fills. It counts calls and not seconds (as the AWS SDKs'
//! does, where Finagle's counts per second), because an agent may call a tool three times an hour.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What a full purse holds.
pub const TOKENS_MAX: u32 = 500;

/// The most purses that are remembered, unless it is said otherwise.
pub const BUDGETS_MAX: usize = 10_000;

/// What is paid for, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// A retry: 14.
    Retry,
    /// A retry of what was throttled: 5, because it is the other side that says when.
    Throttled,
    /// An attempt beside another that is slow: 14.
    Hedge,
}

impl Cost {
    /// The price.
    #[must_use]
    pub const fn tokens(self) -> u32 {
        match self {
            Cost::Retry | Cost::Hedge => 14,
            Cost::Throttled => 5,
        }
    }
}

/// The purse of one tenant for one dependency. Clones are the same purse.
#[derive(Clone, Debug)]
pub struct Budget(Arc<AtomicU32>);

/// What was paid. Dropping it leaves it paid: the dependency has borne the attempt, whatever became of it.
#[derive(Debug)]
#[must_use = "`give_back` it when it was worth it, or when nothing came of it"]
pub struct Spent {
    budget: Budget,
    cost: Cost,
}

impl Budget {
    /// A full purse.
    #[must_use]
    pub fn full() -> Self {
        Budget(Arc::new(AtomicU32::new(TOKENS_MAX)))
    }

    /// Pays, if there is enough.
    #[must_use]
    pub fn spend(&self, cost: Cost) -> Option<Spent> {
        let paid = |tokens: u32| tokens.checked_sub(cost.tokens());
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, paid).ok()?;
        Some(Spent { budget: self.clone(), cost })
    }

    /// A first attempt succeeded: one token more.
    pub fn first_try_worked(&self) {
        self.fill(1);
    }

    /// What it holds.
    #[must_use]
    pub fn tokens(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    fn fill(&self, tokens: u32) {
        let filled = |held: u32| (held < TOKENS_MAX).then(|| held.saturating_add(tokens).min(TOKENS_MAX));
        // Nothing is changed in a full purse.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, filled);
    }
}

impl Spent {
    /// It was worth it, or was not needed after all: what was paid comes back.
    pub fn give_back(self) {
        self.budget.fill(self.cost.tokens());
    }
}

/// The purses of a host, by tenant and dependency.
#[derive(Debug)]
pub struct Budgets {
    budgets_max: usize,
    /// For all those for whom there is no room, so that not even then anybody has tokens without bound.
    shared: Budget,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    budgets: HashMap<(String, String), Budget>,
    /// How many more must be turned away before the map is looked through again.
    patience: usize,
}

impl Default for Budgets {
    fn default() -> Self {
        Self::with_budgets_max(BUDGETS_MAX)
    }
}

impl Budgets {
    /// Remembers so many purses.
    #[must_use]
    pub fn with_budgets_max(budgets_max: usize) -> Self {
        Budgets { budgets_max: budgets_max.max(1), shared: Budget::full(), held: Mutex::default() }
    }

    /// The purse of a tenant for a dependency. Where too many are remembered, a full one that nobody holds is forgotten;
    /// if there is none, those who come last share one.
    #[must_use]
    pub fn of(&self, tenant: &str, dependency: &str) -> Budget {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (tenant.to_owned(), dependency.to_owned());
        if let Some(budget) = held.budgets.get(&key) {
            return budget.clone();
        }
        if held.budgets.len() >= self.budgets_max && !held.make_room() {
            return self.shared.clone();
        }
        held.budgets.entry(key).or_insert_with(Budget::full).clone()
    }

    /// A call of the dependency has worked at once. Nothing is remembered of one that never failed: its purse is full.
    pub fn first_try_worked(&self, tenant: &str, dependency: &str) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.budgets.is_empty()
            && let Some(budget) = held.budgets.get(&(tenant.to_owned(), dependency.to_owned()))
        {
            budget.first_try_worked();
        }
    }

    /// How many purses are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).budgets.len()
    }
}

impl Held {
    /// Forgets the full purses that nobody holds. A look through all of them is paid for by a tenth as many misses.
    fn make_room(&mut self) -> bool {
        if self.patience > 0 {
            self.patience -= 1;
            return false;
        }
        let before = self.budgets.len();
        self.budgets.retain(|_, budget| budget.tokens() < TOKENS_MAX || Arc::strong_count(&budget.0) > 1);
        let made = self.budgets.len() < before;
        self.patience = if made { 0 } else { before / 10 };
        made
    }
}

/// The retries of one call and of every call that is made inside of it. Clones are the same count.
///
/// Retry loops inside of one another multiply: three attempts of a tool that calls a tool make nine. A call hands this count
/// to the calls inside of it, and each retry, in whichever layer, is taken from it.
#[derive(Clone, Debug, Default)]
pub struct CallRetries(Arc<AtomicU32>);

impl CallRetries {
    /// Takes one more retry, unless that makes more attempts than so many.
    #[must_use]
    pub fn take(&self, max_attempts: u32) -> bool {
        let next = |made: u32| (made.saturating_add(1) < max_attempts).then(|| made + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).is_ok()
    }

    /// Gives back one that was taken and not made.
    pub(crate) fn give_back(&self) {
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |made| made.checked_sub(1));
    }

    /// How many were made.
    #[must_use]
    pub fn made(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}
