//! What is done with a database: one statement by itself, or several in a transaction. The gate hears of each before it is sent,
//! and what became of it afterwards.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use toolpost_core::catalog::grants::SqlAccess;
use toolpost_core::effect::Passage;
use toolpost_core::run::Contact;
use toolpost_core::{Effect, EffectClass};

use super::backend::{Answer, Failure, Mode, Session, Uncommitted, Value};
use super::grant::{Share, tell};
use super::interface::Error;
use super::statement::Statement;

/// Runs one statement in a transaction of its own.
pub(super) async fn run(share: &Share, mode: Mode, text: &str, parameters: Vec<Value>) -> Result<Answer, Error> {
    if share.open.load(Ordering::Relaxed) {
        return Err(Error::Invalid("a transaction is open; use it, or end it".into()));
    }
    let statement = share.judge(mode, text, &parameters)?;
    let (class, access) = match mode {
        Mode::Query => (EffectClass::Reads, SqlAccess::Read),
        Mode::Execute => (EffectClass::Writes, SqlAccess::Write),
    };
    let asked = share.ask(share.intent(class, mode, &statement, &parameters)).await?;
    let contact = match share.contact() {
        Ok(contact) => contact,
        Err(open) => {
            let words = open.message.clone();
            share.attempt.refuse_asked(asked, open);
            return Err(Error::Unavailable(words));
        }
    };
    let mut pending = Pending::of(share.pass(asked).await?);
    let mut answer = Answer::new(share.grant.max_rows, share.grant.max_bytes.0);
    let ended = whole(share, access, mode, &statement, parameters, &mut answer, &mut pending).await;
    tell(contact, ended.as_ref().err());
    match ended {
        Ok(()) => {
            pending.settle(Passage::done);
            Ok(answer)
        }
        Err(failure) => Err(explain(share, failure, &statement, pending)),
    }
}

/// Begins, runs the statement, and ends.
async fn whole(
    share: &Share,
    access: SqlAccess,
    mode: Mode,
    statement: &Statement,
    parameters: Vec<Value>,
    answer: &mut Answer,
    pending: &mut Pending,
) -> Result<(), Failure> {
    let mut session = share.backend.begin(&share.attempt, share.rules(access, true)).await?;
    // What the database makes final by itself may have happened as soon as it is sent.
    let commits = statement.commits(share.backend.dialect());
    pending.certain = !commits && (mode == Mode::Query || session.is_undone_by_drop());
    let ran = session.run(mode, &statement.text, parameters, answer).await;
    if let Err(failure) = ran {
        if goes_on(&failure) {
            pending.certain = session.roll_back().await;
        }
        return Err(failure);
    }
    match mode {
        Mode::Query => {
            session.roll_back().await;
            Ok(())
        }
        Mode::Execute => commit(session, pending).await,
    }
}

/// Makes it final. From here on, until the answer is there, nobody knows.
async fn commit(session: Box<dyn Session>, pending: &mut Pending) -> Result<(), Failure> {
    pending.certain = false;
    session.commit().await.map_err(|uncommitted| match uncommitted {
        Uncommitted::Undone(failure) => {
            pending.certain = true;
            failure
        }
        Uncommitted::Unknown(failure) => {
            pending.unknown = true;
            failure
        }
    })
}

/// Whether a transaction is still good for something behind a failure.
fn goes_on(failure: &Failure) -> bool {
    match failure {
        Failure::Denied(_) | Failure::Invalid(_) | Failure::Constraint(_) | Failure::Conflict(_) => true,
        Failure::Exceeded(_)
        | Failure::TooSlow
        | Failure::Unfit(_)
        | Failure::Busy
        | Failure::Unreachable(_)
        | Failure::Lost(_) => false,
    }
}

/// Tells the gate and the log how it failed, and says what the guest gets to hear.
fn explain(share: &Share, failure: Failure, statement: &Statement, pending: Pending) -> Error {
    let unknown = pending.unknown;
    let (error, kept_from) = share.failed(failure, statement);
    if let Some(why) = kept_from {
        if matches!(error, Error::Denied(_)) && pending.certain {
            pending.settle(Passage::refused);
        }
        share.attempt.keep_from(why.into_error());
    }
    if unknown {
        let name = &share.grant.database;
        return Error::UnknownOutcome(format!("the database `{name}` was lost while it made the change final"));
    }
    error
}

/// Effects whose fate is not known yet. Dropping it says that they did not happen, where that is certain.
#[derive(Default)]
struct Pending {
    passages: Vec<Passage>,
    /// Whether nothing of it has happened unless somebody says so.
    certain: bool,
    /// Whether it may have happened.
    unknown: bool,
}

impl Pending {
    fn of(passage: Passage) -> Self {
        Pending { passages: vec![passage], certain: true, unknown: false }
    }

    fn settle(mut self, fate: fn(Passage)) {
        self.passages.drain(..).for_each(fate);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.certain {
            self.passages.drain(..).for_each(Passage::failed);
        }
    }
}

