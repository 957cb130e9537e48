//! What is a host made of? Each room has a default, and one verb that sets it.

use std::sync::{Arc, RwLock};

use super::level::Level;
use super::{Host, Rooms};
use crate::attempts::Guarding;
use crate::batch::BatchSettings;
use crate::catalog::Catalog;
use crate::check::Check;
use crate::check::approve::Approval;
use crate::check::authorize::Access;
use crate::check::repeat::{RepeatSettings, Repetition};
use crate::guard::cache::{CACHED_BYTES_MAX, ResultCache};
use crate::guard::replay::Ledger;
use crate::guard::slot::Shares;
use crate::guard::usage::BudgetSettings;
use crate::limits::HostLimits;
use crate::secret::Secrets;
use crate::task::Tasks;
use crate::tell::{Artifacts, Sink};

impl Host {
    /// A host of these tools, with the default limits, no further checks and nobody listening.
    #[must_use]
    pub fn new(catalog: Catalog) -> Self {
        let rooms = Rooms {
            catalog,
            access: Access::default(),
            repetition: Arc::default(),
            checks: Vec::new(),
            approval: Arc::default(),
            budgets: BudgetSettings::default(),
            accounts: Arc::default(),
            cache: Arc::new(ResultCache::new(CACHED_BYTES_MAX)),
            ledger: Arc::default(),
            guarding: Arc::new(Guarding::new(HostLimits::default())),
            artifacts: None,
            tasks: Arc::default(),
            voice: Arc::default(),
            batches: BatchSettings::default(),
        };
        Host(Arc::new(Level::Ground(RwLock::new(Arc::new(rooms)))))
    }

    /// Sets what all calls together may use.
    #[must_use]
    pub fn with_limits(self, limits: HostLimits) -> Self {
        self.with(|rooms| {
            let shares = rooms.guarding.slots.shares();
            rooms.guarding = Arc::new(Guarding::new(limits).heard_by(&rooms.voice));
            rooms.guarding.slots.share_by(shares);
        })
    }

    /// Sets what part of its places callers get, while more calls come than can run.
    #[must_use]
    pub fn with_shares(self, shares: Shares) -> Self {
        self.with(|rooms| rooms.guarding.slots.share_by(shares))
    }

    /// Sets who may use which tool.
    #[must_use]
    pub fn with_access(self, access: Access) -> Self {
        self.with(|rooms| rooms.access = access)
    }

    /// Sets when a session that goes round in circles is told so, and stopped.
    #[must_use]
    pub fn with_repetition(self, settings: RepeatSettings) -> Self {
        self.with(|rooms| rooms.repetition = Arc::new(Repetition::new(settings)))
    }

    /// Sets how much callers and sessions may use.
    #[must_use]
    pub fn with_budgets(self, budgets: BudgetSettings) -> Self {
        self.with(|rooms| rooms.budgets = budgets)
    }

    /// Sets how much memory results may take that are kept for equal calls, in bytes.
    #[must_use]
    pub fn with_cached_results(self, bytes_max: u64) -> Self {
        self.with(|rooms| rooms.cache = Arc::new(ResultCache::new(bytes_max)))
    }

    /// Sets where results are kept whole that are too long for their reader. Without it they are only cut.
    #[must_use]
    pub fn with_artifacts(self, artifacts: Arc<dyn Artifacts>) -> Self {
        self.with(|rooms| rooms.artifacts = Some(artifacts))
    }

    /// Sets the secrets, which its tools may be granted, and which nobody is told.
    #[must_use]
    pub fn with_secrets(self, secrets: Arc<Secrets>) -> Self {
        self.with(|rooms| rooms.speak_with(rooms.voice.with_secrets(secrets)))
    }

    /// Adds a check, behind those that are there.
    #[must_use]
    pub fn with_check(self, check: Arc<dyn Check>) -> Self {
        self.with(|rooms| rooms.checks.push(check))
    }

    /// Sets what is allowed, denied and asked about, and who is asked.
    #[must_use]
    pub fn with_approval(self, approval: Approval) -> Self {
        self.with(|rooms| rooms.approval = Arc::new(approval))
    }

    /// Sets where the idempotency keys of calls are kept. Without it, in this host's memory.
    #[must_use]
    pub fn with_ledger(self, ledger: Arc<Ledger>) -> Self {
        self.with(|rooms| rooms.ledger = ledger)
    }

    /// Sets where calls are kept that are made as tasks. Without it, in this host's memory. Its ledger must be kept for as long.
    #[must_use]
    pub fn with_tasks(self, tasks: Arc<Tasks>) -> Self {
        self.with(|rooms| rooms.tasks = tasks)
    }

    /// Adds a listener.
    #[must_use]
    pub fn with_sink(self, sink: Arc<dyn Sink>) -> Self {
        self.with(|rooms| rooms.speak_with(rooms.voice.with(sink)))
    }

    /// Sets how batches run.
    #[must_use]
    pub fn with_batches(self, settings: BatchSettings) -> Self {
        self.with(|rooms| rooms.batches = settings)
    }

    fn with(self, change: impl FnOnce(&mut Rooms)) -> Self {
        change(Arc::make_mut(&mut self.ground()));
        self
    }
}
