//! Who is asked whether a call may run? Whoever the program names, then the web hook of the settings; and beside them
//! anybody who has the same store, with `toolpost approvals`.

// Those who are asked
mod callback;
mod desk;
mod seal;
mod webhook;

// What is written down
mod book;

use std::sync::Arc;

use toolpost_core::check::approve::rules::Rule;
use toolpost_core::check::approve::{Approval, Approver, Rules};

pub use self::book::Book;
pub use self::desk::{Answered, Desk, Filed, State};
pub use self::seal::{SIGNATURE, Seal};
pub use self::webhook::{Sealed, Webhook};

use crate::build::Fault;
use crate::settings::Settings;
use crate::store::Store;

/// What the settings and the store say of approval, and the web hook in it. Where a part of it cannot be had, nothing is
/// allowed. A web hook of before goes on where it is the same: answers may be on their way to it.
pub(crate) fn approval(
    settings: &Settings,
    store: Option<&Arc<Store>>,
    approvers: Vec<Arc<dyn Approver>>,
    before: Option<&Arc<Webhook>>,
    faults: &mut Vec<Fault>,
) -> (Approval, Option<Arc<Webhook>>) {
    let said = &settings.approval;
    let mut rules = said.rules();
    let mut fault = |subject: &str, message: String| faults.push(Fault { subject: subject.into(), message });
    if let Some(store) = store {
        match Book::of(store).read() {
            Ok(written) => rules = rules.and(written),
            Err(wrong) => {
                wrong.iter().for_each(|wrong| fault("the rules in the store", wrong.to_string()));
                let reason = "the rules in the store cannot be read; `toolpost check` says why".to_owned();
                let closed = Rule { name: Some("closed".into()), reason: Some(reason), ..Rule::default() };
                rules = Rules { deny: vec![closed], ..Rules::default() }.and(rules);
            }
        }
    }
    let (timeout, pending_max) = said.waiting();
    let mut approval = Approval::new(rules).waiting(timeout, pending_max);
    for approver in approvers {
        approval = approval.then(approver);
    }
    let mut webhook = None;
    match said.webhook.as_ref().map(|said| Webhook::new(settings, said)).transpose() {
        Ok(new) => {
            webhook = new.map(|new| before.filter(|before| before.is(&new)).cloned().unwrap_or_else(|| Arc::new(new)));
        }
        Err(message) => fault("the web hook", message),
    }
    if let Some(webhook) = &webhook {
        approval = approval.then(webhook.clone());
    }
    if let Some(store) = store {
        approval = approval.writing(Arc::new(Book::of(store)));
        if said.elsewhere() {
            approval = approval.beside(Arc::new(Desk::of(store)));
        }
    }
    (approval, webhook)
}
