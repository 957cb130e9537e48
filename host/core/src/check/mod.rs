//! May it run? The policies that answer before a call does anything, in the order in which they stand.
//!
//! Nothing is held while they answer: no place, no lease, no clock.

// Who may use it
pub mod authorize;

// Does it go round in circles?
pub mod repeat;

// Does a person agree?
pub mod approve;

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::call::AcceptedCall;
use crate::tell::CallError;

/// A policy of the embedder's own.
pub trait Check: Send + Sync {
    /// Lets the call go on, or says why not.
    ///
    /// # Errors
    /// Whatever the caller is to be told; the call ends with it.
    fn check<'a>(&'a self, call: &'a AcceptedCall) -> BoxFuture<'a, Result<(), CallError>>;
}

/// Asks every check; the first refusal stands.
///
/// # Errors
/// The refusal.
///
/// # Cancel safety
/// Dropping the future drops the check that is asked; nothing was started.
pub(crate) async fn ask_all(checks: &[Arc<dyn Check>], call: &AcceptedCall) -> Result<(), CallError> {
    for check in checks {
        check.check(call).await?;
    }
    Ok(())
}
