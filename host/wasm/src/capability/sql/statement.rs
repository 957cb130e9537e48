//! A statement as it is judged and shown: of which kind it is, and what it looks like without its values.

use std::collections::BTreeSet;

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

/// What may be altered, created and dropped: tables, and what belongs to them. A role, a function or an event reaches further than the
/// statement, or lasts longer.
const KINDS: [&str; 5] = ["INDEX", "SEQUENCE", "TABLE", "TYPE", "VIEW"];

/// What may stand before that.
const ADJECTIVES: [&str; 15] = [
    "CONCURRENTLY",
    "FULLTEXT",
    "GLOBAL",
    "IF",
    "LOCAL",
    "MATERIALIZED",
    "OR",
    "RECURSIVE",
    "REPLACE",
    "SPATIAL",
    "TEMP",
    "TEMPORARY",
    "UNIQUE",
    "UNLOGGED",
    "VIRTUAL",
];

/// Functions of PostgreSQL that act on other sessions, on the server, or on what outlasts the transaction.
const ACTS: [&str; 9] = [
    "PG_CANCEL_BACKEND",
    "PG_TERMINATE_BACKEND",
    "PG_RELOAD_CONF",
    "PG_ROTATE_LOGFILE",
    "PG_NOTIFY",
    "SET_CONFIG",
    "LO_IMPORT",
    "LO_EXPORT",
    "PG_LOGICAL_EMIT_MESSAGE",
];

