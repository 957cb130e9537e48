//! A statement as it is judged and shown: of which kind it is, and what it looks like without its values.

use super::backend::Dialect;
use super::lexer::{HiddenCode, Token, tokens};

/// The longest statement, in bytes.
const TEXT_BYTES_MAX: usize = 256 << 10;

/// What of a statement, and of a name in it, is shown, in bytes.
const SHAPE_BYTES_MAX: usize = 512;
const NAME_BYTES_MAX: usize = 64;

/// What begins a statement that reads.
const READS: [&str; 5] = ["EXPLAIN", "SELECT", "TABLE", "VALUES", "WITH"];

/// What begins a statement that changes something, beside those of the list above that can.
const CHANGES: [&str; 9] = ["ALTER", "CREATE", "DELETE", "DROP", "INSERT", "MERGE", "REPLACE", "TRUNCATE", "UPDATE"];

/// What begins a statement that MySQL makes final at once, with everything before it.
const COMMITS: [&str; 4] = ["ALTER", "CREATE", "DROP", "TRUNCATE"];

/// What MySQL writes into files of its machine, also in a transaction that only reads.
const FILES: [&str; 2] = ["OUTFILE", "DUMPFILE"];

/// One statement.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) text: String,
    /// The word that it begins with, in capital letters.
    pub(super) verb: String,
    /// What it is about, as far as it can be told.
    object: Option<String>,
    /// What it looks like without its values, and the hash of all that.
    pub(super) shape: String,
    digest: String,
    words: Vec<String>,
}

/// Why a text is no statement that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    Empty,
    TooLong,
    /// There is another one behind it.
    Stacked,
    /// It has a part that only some servers see.
    HiddenCode,
}

/// What a statement is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It reads, and may change something only where the database allows it.
    Reads,
    /// It changes something.
    Changes,
    /// It is about the session, the transaction, or the server.
    Never,
}

impl Statement {
    pub(super) fn read(text: &str, dialect: Dialect) -> Result<Self, Unfit> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Unfit::TooLong);
        }
        let mut tokens = tokens(text, dialect).map_err(|HiddenCode| Unfit::HiddenCode)?;
        while tokens.last() == Some(&Token::Sign(';')) {
            tokens.pop();
        }
        // What stands behind a NUL byte some would read, and some not.
        if tokens.contains(&Token::Sign(';')) || text.contains('\0') {
            return Err(Unfit::Stacked);
        }
        let words = tokens.iter().filter_map(|token| match token {
            Token::Word(word) => Some(word.to_ascii_uppercase()),
            _ => None,
        });
        let words: Vec<String> = words.collect();
        let starts = tokens.iter().find(|token| **token != Token::Sign('('));
        let verb = match starts {
            Some(Token::Word(word)) => word.to_ascii_uppercase(),
            Some(_) => String::new(),
            None => return Err(Unfit::Empty),
        };
        let shape = shape(&tokens);
        let digest = blake3::hash(shape.as_bytes()).to_hex().get(..16).unwrap_or_default().to_owned();
        Ok(Statement { text: text.to_owned(), object: object(&verb, &tokens), verb, shape, digest, words })
    }

    /// The beginning of a transaction, for a reader.
    pub(super) fn begin() -> Self {
        Statement::of_host("BEGIN")
    }

    /// Its end.
    pub(super) fn commit() -> Self {
        Statement::of_host("COMMIT")
    }

    fn of_host(verb: &str) -> Self {
        let (text, verb, shape) = (verb.to_owned(), verb.to_owned(), verb.to_owned());
        Statement { text, verb, object: None, shape, digest: String::new(), words: Vec::new() }
    }

    pub(super) fn kind(&self, dialect: Dialect) -> Kind {
        match self.verb.as_str() {
            _ if dialect == Dialect::Mysql && FILES.iter().any(|word| self.has(word)) => Kind::Never,
            verb if READS.contains(&verb) => Kind::Reads,
            verb if CHANGES.contains(&verb) => Kind::Changes,
            _ => Kind::Never,
        }
    }

    /// Whether a word stands in it, outside of literals and comments.
    pub(super) fn has(&self, word: &str) -> bool {
        self.words.iter().any(|other| other == word)
    }

    /// Whether the database makes it final at once, with everything before it.
    pub(super) fn commits(&self, dialect: Dialect) -> bool {
        dialect == Dialect::Mysql && COMMITS.contains(&self.verb.as_str())
    }

    /// What it does and to what, in a few words.
    pub(super) fn brief(&self) -> String {
        let verb = if self.verb.is_empty() { "?" } else { &self.verb };
        let mut brief = match &self.object {
            Some(object) => format!("{verb} {object}"),
            None => verb.to_owned(),
        };
        brief.truncate(brief.floor_char_boundary(2 * NAME_BYTES_MAX));
        brief.replace(char::is_control, "\u{fffd}")
    }

    /// All of it, without its values, and by what it can be told from others.
    pub(super) fn fingerprint(&self) -> String {
        let shown = self.shape.get(..self.shape.floor_char_boundary(SHAPE_BYTES_MAX)).unwrap_or_default();
        let cut = if shown.len() < self.shape.len() { "…" } else { "" };
        format!("{}{cut} [{}]", shown.replace(char::is_control, "\u{fffd}"), self.digest)
    }
}

