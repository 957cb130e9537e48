//! What is judged? A call before it runs, or one effect of a call that runs.

use std::borrow::Cow;

use super::rules::Subject;
use crate::call::AcceptedCall;
use crate::check::repeat::hash;
use crate::effect::Effect;
use crate::tell::Stage;

/// A call, or one effect of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'c> {
    pub(super) call: &'c AcceptedCall,
    pub(super) effect: Option<&'c Effect>,
}

impl<'c> About<'c> {
    pub(super) fn call(call: &'c AcceptedCall) -> Self {
        About { call, effect: None }
    }

    pub(crate) fn effect(call: &'c AcceptedCall, effect: &'c Effect) -> Self {
        About { call, effect: Some(effect) }
    }

    /// What rules look at.
    pub(super) fn subject(self) -> Subject<'c> {
        Subject { does: self.effect, ..Subject::of(self.call) }
    }

    /// Where on its road the call is.
    pub(super) fn stage(self) -> Stage {
        if self.effect.is_some() { Stage::Run } else { Stage::Check }
    }

    /// The name of the tool, and what it is about to do where that is judged.
    pub(super) fn words(self) -> String {
        let tool = &self.call.tool.name;
        match self.effect {
            Some(effect) => format!("`{}` of `{tool}`", effect.words()),
            None => format!("`{tool}`"),
        }
    }

    /// What an answer is bound to: everything that was shown, and who asked for it. An effect is the same whatever the
    /// arguments were that led to it.
    pub(super) fn binding(self, doubt: bool) -> [u8; 32] {
        let Subject { tool, digest, effect, caller, .. } = self.subject();
        let groups = caller.groups.join("\n");
        let session = caller.session.as_deref().unwrap_or_default();
        let powers = self.call.tool.powers.join("\n");
        // A doubt about the session is another question than one about the call.
        let about = match self.effect {
            Some(_) => "effect",
            None if doubt => "doubt",
            None => "call",
        };
        let words = [about, tool, digest, effect.name(), &powers, &caller.id, &groups, session].map(str::as_bytes);
        let judged: Vec<Cow<'_, [u8]>> = match self.effect {
            Some(Effect { class, action, target, detail }) => {
                let parts = [class.name(), action, target, detail.as_deref().unwrap_or_default()];
                parts.iter().map(|part| part.as_bytes().into()).collect()
            }
            None => vec![self.call.arguments_hash().as_slice().into()],
        };
        hash(&words.into_iter().chain(judged.iter().map(|part| &**part)).collect::<Vec<_>>())
    }
}
