//! Which handles does a session have? Texts that stand for resources of its instance: each is a name and a number that nobody can
//! guess, and means something only to the calls of that session, for as long as its instance lives.
//!
//! All handles of a call are looked up before it begins: what is wrong with one is an error of the arguments then, and nothing
//! of the call has reached the guest.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use toolpost_core::catalog::shape::{Field, Handle, Shape};
use toolpost_core::{CallError, ErrorKind, Stage};
use wasmtime::component::ResourceAny;

use crate::value::{Answer, Held};

/// Handles of one session to one instance. A tool that gives more is not called before one was let go of.
const HANDLES_MAX: usize = 1_000;

/// Numbers that nobody can guess who has not seen them.
pub(crate) struct Numbers {
    key: [u8; 32],
    next: AtomicU64,
}

impl Numbers {
    /// Those of an engine. Their key is seeded by the operating system.
    pub(crate) fn new() -> Self {
        let mut key = [0; 32];
        for part in key.chunks_mut(8) {
            part.copy_from_slice(&RandomState::new().hash_one(0_u64).to_le_bytes());
        }
        Numbers { key, next: AtomicU64::new(0) }
    }

    fn next(&self) -> u128 {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        let hash = blake3::keyed_hash(&self.key, &at.to_le_bytes());
        hash.as_bytes().first_chunk().copied().map_or(0, u128::from_le_bytes)
    }
}

/// The handles that a session has.
#[derive(Default)]
pub(crate) struct Handles(Held);

/// The handles in the arguments of a call.
#[derive(Default)]
pub(crate) struct Given {
    pub(crate) held: Held,
    /// Those that are used up.
    owned: Vec<String>,
}

impl Handles {
    /// Finds the handles in canonical arguments; `lost` is why the session has another instance than before, where it has.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArguments`]: one means nothing to this session, or is used up and used once more by the same call.
    pub(crate) fn find(&self, parameters: &[Field], arguments: &Value, lost: Option<&str>) -> Result<Given, CallError> {
        let mut given = Given::default();
        let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
        for field in parameters {
            let Some(value) = arguments.get(&field.key) else { continue };
            visit(&field.shape, value, &mut |handle, value| {
                let text = value.as_str().unwrap_or_default();
                let Some(held) = self.0.get(text) else { return Err(unknown(handle, text, lost)) };
                *uses.entry(text).or_default() += 1;
                given.held.insert(text.to_owned(), *held);
                if handle.owned {
                    given.owned.push(text.to_owned());
                }
                Ok(())
            })?;
        }
        match given.owned.iter().find(|text| uses.get(text.as_str()).is_some_and(|uses| *uses > 1)) {
            Some(twice) => Err(fault(format!("`{twice}` is used up by this call, and stands in it more than once"))),
            None => Ok(given),
        }
    }

    /// Whether there is room for more.
    ///
    /// # Errors
    /// [`ErrorKind::QuotaExceeded`]: there is none.
    pub(crate) fn has_room(&self) -> Result<(), CallError> {
        if self.0.len() < HANDLES_MAX {
            return Ok(());
        }
        let why = format!("the session has {HANDLES_MAX} handles to what the component keeps for it, and gets no more");
        let help = "let go of those that are not needed any more";
        Err(CallError::new(ErrorKind::QuotaExceeded, Stage::Run, why).with_help(help))
    }

    /// The call has ended: what was handed over is gone.
    pub(crate) fn used_up(&mut self, given: &Given) {
        for text in &given.owned {
            self.0.remove(text);
        }
    }

    /// The result, with a handle in the place of each resource that was made.
    pub(crate) fn name(&mut self, shape: Option<&Shape>, answer: Answer, numbers: &Numbers) -> Value {
        let Answer { mut value, made } = answer;
        let (Some(shape), false) = (shape, made.is_empty()) else { return value };
        replace(shape, &mut value, &mut |handle, value| {
            let at = value.as_u64().and_then(|at| usize::try_from(at).ok());
            if let Some(resource) = at.and_then(|at| made.get(at)) {
                let text = handle.text(numbers.next());
                self.0.insert(text.clone(), *resource);
                *value = Value::String(text);
            }
        });
        value
    }