/// The statement in one line, with `?` for each value; several in a row are one.
fn shape(tokens: &[Token]) -> String {
    let mut shape = String::new();
    let mut tokens = tokens.iter().peekable();
    while let Some(token) = tokens.next() {
        let glued = matches!(token, Token::Sign(',' | ')' | '.' | ';')) || shape.ends_with(['(', '.']);
        if !shape.is_empty() && !glued {
            shape.push(' ');
        }
        match token {
            Token::Word(word) => shape.push_str(word),
            Token::Name(name) => shape.push_str(name),
            Token::Sign(sign) => shape.push(*sign),
            Token::Value => {
                shape.push('?');
                let mut ahead = tokens.clone();
                while ahead.next() == Some(&Token::Sign(',')) && ahead.next() == Some(&Token::Value) {
                    tokens = ahead.clone();
                }
            }
        }
    }
    shape
}

/// The name of what a statement is about.
fn object(verb: &str, tokens: &[Token]) -> Option<String> {
    let before: &[&str] = match verb {
        "INSERT" | "REPLACE" | "MERGE" => &["INTO"],
        "UPDATE" => &["UPDATE"],
        "ALTER" | "CREATE" | "DROP" | "TRUNCATE" => &["TABLE", "INDEX", "VIEW", "TRIGGER", "TRUNCATE"],
        _ => &["FROM"],
    };
    let is = |token: &Token, words: &[&str]| match token {
        Token::Word(word) => words.iter().any(|other| word.eq_ignore_ascii_case(other)),
        _ => false,
    };
    let at = tokens.iter().position(|token| is(token, before))?;
    let mut rest = tokens.get(at + 1..)?.iter();
    let between = ["IF", "NOT", "EXISTS", "ONLY", "OR", "IGNORE", "ROLLBACK", "ABORT", "FAIL", "REPLACE", "TABLE"];
    let mut name = match rest.find(|token| !is(token, &between))? {
        Token::Word(name) | Token::Name(name) => name.clone(),
        _ => return None,
    };
    // A name with the schema before it.
    while let (Some(Token::Sign('.')), Some(Token::Word(more) | Token::Name(more))) = (rest.next(), rest.next()) {
        name = format!("{name}.{more}");
    }
    name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
    Some(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use Dialect::{Mysql, Postgres, Sqlite};

    fn read(text: &str, dialect: Dialect) -> Result<Statement, Unfit> {
        Statement::read(text, dialect)
    }

    #[test]
    fn a_fingerprint_has_no_value_in_it() {
        let shown = |text: &str, dialect| read(text, dialect).unwrap().shape;
        for (text, dialect) in [
            ("select a from t where b = 'hunter2' and c = 12.5e-3", Sqlite),
            ("select a from t where b = 'it''s hunter2' and c = ?1", Sqlite),
            ("select a -- hunter2\nfrom t /* hunter2 */ where b = $name and c = x'00'", Sqlite),
            ("select a from t where b = E'it\\'s hunter2' and c = $1", Postgres),
            ("select a from t where b = $x$hunter2'$x$ and c = $$;$$", Postgres),
            ("select a from t /* a /* b */ hunter2 */ where b = U&'x' and c = 1", Postgres),
            ("select a from t where b = \"hunter2\" and c = 'a\\'hunter2'", Mysql),
            ("select a from t # hunter2\nwhere b = _utf8'hunter2' and c = 7", Mysql),
        ] {
            assert_eq!(shown(text, dialect), "select a from t where b = ? and c = ?", "{text}");
        }
        assert_eq!(
            shown("insert into t (a, b) values (1, 'x'), (?, ?)", Sqlite),
            "insert into t (a, b) values (?), (?)"
        );
        assert_eq!(shown("select \"a\".[b], `c` from d", Sqlite), "select a.b, c from d");
    }

    #[test]
    fn equal_statements_with_other_values_have_one_fingerprint_and_others_have_another() {
        let digest = |text: &str| read(text, Sqlite).unwrap().digest;
        assert_eq!(digest("select 1 from t where a in (1, 2)"), digest("select  2\nfrom t where a in (3,4,5)"));
        assert_ne!(digest("select a from t"), digest("select a from u"));
    }

    #[test]
    fn a_second_statement_is_seen_wherever_it_hides() {
        let stacked = |text: &str, dialect| read(text, dialect).unwrap_err();
        for dialect in [Sqlite, Postgres, Mysql] {
            assert_eq!(stacked("select 1; drop table t", dialect), Unfit::Stacked);
            assert_eq!(stacked("select '''';delete from t", dialect), Unfit::Stacked);
            assert_eq!(stacked("select 1 /* ' */ ; select ' '", dialect), Unfit::Stacked);
            assert_eq!(stacked("select 1;\0drop table t", dialect), Unfit::Stacked);
            assert_eq!(stacked(" -- nothing\n ;", dialect), Unfit::Empty);
            assert!(read("select ';' as a; -- the end;\n;", dialect).is_ok());
        }
        assert_eq!(stacked("select '\\'; drop table t; --'", Postgres), Unfit::Stacked);
        assert_eq!(stacked("select '\\'; drop table t; --'", Sqlite), Unfit::Stacked);
        assert!(read("select '\\'; drop table t; --'", Mysql).is_ok());
        assert_eq!(stacked("select 1 --; \n; drop table t", Mysql), Unfit::Stacked);
        assert_eq!(stacked("select 5--1; drop table t", Mysql), Unfit::Stacked);
        assert!(read("select $a$ ; $a$", Postgres).is_ok());
        assert_eq!(stacked("select /*! 1; */ 2", Mysql), Unfit::HiddenCode);
        assert_eq!(stacked("select 1 /*M!100100 into outfile '/x' */", Mysql), Unfit::HiddenCode);
        assert_eq!(stacked(&"x".repeat(TEXT_BYTES_MAX + 1), Sqlite), Unfit::TooLong);
    }

    #[test]
    fn the_kind_is_that_of_the_first_word() {
        let kind = |text: &str, dialect| read(text, dialect).unwrap().kind(dialect);
        for text in
            ["select 1", " (select 1) union (select 2)", "/* update */ with a as (select 1) select 1", "values (1)"]
        {
            assert_eq!(kind(text, Postgres), Kind::Reads, "{text}");
        }
        for text in ["update t set a = 1", "Insert into t values (1)", "drop table t", "replace into t values (1)"] {
            assert_eq!(kind(text, Sqlite), Kind::Changes, "{text}");
        }
        for text in [
            "set x = 1",
            "begin",
            "commit",
            "pragma x",
            "attach 'x' as y",
            "vacuum",
            "copy t to stdout",
            "do $$ $$",
            "'x'",
        ] {
            assert_eq!(kind(text, Postgres), Kind::Never, "{text}");
        }
        assert_eq!(kind("select 1 into outfile '/tmp/x'", Mysql), Kind::Never);
        assert_eq!(kind("select 'outfile'", Mysql), Kind::Reads);
    }

    #[test]
    fn a_reader_sees_what_is_done_to_what() {
        let brief = |text: &str| read(text, Postgres).unwrap().brief();
        assert_eq!(brief("update only shop.stock set a = 1"), "UPDATE shop.stock");
        assert_eq!(brief("insert into orders values (1)"), "INSERT orders");
        assert_eq!(brief("create table if not exists \"a b\" (c int)"), "CREATE a b");
        assert_eq!(brief("delete from t"), "DELETE t");
        assert_eq!(brief("select 1"), "SELECT");
    }
}
