//! May a running tool have this effect? Rules that say what a tool `does` are tried on each of its effects, with the exact
//! effect in hand; where they ask, the tool waits, and its clock stands still.

use std::sync::Arc;

use super::Approval;
use super::about::About;
use super::decision::Decision;
use super::question::{Choice, Why};
use super::refusal;
use super::rules::{Action, Ruling};
use crate::call::PermittedCall;
use crate::effect::Intent;
use crate::tell::{CallError, Teller};

/// What rules say of an effect.
pub(crate) enum Leave {
    /// Nothing against it.
    Given,
    /// It must not be.
    Denied(CallError),
    /// Somebody is asked.
    Asked(Doing),
}

/// Why somebody is asked about an effect.
pub(crate) struct Doing {
    why: Why,
    rule: Option<String>,
}

impl Approval {
    /// What the rules say of an effect, and what was decided by that.
    pub(crate) fn leave(&self, call: &PermittedCall, intent: &Intent) -> (Leave, Vec<Decision>) {
        let rules = self.rules();
        if !rules.judge_effects() {
            return (Leave::Given, Vec::new());
        }
        let about = About::effect(call, intent);
        let Ruling { action, by, shadows } = rules.rule_on(&about.subject());
        let mut decisions: Vec<_> = shadows.iter().map(|placed| Decision::of_rule(about, placed)).collect();
        let leave = match (action, by) {
            (_, None) => Leave::Given,
            (Action::Allow, Some(placed)) => {
                decisions.push(Decision::of_rule(about, &placed));
                Leave::Given
            }
            (Action::Deny, Some(placed)) => {
                decisions.push(Decision::of_rule(about, &placed));
                Leave::Denied(refusal::denied(about, &placed))
            }
            (Action::Ask, Some(placed)) => {
                let title = placed.title();
                let words = placed.rule.reason.clone().unwrap_or_else(|| format!("the rule `{title}` asks"));
                let why = Why { words, fault: None, doubt: false, lasting: self.rulebook.is_some() };
                Leave::Asked(Doing { why, rule: Some(title) })
            }
        };
        (leave, decisions)
    }

    /// Asks somebody about an effect.
    ///
    /// # Errors
    /// It is not allowed, nobody answered in time, or nobody can be asked.
    ///
    /// # Cancel safety
    /// As for the question about a call.
    pub(crate) async fn ask_leave(
        self: &Arc<Self>,
        call: &PermittedCall,
        intent: &Intent,
        doing: Doing,
        teller: &Teller,
        decided: &mut (dyn FnMut(Decision) + Send),
    ) -> Result<(), CallError> {
        let Doing { why, rule } = doing;
        match self.answer_to(About::effect(call, intent), &why, rule, teller, decided).await? {
            Choice::Allow | Choice::AllowSession | Choice::AllowAlways => Ok(()),
            // No question about an effect is settled so.
            Choice::Edit { .. } | Choice::Answer { .. } | Choice::Deny { .. } => {
                Err(refusal::declined(About::effect(call, intent), None))
            }
        }
    }
}
