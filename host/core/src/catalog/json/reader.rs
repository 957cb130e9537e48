//! The reader behind [`Node::read`](super::Node::read): one pass over the text, strict or lenient.

use std::borrow::Cow;

use super::{DEPTH_MAX, Node, ReadError, Repair, too_deep};

pub(super) struct Reader<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    lenient: bool,
    pub(super) repairs: Vec<Repair>,
}

type Read<T> = Result<T, ReadError>;

impl<'a> Reader<'a> {
    pub(super) fn strict(text: &'a str) -> Self {
        Reader { text, at: 0, lenient: false, repairs: Vec::new() }
    }

    pub(super) fn lenient(text: &'a str) -> Self {
        Reader { text, at: 0, lenient: true, repairs: Vec::new() }
    }

    /// One value, and nothing behind it.
    pub(super) fn document(&mut self) -> Read<Node<'a>> {
        let fenced = self.lenient && self.skip_preamble();
        self.skip_space()?;
        let node = self.value(0)?;
        self.skip_space()?;
        if fenced && self.rest().starts_with("```") {
            self.at += 3;
            self.skip_space()?;
        }
        if self.at < self.text.len() {
            return Err(self.error("more text follows after the value"));
        }
        Ok(node)
    }

    /// Steps over a byte order mark, an opening code fence and leading prose; says whether there was a fence.
    fn skip_preamble(&mut self) -> bool {
        if self.rest().starts_with('\u{feff}') {
            self.at += '\u{feff}'.len_utf8();
            self.repairs.push(Repair::ByteOrderMark);
        }
        let before = self.rest();
        let fenced = match before.find("```") {
            Some(fence) if before.find(['{', '[']).is_none_or(|value| fence < value) => {
                self.repairs.push(Repair::CodeFence);
                if !before.get(..fence).unwrap_or_default().trim().is_empty() {
                    self.repairs.push(Repair::LeadingText);
                }
                self.at += fence + 3;
                let word = self.rest().find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(0);
                self.at += word;
                true
            }
            _ => false,
        };
        let rest = self.rest();
        let blank = rest.len() - rest.trim_start().len();
        if let Some(brace) = rest.find('{') {
            let prose = rest.get(blank..brace).unwrap_or_default();
            if prose.starts_with(char::is_alphabetic) && !prose.contains(['[', '"']) {
                self.repairs.push(Repair::LeadingText);
                self.at += brace;
            }
        }
        fenced
    }

    fn value(&mut self, depth: usize) -> Read<Node<'a>> {
        match self.peek() {
            None => Err(self.early()),
            Some('{' | '[') if depth >= DEPTH_MAX => Err(too_deep(self.at)),
            Some('{') => self.object(depth),
            Some('[') => self.array(depth),
            Some('"') => Ok(Node::String(self.string('"')?)),
            Some('\'') if self.lenient => {
                self.repairs.push(Repair::SingleQuotes);
                Ok(Node::String(self.string('\'')?))
            }
            Some('-' | '0'..='9') => self.number(),
            Some(_) => self.literal(),
        }
    }

    fn object(&mut self, depth: usize) -> Read<Node<'a>> {
        let mut members: Vec<(Cow<'a, str>, Node<'a>)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        self.items('}', |reader| {
            let key_at = reader.at;
            let key = reader.key()?;
            if !seen.insert(key.clone()) {
                let key = Node::String(key).excerpt(40);
                return Err(ReadError { offset: key_at, ..reader.error(&format!("the key {key} stands twice")) });
            }
            reader.skip_space()?;
            reader.expect(':')?;
            reader.skip_space()?;
            members.push((key, reader.value(depth + 1)?));
            Ok(())
        })?;
        Ok(Node::Object(members))
    }

    fn array(&mut self, depth: usize) -> Read<Node<'a>> {
        let mut items = Vec::new();
        self.items(']', |reader| {
            items.push(reader.value(depth + 1)?);
            Ok(())
        })?;
        Ok(Node::Array(items))
    }

    /// The part between an opening bracket, at which the reader stands, and `close`: items with commas between them.
    fn items(&mut self, close: char, mut item: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        self.at += 1;
        self.skip_space()?;
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        loop {
            item(self)?;
            self.skip_space()?;
            match self.peek() {
                Some(',') => self.at += 1,
                Some(c) if c == close => {
                    self.at += 1;
                    return Ok(());
                }
                None => return Err(self.early()),
                Some(_) => return Err(self.error(&format!("expected `,` or `{close}`"))),
            }
            self.skip_space()?;
            if self.lenient && self.peek() == Some(close) {
                self.repairs.push(Repair::TrailingComma);
                self.at += 1;
                return Ok(());
            }
        }
    }

    pub(super) fn key(&mut self) -> Read<Cow<'a, str>> {
        match self.peek() {
            None => Err(self.early()),
            Some('"') => self.string('"'),
            Some('\'') if self.lenient => {
                self.repairs.push(Repair::SingleQuotes);
                self.string('\'')
            }
            Some(c) if self.lenient && (c.is_alphabetic() || c == '_' || c == '$') => {
                let rest = self.rest();
                let end =
                    rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$' | '-'))).unwrap_or(rest.len());
                self.repairs.push(Repair::UnquotedKey);
                self.at += end;
                Ok(Cow::Borrowed(rest.get(..end).unwrap_or_default()))
            }
            Some(_) => Err(self.error("expected a key in double quotes")),
        }
    }

    pub(super) fn string(&mut self, quote: char) -> Read<Cow<'a, str>> {
        self.at += 1;
        let start = self.at;
        let mut unescaped: Option<String> = None;
        loop {
            let rest = self.rest();
            // All that ends a run is ASCII, and no byte of a longer character is: bytes are looked at, not characters.
            let ends = |byte: u8| char::from(byte) == quote || byte == b'\\' || byte < b' ';
            let run = rest.bytes().position(ends).ok_or_else(|| self.early())?;
            if let Some(text) = &mut unescaped {
                text.push_str(rest.get(..run).unwrap_or_default());
            }
            self.at += run;
            match self.peek() {
                Some(c) if c == quote => {
                    let plain = self.text.get(start..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok(unescaped.map_or(Cow::Borrowed(plain), Cow::Owned));
                }
                Some('\\') => {
                    let plain = self.text.get(start..self.at).unwrap_or_default();
                    let text = unescaped.get_or_insert_with(|| plain.to_owned());
                    let c = self.escape(quote)?;
                    text.push(c);
                }
                _ => return Err(self.error("a control character stands in a string; write it as an escape")),
            }
        }
    }

    fn escape(&mut self, quote: char) -> Read<char> {
        self.at += 1;
        let c = self.peek().ok_or_else(|| self.early())?;
        self.at += c.len_utf8();
        Ok(match c {
            '"' | '\\' | '/' => c,
            '\'' if quote == '\'' => c,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => return self.unicode_escape(),
            _ => return Err(self.error("an escape that JSON does not know")),
        })
    }

    fn unicode_escape(&mut self) -> Read<char> {
        let first = self.hex4()?;
        let code = match first {
            0xD800..=0xDBFF => {
                if !self.rest().starts_with("\\u") {
                    return Err(self.error("half of a surrogate pair"));
                }
                self.at += 2;
                let second = self.hex4()?;
                if !(0xDC00..=0xDFFF).contains(&second) {
                    return Err(self.error("half of a surrogate pair"));
                }
                0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
            }
            _ => first,
        };
        char::from_u32(code).ok_or_else(|| self.error("half of a surrogate pair"))
    }

    fn hex4(&mut self) -> Read<u32> {
        let digits = match self.rest().get(..4) {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => digits,
            None if self.rest().len() < 4 => return Err(self.early()),
            _ => return Err(self.error("expected four hexadecimal digits")),
        };
        self.at += 4;
        u32::from_str_radix(digits, 16).map_err(|_| self.error("expected four hexadecimal digits"))
    }

    fn number(&mut self) -> Read<Node<'a>> {
        let rest = self.rest();
        let end = rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        let text = rest.get(..end).unwrap_or_default();
        if !is_number(text) {
            let cut = end == rest.len() && text.ends_with(['-', '+', '.', 'e', 'E']);
            return Err(if cut { self.early() } else { self.error("not a number as JSON writes it") });
        }
        self.at += end;
        Ok(Node::Number(Cow::Borrowed(text)))
    }

    fn literal(&mut self) -> Read<Node<'a>> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default();
        let node = match word {
            "null" => Node::Null,
            "true" => Node::Bool(true),
            "false" => Node::Bool(false),
            "None" | "True" | "False" if self.lenient => {
                self.repairs.push(Repair::PythonLiteral);
                if word == "None" { Node::Null } else { Node::Bool(word == "True") }
            }
            _ if end == rest.len() && ["null", "true", "false"].iter().any(|whole| whole.starts_with(word)) => {
                return Err(self.early());
            }
            _ => return Err(self.error("expected a JSON value")),
        };
        self.at += end;
        Ok(node)
    }

    pub(super) fn skip_space(&mut self) -> Read<()> {
        loop {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
            if !self.lenient {
                return Ok(());
            }
            let rest = self.rest();
            let comment = if rest.starts_with("//") || rest.starts_with('#') {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").ok_or_else(|| self.early())? + 2
            } else {
                return Ok(());
            };
            self.at += comment;
            self.repairs.push(Repair::Comment);
        }
    }

    pub(super) fn expect(&mut self, wanted: char) -> Read<()> {
        match self.peek() {
            Some(c) if c == wanted => {
                self.at += c.len_utf8();
                Ok(())
            }
            None => Err(self.early()),
            Some(_) => Err(self.error(&format!("expected `{wanted}`"))),
        }
    }

    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn error(&self, message: &str) -> ReadError {
        ReadError { message: message.to_owned(), offset: self.at, ends_early: false }
    }

    pub(super) fn early(&self) -> ReadError {
        let message = "the text ends before its value does; send it again, whole".to_owned();
        ReadError { message, offset: self.text.len(), ends_early: true }
    }
}

/// Whether the text is a number by the grammar of RFC 8259, section 6.
pub(super) fn is_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}