/// The most different names in one statement: rules are tried on each.
const NAMES_MAX: usize = 1_000;

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
    /// Its words in capital letters, and names in quotes as they are.
    words: Vec<String>,
    names: BTreeSet<String>,
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
    /// A name in it is written in a way that hides it.
    OddName,
    /// It has too many names.
    TooManyNames,
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
        let names = tokens.iter().filter_map(|token| match token {
            Token::Word(name) | Token::Name(name) => Some(name),
            Token::Value | Token::Sign(_) => None,
        });
        // As they are written, and as most databases take them.
        let names: BTreeSet<String> = names.flat_map(|name| [name.clone(), name.to_ascii_lowercase()]).collect();
        if names.len() > NAMES_MAX {
            return Err(Unfit::TooManyNames);
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
        if (READS.contains(&verb.as_str()) || CHANGES.contains(&verb.as_str())) && hides_a_name(&tokens, dialect) {
            return Err(Unfit::OddName);
        }
        let shape = shape(&tokens);
        let digest = blake3::hash(shape.as_bytes()).to_hex().get(..16).unwrap_or_default().to_owned();
        Ok(Statement { text: text.to_owned(), object: object(&verb, &tokens), verb, shape, digest, words, names })
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
        Statement { text, verb, object: None, shape, digest: String::new(), words: Vec::new(), names: BTreeSet::new() }
    }

    pub(super) fn kind(&self, dialect: Dialect) -> Kind {
        match self.verb.as_str() {
            _ if dialect == Dialect::Mysql && FILES.iter().any(|word| self.has(word)) => Kind::Never,
            _ if dialect == Dialect::Postgres && ACTS.iter().any(|word| self.names_itself(word)) => Kind::Never,
            "ALTER" | "CREATE" | "DROP" if !self.is_about_tables(dialect) => Kind::Never,
            verb if READS.contains(&verb) => Kind::Reads,
            verb if CHANGES.contains(&verb) => Kind::Changes,
            _ => Kind::Never,
        }
    }

    /// Whether a word stands in it, outside of literals and comments.
    pub(super) fn has(&self, word: &str) -> bool {
        self.words.iter().any(|other| other == word)
    }

    /// Whether something is named so in it.
    fn names_itself(&self, name: &str) -> bool {
        self.names.contains(&name.to_ascii_lowercase())
    }

    /// Whether what is altered, created or dropped is a table, or belongs to one.
    fn is_about_tables(&self, dialect: Dialect) -> bool {
        let what = self.words.iter().skip(1).find(|word| !ADJECTIVES.contains(&word.as_str()));
        let is_one = |word: &String| KINDS.contains(&word.as_str()) || dialect == Dialect::Sqlite && word == "TRIGGER";
        what.is_some_and(is_one)
    }

    /// Every way in which a rule may speak of it: each verb that stands in it, with each name, so that neither letters nor a clause in
    /// front of them make another statement of it.
    pub(super) fn spoken_of(&self) -> impl Iterator<Item = String> {
        let verbs = CHANGES.into_iter().filter(|verb| *verb != self.verb && self.has(verb));
        let verbs: Vec<&str> = std::iter::once(self.verb.as_str()).chain(verbs).collect();
        self.names.iter().flat_map(move |name| verbs.clone().into_iter().map(move |verb| format!("{verb} {name}")))
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

/// Whether a name is written as a text, or with the numbers of its letters, so that it does not look like one.
fn hides_a_name(tokens: &[Token], dialect: Dialect) -> bool {
    let is_word = |token: Option<&Token>, words: &[&str]| match token {
        Some(Token::Word(word)) => words.iter().any(|other| word.eq_ignore_ascii_case(other)),
        _ => false,
    };
    let at = |at: usize| tokens.get(at);
    (0..tokens.len()).any(|here| match (dialect, at(here)) {
        (Dialect::Postgres, Some(Token::Name(_))) if here >= 2 => {
            at(here - 1) == Some(&Token::Sign('&')) && is_word(at(here - 2), &["U"])
        }
        (Dialect::Sqlite, Some(Token::Value)) if here >= 1 => {
            let before = at(here - 1);
            let begins =
                ["UPDATE", "INTO", "TABLE", "JOIN", "IGNORE", "REPLACE", "ROLLBACK", "ABORT", "FAIL", "EXISTS"];
            let from = is_word(before, &["FROM"]) && !(here >= 2 && is_word(at(here - 2), &["DISTINCT"]));
            is_word(before, &begins)
                || from
                || before == Some(&Token::Sign('.'))
                || at(here + 1) == Some(&Token::Sign('.'))
        }
        _ => false,
    })
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
        assert_eq!(stacked("select /*+ MAX_EXECUTION_TIME(0) */ 2", Mysql), Unfit::HiddenCode);
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
    fn only_tables_and_what_belongs_to_them_are_altered_created_and_dropped() {
        let kind = |text: &str, dialect| read(text, dialect).unwrap().kind(dialect);
        for text in [
            "alter table t add c int",
            "create unique index i on t (a)",
            "create temp table t (a int)",
            "create or replace view v as select 1",
            "create table if not exists t (a int)",
            "drop index concurrently i",
            "drop materialized view v",
            "create sequence s",
        ] {
            assert_eq!(kind(text, Postgres), Kind::Changes, "{text}");
        }
        assert_eq!(kind("create trigger g after insert on t begin select 1 end", Sqlite), Kind::Changes);
        for (text, dialect) in [
            ("alter role current_user password 'x'", Postgres),
            ("alter role current_user set search_path = evil", Postgres),
            ("alter system set x = 1", Postgres),
            ("alter database d set x = 1", Postgres),
            ("create function f() returns int language sql as 'select 1'", Postgres),
            ("create or replace procedure p() language sql as ''", Postgres),
            ("create trigger g after insert on t execute function f()", Postgres),
            ("create extension x", Postgres),
            ("create event trigger e on ddl_command_end execute function f()", Postgres),
            ("drop owned by current_user", Postgres),
            ("alter default privileges grant all on tables to public", Postgres),
            ("alter user user() identified by 'x'", Mysql),
            ("create event e on schedule every 1 second do delete from t", Mysql),
            ("create definer = root view v as select 1", Mysql),
            ("drop database d", Mysql),
            ("select pg_terminate_backend(1)", Postgres),
            ("select \"pg_cancel_backend\"(pid) from pg_stat_activity", Postgres),
            ("with a as (select set_config('statement_timeout', '0', true)) select 1 from a", Postgres),
        ] {
            assert_eq!(kind(text, dialect), Kind::Never, "{text}");
        }
    }

    #[test]
    fn a_statement_is_spoken_of_by_every_verb_and_name_in_it_however_they_are_written() {
        for (text, dialect) in [
            ("update stock set n = 1", Sqlite),
            ("update main.stock set n = 1", Sqlite),
            ("update STOCK set n = 1", Sqlite),
            ("update \"Stock\" set n = 1", Postgres),
            ("update [stock] set n = 1", Sqlite),
            ("with x as (select 1) update stock set n = 1", Postgres),
            ("with x as (update stock set n = 1 returning n) select n from x", Postgres),
            ("insert into a values (1) on conflict do update stock", Sqlite),
            ("update a join stock on true set n = 1", Mysql),
            ("update low_priority ignore `stock` set n = 1", Mysql),
        ] {
            let spoken: Vec<String> = read(text, dialect).unwrap().spoken_of().collect();
            assert!(spoken.contains(&"UPDATE stock".to_owned()), "{text}: {spoken:?}");
        }
        for (text, dialect) in [
            ("update 'stock' set n = 1", Sqlite),
            ("update or ignore 'stock' set n = 1", Sqlite),
            ("delete from main.'stock'", Sqlite),
            ("insert into 'stock' values (1)", Sqlite),
            ("update U&\"\\0073tock\" set n = 1", Postgres),
        ] {
            assert_eq!(read(text, dialect).unwrap_err(), Unfit::OddName, "{text}");
        }
        assert!(read("select 1 where 'a' is distinct from 'b' and 1.5 > 'c'", Sqlite).is_ok());
        let many = (0..NAMES_MAX).map(|n| format!("c{n}")).collect::<Vec<_>>().join(", ");
        assert_eq!(read(&format!("select {many} from t"), Sqlite).unwrap_err(), Unfit::TooManyNames);
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