/// A transaction of a guest.
#[expect(unreachable_pub, reason = "what is generated of the interface shows it on")]
pub struct Transaction {
    share: Arc<Share>,
    /// Nothing once it is over.
    session: Option<Box<dyn Session>>,
    access: SqlAccess,
    contact: Option<Contact>,
    /// Changes that count when it is committed.
    pending: Pending,
}

impl Transaction {
    pub(super) async fn begin(share: &Arc<Share>, access: SqlAccess) -> Result<Self, Error> {
        if access > share.grant.access {
            let (effect, why) = share.no_writing();
            return Err(share.refuse(effect, why));
        }
        if share.open.load(Ordering::Relaxed) {
            return Err(Error::Invalid("a transaction is open already; use it, or end it".into()));
        }
        let statement = Statement::begin();
        let contact = share.contact().map_err(|open| {
            let words = open.message.clone();
            let effect = share.begin(access.effect(), &statement);
            share.attempt.refuse(Effect { detail: Some(words.clone()), ..effect }, open);
            Error::Unavailable(words)
        })?;
        let session = match share.backend.begin(&share.attempt, share.rules(access, false)).await {
            Ok(session) => session,
            Err(failure) => {
                tell(contact, Some(&failure));
                return Err(explain(share, failure, &statement, Pending::default()));
            }
        };
        share.open.store(true, Ordering::Relaxed);
        let pending = Pending { passages: Vec::new(), certain: session.is_undone_by_drop(), unknown: false };
        Ok(Transaction { share: share.clone(), session: Some(session), access, contact, pending })
    }

    pub(super) async fn run(&mut self, mode: Mode, text: &str, parameters: Vec<Value>) -> Result<Answer, Error> {
        let share = self.share.clone();
        let statement = share.judge(mode, text, &parameters)?;
        let Some(session) = &mut self.session else { return Err(over()) };
        if mode == Mode::Execute && self.access == SqlAccess::Read {
            return Err(Error::Invalid("the transaction was begun to read".into()));
        }
        let dialect = share.backend.dialect();
        if statement.commits(dialect) {
            return Err(Error::Invalid(format!(
                "`{}` would end the transaction; run it outside of one",
                statement.verb
            )));
        }
        // Where the database does not keep a query from changing something, it may.
        let may_change = self.access == SqlAccess::Write && (mode == Mode::Execute || !session.keeps_queries());
        let class = if may_change { EffectClass::Writes } else { EffectClass::Reads };
        let asked = share.ask(share.intent(class, mode, &statement, &parameters)).await?;
        let passage = share.pass(asked).await?;
        let mut one = Pending { passages: vec![passage], certain: self.pending.certain, unknown: false };
        let mut answer = Answer::new(share.grant.max_rows, share.grant.max_bytes.0);
        match session.run(mode, &statement.text, parameters, &mut answer).await {
            Ok(()) if may_change => {
                self.pending.passages.append(&mut one.passages);
                Ok(answer)
            }
            Ok(()) => {
                one.settle(Passage::done);
                Ok(answer)
            }
            Err(failure) => {
                if !goes_on(&failure) {
                    self.session = None;
                    tell(self.contact.take(), Some(&failure));
                    std::mem::take(&mut self.pending);
                }
                Err(explain(&share, failure, &statement, one))
            }
        }
    }

    pub(super) async fn commit(mut self) -> Result<(), Error> {
        let Some(session) = self.session.take() else { return Err(over()) };
        if self.pending.passages.is_empty() {
            session.roll_back().await;
            tell(self.contact.take(), None);
            return Ok(());
        }
        let share = self.share.clone();
        let effect: Effect = share.commit(self.pending.passages.len());
        let mut pending = std::mem::take(&mut self.pending);
        let asked = share.ask(effect.into()).await?;
        pending.passages.push(share.pass(asked).await?);
        let ended = commit(session, &mut pending).await;
        tell(self.contact.take(), ended.as_ref().err());
        match ended {
            Ok(()) => {
                pending.settle(Passage::done);
                Ok(())
            }
            Err(failure) => Err(explain(&share, failure, &Statement::commit(), pending)),
        }
    }

    /// Undoes it; says whether there was something to undo.
    pub(super) fn close(&mut self) -> bool {
        let session = self.session.take();
        let was_open = session.is_some();
        // The database hears of it before the gate does.
        drop(session);
        drop((std::mem::take(&mut self.pending), self.contact.take()));
        was_open
    }

    /// Undoes it, in good order: its connection is used again.
    pub(super) async fn roll_back(mut self) {
        if let Some(session) = self.session.take() {
            self.pending.certain = session.roll_back().await;
            tell(self.contact.take(), None);
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.share.open.store(false, Ordering::Relaxed);
    }
}

fn over() -> Error {
    Error::Invalid("the transaction is over".into())
}