    /// What a handle stands for, which is let go of.
    pub(crate) fn take(&mut self, given: &Given) -> Option<ResourceAny> {
        let resource = given.owned.first().and_then(|text| given.held.get(text)).copied();
        self.used_up(given);
        resource
    }
}

fn unknown(handle: &Handle, text: &str, lost: Option<&str>) -> CallError {
    let resource = &handle.resource;
    let why = match lost {
        Some(lost) => format!("what the session had is gone ({lost})"),
        None => "it was used up or let go of, or belongs to another session".into(),
    };
    fault(format!("the handle `{text}` stands for no `{resource}` of this session: {why}; get a new one"))
}

fn fault(why: String) -> CallError {
    CallError::new(ErrorKind::InvalidArguments, Stage::Run, why)
}

/// The first handle in a type.
pub(crate) fn first(shape: &Shape) -> Option<&Handle> {
    match shape {
        Shape::Handle(handle) => Some(handle),
        Shape::List(item) | Shape::FixedList(item, _) | Shape::Option(item) => first(item),
        Shape::Tuple(items) => items.iter().find_map(first),
        Shape::Record(fields) => fields.iter().find_map(|field| first(&field.shape)),
        Shape::Variant(cases) => cases.iter().filter_map(|case| case.payload.as_ref()).find_map(first),
        Shape::Result { ok, err } => [ok, err].into_iter().flatten().find_map(|side| first(side)),
        _ => None,
    }
}

/// Goes to every handle in a canonical value.
fn visit<'v>(
    shape: &Shape,
    value: &'v Value,
    to: &mut dyn FnMut(&Handle, &'v Value) -> Result<(), CallError>,
) -> Result<(), CallError> {
    let items = || value.as_array().into_iter().flatten();
    match shape {
        Shape::Handle(handle) => to(handle, value),
        Shape::List(item) | Shape::FixedList(item, _) => items().try_for_each(|value| visit(item, value, to)),
        Shape::Tuple(shapes) => shapes.iter().zip(items()).try_for_each(|(shape, value)| visit(shape, value, to)),
        Shape::Option(some) => match within(some, value) {
            Some(value) => visit(some, value, to),
            None => Ok(()),
        },
        _ => members(shape).into_iter().try_for_each(|(name, shape)| match value.get(name) {
            Some(value) => visit(shape, value, to),
            None => Ok(()),
        }),
    }
}

/// As [`visit`], to put something else in the place of each.
fn replace(shape: &Shape, value: &mut Value, with: &mut dyn FnMut(&Handle, &mut Value)) {
    match shape {
        Shape::Handle(handle) => with(handle, value),
        Shape::List(item) | Shape::FixedList(item, _) => {
            value.as_array_mut().into_iter().flatten().for_each(|value| replace(item, value, with));
        }
        Shape::Tuple(shapes) => {
            let items = value.as_array_mut().into_iter().flatten();
            shapes.iter().zip(items).for_each(|(shape, value)| replace(shape, value, with));
        }
        Shape::Option(_) if value.is_null() => {}
        Shape::Option(some) if matches!(**some, Shape::Option(_)) => {
            value.get_mut("some").into_iter().for_each(|value| replace(some, value, with));
        }
        Shape::Option(some) => replace(some, value, with),
        _ => {
            for (name, shape) in members(shape) {
                value.get_mut(name).into_iter().for_each(|value| replace(shape, value, with));
            }
        }
    }
}

/// What is in an option. One in another one is wrapped.
fn within<'v>(some: &Shape, value: &'v Value) -> Option<&'v Value> {
    match (some, value) {
        (_, Value::Null) => None,
        (Shape::Option(_), value) => value.get("some"),
        (_, value) => Some(value),
    }
}

/// What may be in an object, by the name under which it is there.
fn members(shape: &Shape) -> Vec<(&str, &Shape)> {
    match shape {
        Shape::Record(fields) => fields.iter().map(|field| (field.key.as_str(), &field.shape)).collect(),
        Shape::Variant(cases) => {
            cases.iter().filter_map(|case| Some((case.name.as_str(), case.payload.as_ref()?))).collect()
        }
        Shape::Result { ok, err } => {
            let sides = [("ok", ok), ("err", err)].into_iter();
            sides.filter_map(|(name, side)| Some((name, side.as_deref()?))).collect()
        }
        _ => Vec::new(),
    }
}
