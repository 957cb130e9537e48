//! A granted database as one attempt has it: which statements are sent, how many there were, and which line of the settings
//! would allow what was refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bytesize::ByteSize;
use tokio::time::timeout;
use toolpost_core::catalog::grants::{SqlAccess, SqlGrant};
use toolpost_core::effect::{Intent, Passage};
use toolpost_core::guard::breaker::Outcome;
use toolpost_core::run::{Asked, Contact};
use toolpost_core::{Attempt, CallError, Effect, EffectClass, ErrorKind, Level, Stage};

use super::backend::{Backend, Bound, Denial, Dialect, Failure, Mode, Rules, Value};
use super::interface::Error;
use super::statement::{Kind, Statement, Unfit};
use crate::capability::name::shown;

/// What may be given to one statement: values, and bytes.
const PARAMETERS_MAX: usize = 1_000;
const PARAMETERS_BYTES_MAX: u64 = 8 << 20;

/// What of a name is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 128;

/// How long somebody may think about what is done in a transaction.
const ASKED_IN_TRANSACTION_TIME_MAX: Duration = Duration::from_secs(60);

/// A granted database, in one attempt.
pub(super) struct Share {
    pub(super) grant: SqlGrant,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) attempt: Attempt,
    /// Statements that were run.
    ran: AtomicU32,
    /// Whether a transaction is open.
    pub(super) open: AtomicBool,
}

impl Share {
    pub(super) fn new(grant: &SqlGrant, backend: &Arc<dyn Backend>, attempt: &Attempt) -> Self {
        let (grant, backend, attempt) = (grant.clone(), backend.clone(), attempt.clone());
        Share { grant, backend, attempt, ran: AtomicU32::new(0), open: AtomicBool::new(false) }
    }

