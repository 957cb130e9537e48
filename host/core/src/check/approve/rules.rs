//! What do the operator's rules say of a call?
//!
//! Rules stand in three groups that are tried in this order: deny, ask, allow. The first that fits in a group decides, so
//! nothing that is allowed anywhere undoes a denial. Without a rule the effect class decides: what destroys is asked about,
//! all else runs. What somebody has answered with "always" stands between deny and ask: it is the answer to a question that
//! would be asked again.
//!
//! A rule carries its own tests: examples that it must fit, and examples that it must not. They are run when the rule is
//! read, and a rule that fails one of them is none.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::matcher::{Need, Place, Test};
use super::question::literal;
use crate::batch::Class;
use crate::call::{AcceptedCall, Caller};
use crate::catalog::{Origin, SetName};
use crate::check::authorize::{self, Pattern};
use crate::effect::{Effect, EffectClass, Intent};

/// The most rules of one group.
pub const RULES_MAX: usize = 10_000;

/// What stands for the digest of a tool that is a function of the host's own program.
pub const NATIVE: &str = "native";

/// The rules of a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// What may not run, whatever else is said.
    #[serde(default, deserialize_with = "that_stop", skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Rule>,
    /// What somebody was asked about, and has always allowed.
    #[serde(default, deserialize_with = "that_allow", skip_serializing_if = "Vec::is_empty")]
    pub always: Vec<Rule>,
    /// What a person is asked about.
    #[serde(default, deserialize_with = "that_stop", skip_serializing_if = "Vec::is_empty")]
    pub ask: Vec<Rule>,
    /// What runs without a question.
    #[serde(default, deserialize_with = "that_allow", skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Rule>,
}

/// One rule. It fits a call when all that it names does; a rule that names nothing fits every call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What it is called where its decisions are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The tools, by name; `*` stands for any characters, `?` for one. Default ["*"].
    #[serde(default = "authorize::anything")]
    pub tools: Vec<Pattern>,
    /// The component, by the digest that `inspect` shows; `native` for a function of the host's own program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The callers, by id, or by group as `group:NAME`. Default ["*"].
    #[serde(default = "authorize::anything")]
    pub callers: Vec<Pattern>,
    /// What the tool can do to the world: one of these classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<EffectClass>,
    /// What the running tool is about to do. A rule that says it is tried on each effect, and not on the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub does: Option<Does>,
    /// Tests of the arguments, by place: a JSON pointer, or `*` for any argument.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<Place, Test>,
    /// Why, for the one who is refused or asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it only tells what it would decide. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// Calls that it must fit.
    #[serde(default, rename = "match", skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<Example>,
    /// Calls that it must not fit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_match: Vec<Example>,
}

/// Something that a tool is about to do, such as `net.post` to `https://api.example.com/orders`. What is not said fits all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Does {
    /// What is done, as effects are reported: `files.delete`, `net.post`, `net.*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Pattern>,
    /// What it is done to: a test of the path, the URL or the key that effects are reported with. It is tried on all of it,
    /// also where the report is cut, and on each of its names: on both paths of `files.rename`; on a URL with and without its
    /// query and its `%` escapes; on a statement's first words and on the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Test>,
}

/// A call that a rule is tested with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// The tool's name.
    pub tool: String,
    /// Its arguments.
    #[serde(default)]
    pub arguments: Value,
    /// Who calls, by id, or as `group:NAME` for one of that group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub caller: String,
    /// What the tool can do to the world; must be given where the rule names effects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<EffectClass>,
    /// The component's digest; must be given where the rule names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What the tool is about to do; must be given where the rule says what it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub does: Option<Done>,
}

/// An effect that a rule is tested with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// What is done.
    pub action: String,
    /// What it is done to.
    pub target: String,
}

/// What a group of rules does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The call does not run.
    Deny,
    /// A person decides.
    Ask,
    /// The call runs.
    Allow,
}

