//! Which arguments of a tool are secret? The operator says so, by JSON pointers into them.

use std::borrow::Cow;

use serde_json::Value;

use super::cast::nearest;
use super::shape::{Field, Shape};
use crate::secret::MASK;

/// What stands for every item of a list.
const EACH: &str = "*";

/// The arguments that nobody may see but the tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretArguments {
    /// The way to each, in the names that accepted arguments have.
    paths: Vec<Vec<String>>,
}

impl SecretArguments {
    /// Finds the arguments that pointers such as `/password` or `/users/*/token` mean.
    ///
    /// # Errors
    /// What a pointer leads to that is not there.
    pub fn find(pointers: &[String], parameters: &[Field]) -> Result<Self, String> {
        let paths = pointers.iter().map(|pointer| {
            let steps = pointer.strip_prefix('/').ok_or_else(|| {
                format!("`{pointer}` of `secret_arguments` is no JSON pointer; write for example \"/password\"")
            })?;
            let mut steps = steps.split('/').map(|step| step.replace("~1", "/").replace("~0", "~"));
            let first = steps.next().unwrap_or_default();
            let (key, mut shape) = field(parameters, &first, pointer)?;
            let mut path = vec![key];
            for step in steps {
                let (key, inner) = inside(shape, &step, pointer)?;
                path.push(key);
                shape = inner;
            }
            Ok(path)
        });
        Ok(SecretArguments { paths: paths.collect::<Result<_, String>>()? })
    }

    /// Whether no argument is secret.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Whether something of an argument is secret.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        self.paths.iter().any(|path| path.first().is_some_and(|first| first == name))
    }

    /// Accepted arguments with something else in the place of each secret.
    pub fn replace<'v>(&self, arguments: &'v Value, with: impl Fn(&Value) -> Value) -> Cow<'v, Value> {
        if self.is_empty() {
            return Cow::Borrowed(arguments);
        }
        let mut arguments = arguments.clone();
        self.paths.iter().for_each(|path| replace(&mut arguments, path, &with));
        Cow::Owned(arguments)
    }

    /// What may be shown of a value that was found at a pointer, before the arguments were accepted: nothing, where a secret
    /// could be in it or it could be one with a name that is written wrong.
    pub(super) fn hide(&self, pointer: &str, parameters: &[Field], text: &mut String) {
        let mut steps = pointer.split('/').skip(1);
        let named = steps.next().and_then(|first| parameters.iter().find(|field| is(field, first)));
        let plain = |field: &Field| !self.paths.iter().any(|path| path.first() == Some(&field.key));
        if !self.is_empty() && !named.is_some_and(plain) {
            MASK.clone_into(text);
        }
    }
}

fn replace(value: &mut Value, path: &[String], with: &impl Fn(&Value) -> Value) {
    let Some((step, rest)) = path.split_first() else {
        // What is left out is no secret.
        if !value.is_null() {
            *value = with(value);
        }
        return;
    };
    match value {
        Value::Array(items) if step == EACH => items.iter_mut().for_each(|item| replace(item, rest, with)),
        Value::Object(members) => members.get_mut(step).into_iter().for_each(|member| replace(member, rest, with)),
        _ => {}
    }
}

fn is(field: &Field, name: &str) -> bool {
    field.key == name || field.name == name
}

fn field<'s>(fields: &'s [Field], step: &str, pointer: &str) -> Result<(String, &'s Shape), String> {
    let found = fields.iter().find(|field| is(field, step));
    found.map(|field| (field.key.clone(), &field.shape)).ok_or_else(|| {
        let near = nearest(step, fields.iter().map(|field| field.key.as_str()));
        let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        format!("`secret_arguments` speaks of `{pointer}`, but there is no `{step}`{near}")
    })
}

/// The part of a value to which one step leads.
fn inside<'s>(shape: &'s Shape, step: &str, pointer: &str) -> Result<(String, &'s Shape), String> {
    match shape {
        Shape::Option(some) => inside(some, step, pointer),
        Shape::Record(fields) => field(fields, step, pointer),
        Shape::List(item) | Shape::FixedList(item, _) if step == EACH => Ok((EACH.to_owned(), item)),
        _ => Err(format!(
            "`secret_arguments` speaks of `{pointer}`, but `{step}` leads nowhere: a pointer goes through records by name, and \
             through lists by `*`"
        )),
    }
}