    /// Judges a statement by what can be known before it is sent. The database keeps the rest from happening.
    pub(super) fn judge(&self, mode: Mode, text: &str, parameters: &[Value]) -> Result<Statement, Error> {
        let dialect = self.backend.dialect();
        let unread = |what: &str| self.effect(class_of(mode), mode, what.to_owned(), None);
        let statement = match Statement::read(text, dialect) {
            Ok(statement) => statement,
            Err(Unfit::Empty) => return Err(Error::Invalid("there is no statement".into())),
            Err(Unfit::TooLong) => {
                return Err(self.refuse(unread("a long statement"), never("a statement of that length")));
            }
            Err(Unfit::Stacked) => {
                return Err(self.refuse(unread("several statements"), never("several statements at once")));
            }
            Err(Unfit::OddName) => {
                return Err(
                    self.refuse(unread("a statement"), never("a name that is written as a text, or by numbers"))
                );
            }
            Err(Unfit::TooManyNames) => {
                return Err(self.refuse(unread("a long statement"), never("a statement with that many names")));
            }
            Err(Unfit::HiddenCode) => {
                return Err(self.refuse(unread("a statement"), never("code in a comment, which only some servers run")));
            }
        };
        let effect = || self.effect(class_of(mode), mode, statement.brief(), Some(statement.fingerprint()));
        let is_read = self.grant.access == SqlAccess::Read;
        match (statement.kind(dialect), mode) {
            (Kind::Never, _) => {
                let what = format!("`{}`, which is about more than rows and tables", statement.verb);
                return Err(self.refuse(effect(), never(&what)));
            }
            (Kind::Changes, _) | (_, Mode::Execute) if is_read => {
                return Err(self.refuse(effect(), self.no_change(&statement)));
            }
            (Kind::Changes, Mode::Query) => {
                return Err(Error::Invalid(format!("a query only reads; `{}` is for `execute`", statement.verb)));
            }
            (_, Mode::Query) if dialect == Dialect::Mysql && statement.has("INTO") => {
                return Err(self.refuse(effect(), never("`INTO` in a query")));
            }
            _ => {}
        }
        let bytes: u64 = parameters.iter().map(Value::bytes).sum();
        if parameters.len() > PARAMETERS_MAX || bytes > PARAMETERS_BYTES_MAX {
            let many = format!("a statement takes {PARAMETERS_MAX} values of {} in all", size(PARAMETERS_BYTES_MAX));
            return Err(self.exceeded(effect(), too_much(many).with_help("no grant allows more")));
        }
        let allowed = self.grant.max_statements;
        let take = |ran: u32| ran.checked_add(1).filter(|sum| *sum <= allowed);
        if self.ran.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            let many = format!("the tool has run the {allowed} statements that its grant allows");
            return Err(self.exceeded(effect(), self.raise(many, "max_statements")));
        }
        Ok(statement)
    }

    /// What a transaction is bound to.
    pub(super) fn rules(&self, access: SqlAccess, is_single: bool) -> Rules {
        Rules {
            access,
            is_single,
            tables: self.tables(),
            bytes_max: self.grant.max_bytes.0,
            statement_time_max: self.grant.timeout.0.min(self.attempt.clock.left()),
            clock: self.attempt.clock.clone(),
        }
    }

    /// The only tables that the call may use.
    fn tables(&self) -> Option<Arc<[String]>> {
        let Some(only) = &self.grant.only else { return self.grant.tables.as_deref().map(Arc::from) };
        let is_granted = |table: &&str| {
            let granted = self.grant.tables.as_ref();
            granted.is_none_or(|granted| granted.iter().any(|granted| granted.eq_ignore_ascii_case(table)))
        };
        Some(only.values(&self.attempt.call.arguments).filter(is_granted).map(str::to_owned).collect())
    }

    /// Asks whether the server is well enough.
    pub(super) fn contact(&self) -> Result<Option<Contact>, CallError> {
        if !self.backend.is_remote() {
            return Ok(None);
        }
        self.attempt.contact(&format!("sql:{}", self.grant.database)).map(Some)
    }

    /// Whether a statement may be run; nothing is held yet.
    pub(super) async fn ask(&self, intent: Intent) -> Result<Asked, Error> {
        let asking = self.attempt.ask(intent);
        if !self.open.load(Ordering::Relaxed) {
            return asking.await.map_err(|refusal| Error::Denied(refusal.message));
        }
        // The rows that a transaction has changed are closed to everybody else meanwhile.
        let asked = timeout(ASKED_IN_TRANSACTION_TIME_MAX, asking).await;
        let late = |_| {
            self.attempt.keep_from(too_late());
            Err(too_late())
        };
        asked.unwrap_or_else(late).map_err(|refusal| Error::Denied(refusal.message))
    }

    /// Asks the gate for leave.
    pub(super) async fn pass(&self, asked: Asked) -> Result<Passage, Error> {
        self.attempt.pass_asked(asked).await.map_err(|refusal| Error::Denied(refusal.message))
    }

    /// A statement as it is judged: by its first words and by the whole, and with its values.
    pub(super) fn intent(&self, class: EffectClass, mode: Mode, statement: &Statement, parameters: &[Value]) -> Intent {
        let effect = self.effect(class, mode, statement.brief(), Some(statement.fingerprint()));
        let whole = format!("{}: {}", self.grant.database, statement.shape);
        let mut content = blake3::Hasher::new();
        content.update(statement.text.as_bytes());
        for value in parameters {
            // As it is written for us, with its type and between its marks.
            content.update(format!(" {value:?}").as_bytes());
        }
        let names = [effect.target.clone(), whole];
        let spoken_of = statement.spoken_of().map(|words| format!("{}: {words}", self.grant.database));
        Intent::from(effect).on(names).alias(spoken_of).made_of([content.finalize().as_bytes().as_slice()])
    }

    fn effect(&self, class: EffectClass, mode: Mode, what: String, detail: Option<String>) -> Effect {
        let action = match mode {
            Mode::Query => "sql.query",
            Mode::Execute => "sql.execute",
        };
        Effect { class, action: action.into(), target: format!("{}: {what}", self.grant.database), detail }
    }

    /// The beginning of a transaction, of which only the refusal is an effect.
    pub(super) fn begin(&self, class: EffectClass, statement: &Statement) -> Effect {
        self.effect(class, Mode::Query, statement.brief(), None)
    }

    /// The end of a transaction as an effect on the world.
    pub(super) fn commit(&self, changes: usize) -> Effect {
        let detail = Some(format!("{changes} statements"));
        Effect { class: EffectClass::Writes, action: "sql.commit".into(), target: self.grant.database.clone(), detail }
    }

    /// What is not granted, or what nobody is granted.
    pub(super) fn refuse(&self, effect: Effect, why: Refusal) -> Error {
        let words = why.message.clone();
        self.attempt.refuse(effect, why.into_error());
        Error::Denied(words)
    }

    fn exceeded(&self, effect: Effect, why: Refusal) -> Error {
        let words = why.message.clone();
        self.attempt.refuse(effect, why.into_error());
        Error::Exceeded(words)
    }

    /// Why something must not be changed.
    pub(super) fn no_change(&self, statement: &Statement) -> Refusal {
        let message =
            format!("the tool may only read in the database `{}`, not `{}`", self.grant.database, statement.brief());
        let help = format!("the operator can allow it with `access = \"write\"` in {}", self.place());
        denied(message).with_help(help)
    }

    /// Why no transaction that changes something begins.
    pub(super) fn no_writing(&self) -> (Effect, Refusal) {
        let effect = self.effect(EffectClass::Writes, Mode::Execute, "a transaction".into(), None);
        let message = format!("the tool may only read in the database `{}`", self.grant.database);
        let help = format!("the operator can allow it with `access = \"write\"` in {}", self.place());
        (effect, denied(message).with_help(help))
    }

    /// Tells the log and the breaker how something failed, and says what the guest gets to hear, and what is the reason
    /// where the tool was kept from it.
    pub(super) fn failed(&self, failure: Failure, statement: &Statement) -> (Error, Option<Refusal>) {
        let name = &self.grant.database;
        let log = |what: &str| self.attempt.log(Level::Warn, &format!("{name}: {}: {what}", statement.brief()));
        let error = match failure {
            Failure::Denied(denial) => {
                let why = self.denied(denial, statement);
                return (Error::Denied(why.message.clone()), Some(why));
            }
            Failure::Exceeded(bound) => {
                let why = match bound {
                    Bound::Rows => {
                        self.raise(format!("the answer has more than {} rows", self.grant.max_rows), "max_rows")
                    }
                    Bound::Bytes => {
                        self.raise(format!("the answer is longer than {}", size(self.grant.max_bytes.0)), "max_bytes")
                    }
                };
                return (Error::Exceeded(why.message.clone()), Some(why));
            }
            Failure::Unfit(what) => {
                let why = denied(format!("the database `{name}` is closed to tools: {what}"));
                let why =
                    why.with_help("give the host a role of its own there, and no more rights than tools may have");
                return (Error::Denied(why.message.clone()), Some(why));
            }
            Failure::Invalid(words) => (Error::Invalid(words), "it is not as the database would have it".into()),
            Failure::Constraint(words) => (Error::Constraint(words), "it would break a rule of the database".into()),
            Failure::Conflict(words) => (Error::Conflict(words), "somebody else was in the way".into()),
            Failure::TooSlow => {
                let time = humantime::format_duration(self.grant.timeout.0);
                let why = format!("the database `{name}` did not answer within {time}");
                (Error::Unavailable(why), "it took too long".to_owned())
            }
            Failure::Busy => {
                let why = format!("all connections to the database `{name}` are in use");
                (Error::Unavailable(why), "no connection was free".into())
            }
            Failure::Unreachable(words) | Failure::Lost(words) => {
                (Error::Unavailable(format!("the database `{name}` does not answer")), words)
            }
        };
        log(&error.1);
        (error.0, None)
    }

    fn denied(&self, denial: Denial, statement: &Statement) -> Refusal {
        match denial {
            Denial::Change => self.no_change(statement),
            Denial::Table(mut table) => {
                table.truncate(table.floor_char_boundary(SHOWN_BYTES_MAX));
                let message =
                    format!("the tool may not use the table `{table}` of the database `{}`", self.grant.database);
                denied(message).with_help(match &self.grant.only {
                    Some(only) => {
                        format!("{} has `only = \"{only}\"`: the table must be the one in the argument", self.place())
                    }
                    None => format!("the operator can add it to `tables` in {}", self.place()),
                })
            }
            Denial::Role(words) => {
                let message =
                    format!("the role of the host in the database `{}` may not do it: {words}", self.grant.database);
                denied(message).with_help("the operator can grant it to the role, in the database")
            }
            Denial::Never(what) => never(&what),
        }
    }

    fn place(&self) -> String {
        format!("the grant of the database `{}`", self.grant.database)
    }

    fn raise(&self, message: String, key: &str) -> Refusal {
        too_much(message).with_help(format!("the operator can raise `{key}` in {}", self.place()))
    }
}

