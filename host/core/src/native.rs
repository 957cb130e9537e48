//! A tool that is a function of the host's own program. It walks the same road as a component, with the same report.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::catalog::grants::Grants;
use crate::catalog::settings::LimitSettings;
use crate::catalog::shape::{Field, Shape};
use crate::catalog::{Base, Cast, Lifetime, Origin, SecretArguments, Tool, ToolLabel};
use crate::effect::EffectClass;
use crate::guard::GuardSettings;
use crate::run::{Attempt, Runner};
use crate::tell::{CallError, Output};

/// A native tool in the making.
///
/// Without a word about it, it counts as one that may send to the network: the host cannot look into it.
///
/// ```
/// use serde_json::json;
/// use toolpost_core::{Call, Catalog, Host, Native, catalog::shape::{Integer, Shape}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let double = Native::new("double", "Doubles a number")
///     .parameter("number", Shape::Integer(Integer::U32))
///     .returns(Shape::Integer(Integer::U64))
///     .run(|attempt| async move {
///         let number = attempt.call.arguments["number"].as_u64().unwrap_or_default();
///         Ok(json!(number * 2))
///     });
/// let mut catalog = Catalog::default();
/// catalog.add(double)?;
/// let outcome = Host::new(catalog).call(Call::new("double", json!({"number": 21}))).await;
/// assert_eq!(outcome.result?.value, json!(42));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Native {
    name: String,
    description: String,
    labels: BTreeSet<ToolLabel>,
    parameters: Vec<Field>,
    result: Option<Shape>,
    effect: EffectClass,
    limits: LimitSettings,
    guard: GuardSettings,
    cast: Option<Cast>,
    secrets: BTreeSet<String>,
    base: Base,
}

impl Native {
    /// A tool of that name.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Native {
            name: name.into(),
            description: description.into(),
            labels: BTreeSet::new(),
            parameters: Vec::new(),
            result: None,
            effect: EffectClass::Open,
            limits: LimitSettings::default(),
            guard: GuardSettings::default(),
            cast: None,
            secrets: BTreeSet::new(),
            base: Base::default(),
        }
    }

    /// Adds a word by which it is chosen.
    #[must_use]
    pub fn label(mut self, label: ToolLabel) -> Self {
        self.labels.insert(label);
        self
    }

    /// Adds a parameter, by its name in kebab-case or `snake_case`.
    #[must_use]
    pub fn parameter(self, name: &str, shape: Shape) -> Self {
        self.field(Field::new(name.replace('_', "-"), shape))
    }

    /// Adds a parameter with documentation or a default.
    #[must_use]
    pub fn field(mut self, field: Field) -> Self {
        self.parameters.push(field);
        self
    }

    /// Says what it answers with.
    #[must_use]
    pub fn returns(mut self, shape: Shape) -> Self {
        self.result = Some(shape);
        self
    }

    /// Says what it can do to the world.
    #[must_use]
    pub fn effect(mut self, effect: EffectClass) -> Self {
        self.effect = effect;
        self
    }

    /// Says what one call of it may use. Fuel and memory of a native function are not counted.
    #[must_use]
    pub fn limits(mut self, limits: LimitSettings) -> Self {
        self.limits = limits;
        self
    }

    /// Says what guards it: rates, breaker, retries.
    #[must_use]
    pub fn guard(mut self, guard: GuardSettings) -> Self {
        self.guard = guard;
        self
    }

    /// Sets what holds where the tool itself says nothing: what its host says of all tools.
    #[must_use]
    pub fn above(mut self, base: Base) -> Self {
        self.base = base;
        self
    }

    /// Says how far arguments may be from the schema.
    #[must_use]
    pub fn cast(mut self, cast: Cast) -> Self {
        self.cast = Some(cast);
        self
    }

    /// Grants it a secret of its host, which it asks for with [`Attempt::secret`].
    #[must_use]
    pub fn secret(mut self, name: impl Into<String>) -> Self {
        self.secrets.insert(name.into());
        self
    }

    /// The tool, run by that function. The arguments are in the attempt's call, in canonical form.
    pub fn run<F, R>(self, function: F) -> Tool
    where
        F: Fn(Attempt) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Value, CallError>> + Send + 'static,
    {
        Tool {
            said: Some(self.effect),
            name: self.name,
            description: self.description,
            labels: self.labels,
            parameters: self.parameters,
            result: self.result,
            effect: self.effect,
            reach: self.effect,
            powers: vec!["whatever the host's own program can".into()],
            cast: self.cast.unwrap_or(self.base.cast),
            secret_arguments: SecretArguments::default(),
            secrets: self.secrets,
            limits: self.base.limits.with(&self.limits),
            guards: self.base.guards.with(&self.guard),
            // The host cannot look into a function of its own program, and so cannot hold it to grants.
            grants: Grants::default(),
            // What it keeps from one call to the next is up to the program.
            lifetime: Lifetime::Fresh,
            origin: Origin::Native,
            set: None,
            runner: Arc::new(Function(function)),
        }
    }
}

struct Function<F>(F);

impl<F, R> Runner for Function<F>
where
    F: Fn(Attempt) -> R + Send + Sync + 'static,
    R: Future<Output = Result<Value, CallError>> + Send + 'static,
{
    fn run<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, Result<Output, CallError>> {
        let running = (self.0)(attempt.clone());
        async move { running.await.map(|value| Output { value, ..Output::default() }) }.boxed()
    }
}
