//! The words of a statement: enough of each dialect to know where a literal begins and ends.
//!
//! This is not what keeps a tool from anything that a database can keep it from. It is for what the host must know before a
//! statement is sent (which kind it is, and that it is one), and for showing it without what may be secret in it.

use super::backend::Dialect;

/// A piece of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A keyword, or a name as it is.
    Word(String),
    /// A name in quotes.
    Name(String),
    /// A literal, or the place of a parameter: what stands there is not shown.
    Value,
    /// Anything else.
    Sign(char),
}

/// What is behind the comment marks of MySQL, and is carried out by some versions of it.
pub(super) struct HiddenCode;

/// The tokens of a statement, without its comments.
pub(super) fn tokens(text: &str, dialect: Dialect) -> Result<Vec<Token>, HiddenCode> {
    let mut lexer = Lexer { rest: text, dialect };
    let mut found = Vec::new();
    while let Some(first) = lexer.rest.chars().next() {
        if first.is_whitespace() {
            lexer.skip(first.len_utf8());
        } else if !lexer.comment()? {
            found.push(lexer.token(first));
        }
    }
    Ok(found)
}

struct Lexer<'a> {
    rest: &'a str,
    dialect: Dialect,
}

impl<'a> Lexer<'a> {
    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    /// Takes as many bytes.
    fn take(&mut self, bytes: usize) -> &'a str {
        let taken = self.rest.get(..bytes).unwrap_or(self.rest);
        self.skip(bytes);
        taken
    }

    /// Skips a comment, if there is one.
    fn comment(&mut self) -> Result<bool, HiddenCode> {
        let rest = self.rest;
        let is_mysql = self.dialect == Dialect::Mysql;
        // To MySQL, two minus signs without a space are two minus signs.
        let after_dashes = rest.strip_prefix("--");
        let dashes = after_dashes.is_some_and(|after| !is_mysql || !after.starts_with(|c: char| c > ' '));
        if dashes || (is_mysql && rest.starts_with('#')) {
            self.skip(rest.find('\n').unwrap_or(rest.len()));
            return Ok(true);
        }
        if !rest.starts_with("/*") {
            return Ok(false);
        }
        if is_mysql && ["/*!", "/*M!", "/*+"].iter().any(|mark| rest.starts_with(mark)) {
            return Err(HiddenCode);
        }
        let (mut depth, mut at) = (0_usize, 0);
        loop {
            let left = rest.get(at..).unwrap_or_default();
            if left.starts_with("/*") && (depth == 0 || self.dialect == Dialect::Postgres) {
                (depth, at) = (depth + 1, at + 2);
            } else if left.starts_with("*/") {
                (depth, at) = (depth - 1, at + 2);
            } else {
                at += left.chars().next().map_or(0, char::len_utf8);
            }
            if depth == 0 || left.is_empty() {
                self.skip(at);
                return Ok(true);
            }
        }
    }

    fn token(&mut self, first: char) -> Token {
        let quotes_are_text = self.dialect == Dialect::Mysql;
        match first {
            '\'' => self.text('\'', self.dialect == Dialect::Mysql),
            '"' if quotes_are_text => self.text('"', true),
            '"' => self.name('"'),
            '`' if self.dialect != Dialect::Postgres => self.name('`'),
            '[' if self.dialect == Dialect::Sqlite => self.name(']'),
            '$' if self.dialect == Dialect::Postgres => self.dollar(),
            '?' if self.dialect != Dialect::Postgres => self.parameter(),
            '$' | ':' | '@' if self.dialect == Dialect::Sqlite => self.parameter(),
            _ if first.is_ascii_digit() => self.number(),
            _ if is_of_word(first) => self.word(),
            _ => {
                self.skip(first.len_utf8());
                Token::Sign(first)
            }
        }
    }

    fn text(&mut self, quote: char, escapes: bool) -> Token {
        let end = closing(self.rest, quote, escapes);
        self.skip(end);
        Token::Value
    }

    fn name(&mut self, quote: char) -> Token {
        let end = closing(self.rest, quote, false);
        let quoted = self.take(end);
        Token::Name(quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned())
    }

    /// A text of PostgreSQL between two equal marks, or the place of a parameter.
    fn dollar(&mut self) -> Token {
        let after = self.rest.get(1..).unwrap_or_default();
        let length = after.find(|c| !is_of_word(c)).unwrap_or(after.len());
        let is_mark = !after.starts_with(|c: char| c.is_ascii_digit())
            && after.get(length..).is_some_and(|rest| rest.starts_with('$'));
        if !is_mark {
            return self.parameter();
        }
        let mark = self.take(length + 2);
        self.skip(self.rest.find(mark).map_or(self.rest.len(), |at| at + mark.len()));
        Token::Value
    }

    fn parameter(&mut self) -> Token {
        self.skip(1);
        self.skip(self.rest.find(|c| !is_of_word(c)).unwrap_or(self.rest.len()));
        Token::Value
    }

    fn number(&mut self) -> Token {
        let mut before = ' ';
        let end = self.rest.find(|c: char| {
            let goes_on = is_of_word(c) || c == '.' || (matches!(c, '+' | '-') && matches!(before, 'e' | 'E'));
            before = c;
            !goes_on
        });
        self.skip(end.unwrap_or(self.rest.len()));
        Token::Value
    }

    fn word(&mut self) -> Token {
        let end = self.rest.find(|c| !is_of_word(c) && c != '$').unwrap_or(self.rest.len());
        let word = self.take(end);
        if self.dialect == Dialect::Postgres && word.eq_ignore_ascii_case("u") && self.rest.starts_with("&'") {
            self.skip(1);
        }
        // `E'..'`, `X'..'`, `U&'..'`, `_utf8'..'` and their like are literals.
        if self.rest.starts_with('\'') {
            let escapes = self.dialect == Dialect::Mysql || word.eq_ignore_ascii_case("e");
            return self.text('\'', escapes);
        }
        Token::Word(word.to_owned())
    }
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii()
}

/// Where something in quotes ends. A quote that is doubled stands for itself.
fn closing(text: &str, quote: char, escapes: bool) -> usize {
    let mut at = text.chars().next().map_or(0, char::len_utf8);
    loop {
        let left = text.get(at..).unwrap_or_default();
        let Some(next) = left.chars().next() else { return text.len() };
        at += next.len_utf8();
        if escapes && next == '\\' {
            at += text.get(at..).and_then(|left| left.chars().next()).map_or(0, char::len_utf8);
        } else if next == quote {
            if !text.get(at..).is_some_and(|left| left.starts_with(quote)) || quote == ']' {
                return at;
            }
            at += quote.len_utf8();
        }
    }
}