/// Says to the breaker of a server what a failure says about it.
pub(super) fn tell(contact: Option<Contact>, failure: Option<&Failure>) {
    let Some(contact) = contact else { return };
    match failure {
        Some(Failure::Unreachable(_)) => contact.finish(Outcome::Failure("unreachable")),
        Some(Failure::Lost(_)) => contact.finish(Outcome::Failure("broken_off")),
        // It is we who had no connection left.
        Some(Failure::Busy) => contact.finish(Outcome::Ignored),
        _ => contact.finish(Outcome::Success),
    }
}

/// Why a tool may not use a database.
pub(super) fn unknown(attempt: &Attempt, name: &str) -> Error {
    let name = shown(name);
    let tool = &attempt.call.tool;
    let help = tool.allowing("sql", &format!("{{ database = \"{name}\" }}"), !tool.grants.sql.is_empty());
    let why = denied(format!("the tool may not use the database `{name}`")).with_help(help);
    let words = why.message.clone();
    let effect = Effect { class: EffectClass::Reads, action: "sql.open".into(), target: name, detail: None };
    attempt.refuse(effect, why.into_error());
    Error::Denied(words)
}

fn class_of(mode: Mode) -> EffectClass {
    match mode {
        Mode::Query => EffectClass::Reads,
        Mode::Execute => EffectClass::Writes,
    }
}