/// A rule, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placed<'r> {
    /// What its group does.
    pub action: Action,
    /// Its group: `deny`, `always`, `ask` or `allow`.
    pub group: &'static str,
    /// Its number in the group; the first is 1.
    pub number: usize,
    /// The rule.
    pub rule: &'r Rule,
}

/// What the rules say of a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Ruling<'r> {
    /// What is to be done.
    pub action: Action,
    /// The rule that says so; none where the effect class does.
    pub by: Option<Placed<'r>>,
    /// Rules in the shadow that would have decided.
    pub shadows: Vec<Placed<'r>>,
}

/// What rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'c> {
    /// The tool's name.
    pub tool: &'c str,
    /// The digest of its component, or [`NATIVE`].
    pub digest: &'c str,
    /// What it can do to the world.
    pub effect: EffectClass,
    /// Who calls.
    pub caller: &'c Caller,
    /// The arguments in canonical form.
    pub arguments: &'c Value,
    /// What the tool is about to do, where that is judged and not the call.
    pub does: Option<&'c Intent>,
}

/// What keeps a rule from fitting a call: the first thing that does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Misfit<'r> {
    /// Another tool.
    Tool,
    /// Another component, or another version of it.
    Digest,
    /// Another caller.
    Caller,
    /// Another effect class.
    Effect,
    /// It is about what a running tool does, and this is a call; or the other way round.
    Kind,
    /// The tool is about to do something else.
    Does,
    /// The arguments do not pass that test.
    Argument(&'r Place, &'r Test),
}

impl Action {
    /// The name, as in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Action::Deny => "deny",
            Action::Ask => "ask",
            Action::Allow => "allow",
        }
    }

    /// Where something is stopped, one value that fits is enough; where it is let go, every one has to.
    fn need(self) -> Need {
        if self == Action::Allow { Need::Every } else { Need::One }
    }
}

impl<'c> Subject<'c> {
    /// What rules look at in a call.
    #[must_use]
    pub fn of(call: &'c AcceptedCall) -> Self {
        let digest = match &call.tool.origin {
            Origin::Component { digest, .. } => digest,
            Origin::Native => call.tool.set.as_ref().map_or(NATIVE, SetName::native_digest),
        };
        let (tool, effect) = (call.tool.name.as_str(), call.tool.effect);
        let subject =
            Subject { tool, digest, effect, caller: &call.call.caller, arguments: &call.arguments, does: None };
        match &call.call.turn {
            None => subject,
            Some(turn) => subject.in_class(&turn.classes().of(&call.tool)),
        }
    }

    /// The same in a batch: what an operator has put among the destructive calls is judged as one that destroys.
    pub(crate) fn in_class(self, class: &Class) -> Self {
        let effect = if *class == Class::Destructive { EffectClass::Destroys } else { self.effect };
        Subject { effect, ..self }
    }
}

impl Rules {
    /// No rule at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Rules { deny, always, ask, allow } = self;
        [deny, always, ask, allow].iter().all(|group| group.is_empty())
    }

    /// These, and others behind them in each group.
    #[must_use]
    pub fn and(mut self, others: Rules) -> Self {
        self.deny.extend(others.deny);
        self.always.extend(others.always);
        self.ask.extend(others.ask);
        self.allow.extend(others.allow);
        self
    }

    /// Every rule, in the order in which they are tried.
    pub fn placed(&self) -> impl Iterator<Item = Placed<'_>> {
        let groups = [
            (Action::Deny, "deny", &self.deny),
            (Action::Allow, "always", &self.always),
            (Action::Ask, "ask", &self.ask),
            (Action::Allow, "allow", &self.allow),
        ];
        groups.into_iter().flat_map(|(action, group, rules)| {
            rules.iter().enumerate().map(move |(at, rule)| Placed { action, group, number: at + 1, rule })
        })
    }

    /// Whether a rule says what a tool does, so that effects have to be judged.
    #[must_use]
    pub fn judge_effects(&self) -> bool {
        self.placed().any(|placed| placed.rule.does.is_some())
    }

    /// What the rules say of a call, or of an effect.
    #[must_use]
    pub fn rule_on(&self, subject: &Subject<'_>) -> Ruling<'_> {
        let mut shadows = Vec::new();
        for placed in self.placed().filter(|placed| placed.misfit(subject).is_none()) {
            if !placed.rule.shadow {
                return Ruling { action: placed.action, by: Some(placed), shadows };
            }
            shadows.push(placed);
        }
        let is_asked = subject.effect == EffectClass::Destroys && subject.does.is_none();
        let action = if is_asked { Action::Ask } else { Action::Allow };
        Ruling { action, by: None, shadows }
    }
}

