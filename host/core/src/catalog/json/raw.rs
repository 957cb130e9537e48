//! Where does a value begin and end? For readers of a document who want some of its parts just as they stand there, and leave it
//! to others to judge what is inside.
//!
//! Brackets and strings are followed to their ends, at any depth, and nothing else is looked at: a part that is broken inside
//! is found whole, and does not take down the document around it.

use std::borrow::Cow;

use super::ReadError;
use super::reader::Reader;

/// A value as it stands in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a> {
    text: &'a str,
    /// Where it begins in the document.
    at: usize,
}

impl<'a> Raw<'a> {
    /// The one value of a document.
    ///
    /// # Errors
    /// There is none, it does not end, or more text follows.
    pub fn document(text: &'a str) -> Result<Self, ReadError> {
        let mut reader = Reader::strict(text.strip_prefix('\u{feff}').unwrap_or(text));
        reader.skip_space()?;
        let value = step_over(&mut reader)?;
        reader.skip_space()?;
        if reader.at < reader.text.len() {
            return Err(reader.error("more text follows after the value"));
        }
        Ok(value)
    }

    /// Its text.
    #[must_use]
    pub fn text(self) -> &'a str {
        self.text
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.text == "null"
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(self) -> bool {
        self.text.starts_with('{')
    }

    /// Whether it is an array.
    #[must_use]
    pub fn is_array(self) -> bool {
        self.text.starts_with('[')
    }

    /// The text that it is, if it is a string as JSON writes it.
    #[must_use]
    pub fn string(self) -> Option<Cow<'a, str>> {
        let mut reader = Reader::strict(self.text);
        let string = self.text.starts_with('"').then(|| reader.string('"').ok())?;
        string.filter(|_| reader.at == self.text.len())
    }

    /// The members of an object, in the order in which they stand there. The first error is the last item.
    pub fn members(self) -> impl Iterator<Item = Result<(Cow<'a, str>, Raw<'a>), ReadError>> {
        let mut parts = Parts::of(self, '{', '}');
        std::iter::from_fn(move || {
            parts.next(|reader| {
                let key = reader.key()?;
                reader.skip_space()?;
                reader.expect(':')?;
                reader.skip_space()?;
                Ok((key, step_over(reader)?))
            })
        })
        .map(move |part| Ok(part?).map(|(key, value)| (key, self.within(value))))
    }

    /// The items of an array. The first error is the last item.
    pub fn items(self) -> impl Iterator<Item = Result<Raw<'a>, ReadError>> {
        let mut parts = Parts::of(self, '[', ']');
        std::iter::from_fn(move || parts.next(step_over)).map(move |part| part.map(|value| self.within(value)))
    }

    /// Those members of an object; `null` is none.
    ///
    /// # Errors
    /// It is no object, its parts cannot be told from one another, or one of these stands twice.
    pub fn pick<const N: usize>(self, keys: [&str; N]) -> Result<[Option<Raw<'a>>; N], ReadError> {
        let mut picked = [None; N];
        for member in self.members() {
            let (key, value) = member?;
            let slot = keys.iter().zip(&mut picked).find(|(wanted, _)| **wanted == key);
            match slot {
                Some((_, Some(_))) => {
                    let message = format!("the key `{key}` stands twice");
                    return Err(ReadError { message, offset: value.at, ends_early: false });
                }
                Some((_, slot @ None)) => *slot = Some(value),
                None => {}
            }
        }
        Ok(picked.map(|value| value.filter(|value: &Raw<'_>| !value.is_null())))
    }

    /// A value that was found inside, with its place in the document.
    fn within(self, inner: Raw<'a>) -> Raw<'a> {
        Raw { at: inner.at + self.at, ..inner }
    }
}

/// The parts of an array or object, one by one.
struct Parts<'a> {
    reader: Reader<'a>,
    open: char,
    close: char,
    begun: bool,
    over: bool,
    base: usize,
}

impl<'a> Parts<'a> {
    fn of(raw: Raw<'a>, open: char, close: char) -> Self {
        Parts { reader: Reader::strict(raw.text), open, close, begun: false, over: false, base: raw.at }
    }

    fn next<T>(&mut self, part: impl FnOnce(&mut Reader<'a>) -> Result<T, ReadError>) -> Option<Result<T, ReadError>> {
        if self.over {
            return None;
        }
        let next = self.advance().and_then(|more| if more { part(&mut self.reader).map(Some) } else { Ok(None) });
        self.over = !matches!(next, Ok(Some(_)));
        next.map_err(|error| ReadError { offset: error.offset + self.base, ..error }).transpose()
    }

    /// Goes to where the next part begins, if there is one.
    fn advance(&mut self) -> Result<bool, ReadError> {
        let reader = &mut self.reader;
        if !std::mem::replace(&mut self.begun, true) {
            reader.expect(self.open)?;
            reader.skip_space()?;
            return Ok(reader.peek() != Some(self.close));
        }
        reader.skip_space()?;
        if reader.peek() == Some(self.close) {
            return Ok(false);
        }
        reader.expect(',')?;
        reader.skip_space()?;
        Ok(true)
    }
}

/// Steps over a value, to where it ends.
fn step_over<'a>(reader: &mut Reader<'a>) -> Result<Raw<'a>, ReadError> {
    let begin = reader.at;
    let mut open = Vec::new();
    loop {
        match reader.peek() {
            None => return Err(reader.early()),
            Some('"') => step_over_string(reader)?,
            Some(bracket @ ('{' | '[')) => {
                open.push(if bracket == '{' { b'}' } else { b']' });
                reader.at += 1;
            }
            Some(bracket @ ('}' | ']')) => {
                if open.pop().map(char::from) != Some(bracket) {
                    return Err(reader.error(&format!("a `{bracket}` stands where none was opened")));
                }
                reader.at += 1;
            }
            // Between parts of what is stepped over, anything may stand.
            Some(',' | ':' | ' ' | '\t' | '\r' | '\n') if !open.is_empty() => reader.at += 1,
            Some(_) => {
                let ends = |c: char| matches!(c, ',' | ':' | '{' | '}' | '[' | ']' | '"' | ' ' | '\t' | '\r' | '\n');
                let rest = reader.rest();
                match rest.find(ends).unwrap_or(rest.len()) {
                    0 => return Err(reader.error("expected a JSON value")),
                    word => reader.at += word,
                }
            }
        }
        if open.is_empty() {
            let text = reader.text.get(begin..reader.at).unwrap_or_default();
            return Ok(Raw { text, at: begin });
        }
    }
}

fn step_over_string(reader: &mut Reader<'_>) -> Result<(), ReadError> {
    let mut rest = reader.rest().bytes().enumerate().skip(1);
    while let Some((at, byte)) = rest.next() {
        match byte {
            b'"' => {
                reader.at += at + 1;
                return Ok(());
            }
            b'\\' => drop(rest.next()),
            _ => {}
        }
    }
    Err(reader.early())
}