/// Why a tool was kept from something. The tool itself is told without the help, which is for the operator: the caller, who is
/// told what the tool says and the reason, would read it twice.
pub(super) struct Refusal {
    kind: ErrorKind,
    message: String,
    help: String,
}

impl Refusal {
    fn with_help(self, help: impl Into<String>) -> Self {
        Refusal { help: help.into(), ..self }
    }

    pub(super) fn into_error(self) -> CallError {
        CallError::new(self.kind, Stage::Run, self.message).with_help(self.help)
    }
}

fn denied(message: String) -> Refusal {
    Refusal { kind: ErrorKind::CapabilityDenied, message, help: String::new() }
}

/// What no grant allows.
fn never(what: &str) -> Refusal {
    denied(format!("a tool may not use {what}")).with_help("no grant allows it")
}

fn too_late() -> CallError {
    let time = humantime::format_duration(ASKED_IN_TRANSACTION_TIME_MAX);
    let message = format!("nobody answered within {time}, and an open transaction waits no longer");
    CallError::new(ErrorKind::ApprovalTimedOut, Stage::Run, message)
        .with_help("call again later; a statement by itself is asked about for longer")
}

fn too_much(message: String) -> Refusal {
    Refusal { kind: ErrorKind::QuotaExceeded, message, help: String::new() }
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}