impl<'r> Placed<'r> {
    /// What it is called: its own name, or its place.
    #[must_use]
    pub fn title(&self) -> String {
        self.rule.name.clone().unwrap_or_else(|| format!("{} {}", self.group, self.number))
    }

    /// What keeps it from fitting a call.
    #[must_use]
    pub fn misfit(&self, subject: &Subject<'_>) -> Option<Misfit<'r>> {
        self.rule.misfit(subject, self.action)
    }
}

impl Does {
    /// This very action on this very target; none where there is more to it than a rule can say.
    pub(super) fn exactly(intent: &Intent) -> Option<Self> {
        let Effect { action, target, .. } = &intent.effect;
        let target = Test::Equals(Value::String(target.clone()));
        intent.is_told().then_some(Does { action: Some(literal(action)?), target: Some(target) })
    }

    fn fits(&self, intent: &Intent, action: Action) -> bool {
        let need = action.need();
        let fits = |action: &str, targets: &[String]| {
            let does = self.action.as_ref().is_none_or(|pattern| pattern.fits(action));
            does && self.target.as_ref().is_none_or(|test| test.fits_texts(targets, need))
        };
        let own = &intent.effect.action;
        let told = fits(own, intent.targets());
        let also = |(action, target): &(&'static str, String)| fits(action, std::slice::from_ref(target));
        match need {
            Need::One => told || fits(own, intent.aliases()) || intent.comes_to().iter().any(also),
            Need::Every => told && intent.comes_to().iter().all(also),
        }
    }
}

impl Default for Rule {
    fn default() -> Self {
        Rule {
            name: None,
            tools: authorize::anything(),
            digest: None,
            callers: authorize::anything(),
            effects: Vec::new(),
            does: None,
            arguments: BTreeMap::new(),
            reason: None,
            shadow: false,
            matches: Vec::new(),
            no_match: Vec::new(),
        }
    }
}

impl Rule {
    fn misfit(&self, subject: &Subject<'_>, action: Action) -> Option<Misfit<'_>> {
        let Subject { tool, digest, effect, caller, arguments, does } = *subject;
        let is_done = match (&self.does, does) {
            (None, None) => true,
            (Some(wanted), Some(intent)) => wanted.fits(intent, action),
            _ => return Some(Misfit::Kind),
        };
        if !self.tools.iter().any(|pattern| pattern.fits(tool)) {
            return Some(Misfit::Tool);
        }
        if self.digest.as_ref().is_some_and(|wanted| wanted != digest) {
            return Some(Misfit::Digest);
        }
        if !authorize::means(&self.callers, caller) {
            return Some(Misfit::Caller);
        }
        if !self.effects.is_empty() && !self.effects.contains(&effect) {
            return Some(Misfit::Effect);
        }
        if !is_done {
            return Some(Misfit::Does);
        }
        let failed = self.arguments.iter().find(|(place, test)| !test.fits(place, arguments, action.need()));
        failed.map(|(place, test)| Misfit::Argument(place, test))
    }

    /// Runs the rule's own tests.
    ///
    /// # Errors
    /// The first that fails.
    fn check(&self, action: Action) -> Result<(), String> {
        let wanted = self.matches.iter().map(|example| (example, true));
        for (example, fits) in wanted.chain(self.no_match.iter().map(|example| (example, false))) {
            let shown = format!("`{}` with {}", example.tool, example.arguments);
            if example.effect.is_none() && !self.effects.is_empty() {
                return Err(format!("the example {shown} must say its `effect`: the rule names effects"));
            }
            if example.digest.is_none() && self.digest.is_some() {
                return Err(format!("the example {shown} must say its `digest`: the rule names one"));
            }
            if example.does.is_none() && self.does.is_some() {
                return Err(format!("the example {shown} must say what it `does`: the rule does"));
            }
            match (example.misfit(self, action), fits) {
                (Some(why), true) => return Err(format!("the rule does not fit its own example {shown}: {why}")),
                (None, false) => return Err(format!("the rule fits {shown}, which it says it does not")),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Example {
    fn misfit<'r>(&self, rule: &'r Rule, action: Action) -> Option<Misfit<'r>> {
        let caller = match self.caller.strip_prefix(authorize::GROUP) {
            Some(group) => Caller { groups: vec![group.to_owned()], ..Caller::default() },
            None => Caller::named(&self.caller),
        };
        let does = self.does.clone().map(|Done { action, target }| {
            let class = self.effect.unwrap_or(EffectClass::Open);
            Intent::from(Effect { class, action, target, detail: None })
        });
        let subject = Subject {
            tool: &self.tool,
            digest: self.digest.as_deref().unwrap_or(NATIVE),
            effect: self.effect.unwrap_or(EffectClass::Pure),
            caller: &caller,
            arguments: &self.arguments,
            does: does.as_ref(),
        };
        rule.misfit(&subject, action)
    }
}

impl fmt::Display for Misfit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misfit::Tool => f.write_str("another tool"),
            Misfit::Digest => f.write_str("another component, or another version of it"),
            Misfit::Caller => f.write_str("another caller"),
            Misfit::Effect => f.write_str("another effect class"),
            Misfit::Kind => f.write_str("it is tried on what a running tool does, and not on calls"),
            Misfit::Does => f.write_str("the tool does something else"),
            Misfit::Argument(place, test) => write!(f, "`{place}` does not fit {test}"),
        }
    }
}

/// Reads the rules of a group that stops calls, and tests each: for `deserialize_with`, so that a fault has its line.
///
/// # Errors
/// One of them is no rule, or fails one of its own tests.
pub fn that_stop<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Rule>, D::Error> {
    // Deny or ask: a rule fits alike in both.
    group::<D, false>(deserializer)
}

/// As [`that_stop`], for the group that lets calls go.
///
/// # Errors
/// As for [`that_stop`].
pub fn that_allow<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Rule>, D::Error> {
    group::<D, true>(deserializer)
}

fn group<'de, D: Deserializer<'de>, const ALLOW: bool>(deserializer: D) -> Result<Vec<Rule>, D::Error> {
    let rules = Vec::<Tested<ALLOW>>::deserialize(deserializer)?;
    if rules.len() > RULES_MAX {
        return Err(D::Error::custom(format!("there are {} rules; at most {RULES_MAX} are allowed", rules.len())));
    }
    Ok(rules.into_iter().map(|Tested(rule)| rule).collect())
}

/// A rule that has passed its own tests.
struct Tested<const ALLOW: bool>(Rule);

impl<'de, const ALLOW: bool> Deserialize<'de> for Tested<ALLOW> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<const ALLOW: bool>;
        impl<'de, const ALLOW: bool> Visitor<'de> for Read<ALLOW> {
            type Value = Tested<ALLOW>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rule, for example { tools = [\"files_*\"] }")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let rule = Rule::deserialize(MapAccessDeserializer::new(map))?;
                let action = if ALLOW { Action::Allow } else { Action::Deny };
                rule.check(action).map_err(A::Error::custom)?;
                Ok(Tested(rule))
            }
        }
        deserializer.deserialize_map(Read)
    }
}
