//! What a host does with many calls.

use super::{Batch, BatchReport, BatchSettings, Classes, Planned};
use crate::call::Call;
use crate::host::Host;
use crate::tell::{Outcome, Report};

impl Host {
    /// Opens a batch, to which calls can be added as they come.
    #[must_use]
    pub fn open_batch(&self, settings: BatchSettings) -> Batch {
        Batch::new(self.clone(), settings)
    }

    /// Runs calls as a batch: their outcomes in the order of the calls, and what there is to say of the whole. Those that are too
    /// many are refused.
    ///
    /// ```
    /// use serde_json::json;
    /// use toolpost_core::{Call, Catalog, EffectClass, Host, Native};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut catalog = Catalog::default();
    /// catalog.add(Native::new("six", "Answers 6").effect(EffectClass::Pure).run(|_| async { Ok(json!(6)) }))?;
    /// let calls = [Call::new("six", json!({})), Call::new("seven", json!({}))];
    /// let (outcomes, report) = Host::new(catalog).batch(calls).await;
    /// assert_eq!(outcomes[0].result.as_ref().unwrap().value, json!(6));
    /// assert_eq!((report.ok, report.failed["unknown_tool"]), (1, 1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Dropping the future cancels what has not ended, as for [`call`](Self::call).
    pub async fn batch(&self, calls: impl IntoIterator<Item = Call>) -> (Vec<Outcome>, BatchReport) {
        let mut batch = self.open_batch(self.batches());
        let mut refused = Vec::new();
        for call in calls {
            let (id, tool) = (call.id.clone(), call.tool.clone());
            if let Err(error) = batch.add(call).await {
                refused.push(Outcome { call: id, tool, result: Err(error), report: Report::default() });
            }
        }
        let (mut outcomes, report) = batch.all().await;
        outcomes.extend(refused);
        (outcomes, report)
    }

    /// What a plan has to know of a call. Nobody is asked, and nothing runs.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn planned(&self, call: &Call, classes: &Classes) -> Planned {
        match self.accepted(call.clone()) {
            Ok(accepted) => Planned::of(&accepted, classes, self.catalog().seen_by(&accepted.tool)).await,
            Err(_) => Planned::refused(&call.tool),
        }
    }
}
