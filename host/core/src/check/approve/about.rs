//! What is judged? A call before it runs, or one effect of a call that runs.

use super::rules::Subject;
use crate::call::AcceptedCall;
use crate::check::repeat::hash;
use crate::effect::Intent;
use crate::inside::Inside;
use crate::tell::Stage;

/// A call, or one effect of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'c> {
    pub(super) call: &'c AcceptedCall,
    pub(super) effect: Option<&'c Intent>,
}

impl<'c> About<'c> {
    pub(super) fn call(call: &'c AcceptedCall) -> Self {
        About { call, effect: None }
    }

    pub(crate) fn effect(call: &'c AcceptedCall, effect: &'c Intent) -> Self {
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

    /// The tools of the calls around it, the outermost first.
    pub(super) fn inside(self) -> Vec<&'c str> {
        self.call.call.inside.as_ref().map(Inside::tools).unwrap_or_default()
    }

    /// The name of the tool, and what it is about to do where that is judged.
    pub(super) fn words(self) -> String {
        let tool = &self.call.tool.name;
        match self.effect {
            Some(intent) => format!("`{}` of `{tool}`", intent.effect.words()),
            None => format!("`{tool}`"),
        }
    }

    /// What an answer is bound to: everything that was shown, all of what that stands for, and who asked for it. An effect is the same whatever the
    /// arguments were that led to it.
    pub(super) fn binding(self, doubt: bool) -> [u8; 32] {
        let Subject { tool, digest, effect, caller, .. } = self.subject();
        let groups = caller.groups.join("\n");
        let session = caller.session.as_deref().unwrap_or_default();
        let powers = self.call.powers(&self.call.arguments).join("\n");
        // A doubt about the session is another question than one about the call.
        let about = match self.effect {
            Some(_) => "effect",
            None if doubt => "doubt",
            None => "call",
        };
        let inside = self.inside().join(" > ");
        let words =
            [about, tool, &inside, digest, effect.name(), &powers, &caller.id, &groups, session].map(str::as_bytes);
        let judged = self.effect.map_or(*self.call.arguments_hash(), Intent::identity);
        hash(&words.into_iter().chain([judged.as_slice()]).collect::<Vec<_>>())
    }
}
