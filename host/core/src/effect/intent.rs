//! What is leave asked for? For an effect as it is told, which may be less than it is: what is shown to people is cut and
//! masked, and some of it has several names. So what rules are tried on, and what an answer is bound to, stand beside it.

use super::Effect;
use crate::check::repeat::hash;
use crate::secret::Masker;

/// An effect that a driver asks leave for: as it is told, and as it is judged.
///
/// ```
/// use toolpost_core::effect::{Effect, Intent};
/// use toolpost_core::EffectClass;
///
/// let effect = |target: &str| Effect { class: EffectClass::Writes, action: "files.rename".into(), target: target.into(), detail: None };
/// // Rules are tried on both paths.
/// let _intent = Intent::from(effect("/notes/a")).on(["/notes/a", "/notes/b"]);
/// // An answer is for these bytes alone.
/// let _intent = Intent::from(effect("/notes/a")).made_of([b"the new text".as_slice()]);
/// ```
#[derive(Clone, Debug)]
pub struct Intent {
    pub(crate) effect: Effect,
    /// Every name that rules are tried on; the told one where there is none.
    targets: Vec<String>,
    /// More names, on which only rules are tried that stop something.
    aliases: Vec<String>,
    /// What it is beside that, as actions and targets.
    also: Vec<(&'static str, String)>,
    content: Content,
}

/// What there is to an effect beside what is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Nothing.
    Told,
    /// What has that hash.
    Hashed([u8; 32]),
    /// What nobody knows yet.
    Open,
}

impl From<Effect> for Intent {
    fn from(effect: Effect) -> Self {
        Intent { effect, targets: Vec::new(), aliases: Vec::new(), also: Vec::new(), content: Content::Told }
    }
}

impl Intent {
    /// Has rules tried on these names, and not on the target that is told: where that is cut, or one of several. A rule that
    /// stops fits one of them; a rule that lets go fits them all.
    #[must_use]
    pub fn on<T: Into<String>>(mut self, targets: impl IntoIterator<Item = T>) -> Self {
        self.targets = targets.into_iter().map(Into::into).collect();
        self.targets.sort_unstable();
        self.targets.dedup();
        self
    }

    /// Has rules that stop something tried on these names, too: others for the same, or for what may be part of it.
    #[must_use]
    pub fn alias<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.aliases.extend(names.into_iter().map(Into::into));
        self
    }

    /// Has rules tried on what it comes to, too, under the name of another action: moving something over another thing deletes
    /// that. A rule that stops fits one of them; a rule that lets go fits them all.
    #[must_use]
    pub fn also(mut self, action: &'static str, target: impl Into<String>) -> Self {
        self.also.push((action, target.into()));
        self
    }

    /// Binds an answer to all of these parts. Without them, it is bound to what is told.
    #[must_use]
    pub fn made_of<'p>(mut self, parts: impl IntoIterator<Item = &'p [u8]>) -> Self {
        self.content = Content::Hashed(hash(&parts.into_iter().collect::<Vec<_>>()));
        self
    }

    /// Says that some of it is not known before it happens. Somebody who allows it allows it once.
    #[must_use]
    pub fn open_ended(mut self) -> Self {
        self.content = Content::Open;
        self
    }

    /// What rules are tried on.
    pub(crate) fn targets(&self) -> &[String] {
        if self.targets.is_empty() { std::slice::from_ref(&self.effect.target) } else { &self.targets }
    }

    /// What only those are tried on that stop something.
    pub(crate) fn aliases(&self) -> &[String] {
        &self.aliases
    }

    /// What it is beside that: each an action, and its target.
    pub(crate) fn comes_to(&self) -> &[(&'static str, String)] {
        &self.also
    }

    /// Whether what is told is all of it.
    pub(crate) fn is_told(&self) -> bool {
        let is_named = self.aliases.is_empty() && self.also.is_empty();
        is_named && self.content == Content::Told && self.targets() == std::slice::from_ref(&self.effect.target)
    }

    /// Whether the same effect can be recognized when it comes again.
    pub(crate) fn is_whole(&self) -> bool {
        self.content != Content::Open
    }

    /// The same for what is the same effect.
    pub(crate) fn identity(&self) -> [u8; 32] {
        let Effect { class, action, target, detail } = &self.effect;
        let told = [class.name(), action, target, detail.as_deref().unwrap_or_default()].map(str::as_bytes);
        let content = match &self.content {
            Content::Told => &[],
            Content::Hashed(hash) => hash.as_slice(),
            Content::Open => b"open".as_slice(),
        };
        let targets = self.targets().iter().map(String::as_bytes);
        let also = self.also.iter().flat_map(|(action, target)| [action.as_bytes(), target.as_bytes()]);
        // How many parts each kind has, or two kinds could be taken for one another.
        let count = self.targets().len().to_le_bytes();
        hash(&told.into_iter().chain([content, &count]).chain(targets).chain(also).collect::<Vec<_>>())
    }

    /// Takes secrets out of what is told. Rules are still tried on all of it.
    pub(crate) fn mask(&mut self, masker: &Masker) {
        if masker.is_empty() {
            return;
        }
        let before = self.targets.is_empty().then(|| self.effect.target.clone());
        masker.effect_in(&mut self.effect);
        if let Some(before) = before.filter(|before| *before != self.effect.target) {
            self.targets = vec![before];
        }
    }
}
