//! What was asked? A call on its way: each room's door opens only for the value that the room before it made.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt as _;
use futures_util::future::{Either, OptionFuture, pending};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::batch::Turn;
use crate::catalog::{CastReport, Tool};
use crate::check::repeat::{Hash, hash, text};
use crate::deadline::Deadline;
use crate::guard::replay::Asked;
use crate::inside::Inside;
use crate::secret::Secrets;
use crate::task::InTask;
use crate::tell::{CallError, Reader, Stage, Trail};

/// A request to run a tool.
#[derive(Clone, Debug)]
pub struct Call {
    /// The id that everything about this call carries.
    pub id: CallId,
    /// The tool's name.
    pub tool: String,
    /// What it is called with.
    pub arguments: Arguments,
    /// Who calls.
    pub caller: Caller,
    /// The key under which the call's effects happen at most once, where the caller gives one.
    pub idempotency_key: Option<String>,
    /// The call inside of which this one was made.
    pub parent: Option<CallId>,
    /// The trace that the call belongs to, as the `traceparent` of W3C's Trace Context.
    pub traceparent: Option<String>,
    /// What it shares with that call, where a running tool has made it.
    pub inside: Option<Inside>,
    /// How long its caller wants it.
    pub wanted: Wanted,
    /// Its turn among the calls of its batch, where it is in one.
    pub turn: Option<Turn>,
    /// Who reads what it says while it runs, where somebody does.
    pub reader: Option<Reader>,
    /// The task that it is made for, where nobody waits for it.
    pub task: Option<InTask>,
}

/// How long a caller wants a call whose outcome is waited for in any case. Without a word: until it ends.
///
/// What is not wanted any more does not begin. A tool that only computes or reads is stopped; an attempt that may change
/// something goes on to its own end, and no other one follows it.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// No longer than until then. What runs at that moment has timed out.
    pub until: Option<Instant>,
    /// Until somebody cancels this.
    pub unless: Option<CancellationToken>,
}

impl Call {
    /// A call with a fresh id, made by nobody in particular.
    ///
    /// ```
    /// use serde_json::json;
    /// use toolpost_core::Call;
    ///
    /// let call = Call::new("text_word_count", json!({"text": "one two"}));
    /// assert_ne!(call.id, Call::new("text_word_count", json!({})).id);
    /// ```
    pub fn new(tool: impl Into<String>, arguments: impl Into<Arguments>) -> Self {
        Call {
            id: CallId::fresh(),
            tool: tool.into(),
            arguments: arguments.into(),
            caller: Caller::default(),
            idempotency_key: None,
            parent: None,
            traceparent: None,
            inside: None,
            wanted: Wanted::default(),
            turn: None,
            reader: None,
            task: None,
        }
    }

    /// Whether an earlier run of its task may have changed something.
    pub(crate) fn is_made_again(&self) -> bool {
        self.task.as_ref().is_some_and(InTask::is_made_again)
    }

    /// Says who calls.
    #[must_use]
    pub fn by(mut self, caller: Caller) -> Self {
        self.caller = caller;
        self
    }
}

impl Wanted {
    /// Whether it always is.
    pub(crate) fn is_always(&self) -> bool {
        self.until.is_none() && self.unless.is_none()
    }

    /// Whether somebody has cancelled it.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.unless.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// Waits until somebody cancels it; for ever, where nobody can. Boxed where somebody can, because few callers say so, and
    /// calls inside of one another need little room.
    pub(crate) fn cancelled(&self) -> impl Future<Output = CallError> + Unpin + '_ {
        match &self.unless {
            Some(unless) => Either::Left(Box::pin(unless.cancelled().map(|()| Trail::cancelled()))),
            None => Either::Right(pending()),
        }
    }

    /// Goes on with what has to be done before it begins, as long as it is wanted.
    pub(crate) async fn while_it_is<T>(
        &self,
        going: impl Future<Output = Result<T, CallError>> + Unpin,
    ) -> Result<T, CallError> {
        let over = self.until.map(|until| Box::pin(sleep_until(until)));
        tokio::select! {
            biased;
            error = self.cancelled() => Err(error),
            Some(()) = OptionFuture::from(over) => {
                let deadline = Deadline::of_caller(Instant::now());
                Err(deadline.passed(Stage::Check, "it did not begin", "call again later"))
            }
            done = going => done,
        }
    }
}

/// What a tool is called with: one object with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum Arguments {
    /// As text. No digit of a number gets lost, and almost-JSON is repaired where the tool's casting allows it.
    Text(String),
    /// As a value that was parsed already.
    Value(Value),
}

impl From<Value> for Arguments {
    fn from(value: Value) -> Self {
        Arguments::Value(value)
    }
}

impl From<String> for Arguments {
    fn from(text: String) -> Self {
        Arguments::Text(text)
    }
}

impl From<&str> for Arguments {
    fn from(text: &str) -> Self {
        Arguments::Text(text.to_owned())
    }
}

/// The id of a call: unique, and not a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct CallId(Arc<str>);

impl CallId {
    /// An id that no other call has.
    #[must_use]
    pub fn fresh() -> Self {
        CallId(format!("call_{:020x}", fastrand::u128(..1 << 80)).into())
    }

    /// An id that the caller has given.
    pub fn given(id: impl Into<Arc<str>>) -> Self {
        CallId(id.into())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Caller {
    /// The caller's id; empty for nobody in particular.
    pub id: String,
    /// The groups that the caller belongs to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The session that the call belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

impl Caller {
    /// A caller by id.
    pub fn named(id: impl Into<String>) -> Self {
        Caller { id: id.into(), ..Caller::default() }
    }
}

/// What a host hides its callers behind: tools can tell callers apart, and cannot learn or guess who they are.
#[derive(Clone, Copy)]
pub(crate) struct CallerKey([u64; 2]);

impl CallerKey {
    /// A key that no other host has.
    pub(crate) fn fresh() -> Self {
        // Seeded by the operating system. `fastrand` would not do: tools see its numbers in the ids of calls.
        CallerKey([0, 1].map(|half: u64| RandomState::new().hash_one(half)))
    }

    /// The caller as its tools may see it: 128 bits in hexadecimal.
    pub(crate) fn opaque(&self, caller: &Caller) -> String {
        let CallerKey([first, second]) = self;
        let key = Sha256::new().chain_update(first.to_le_bytes()).chain_update(second.to_le_bytes());
        let hash = key.chain_update(&caller.id).finalize();
        hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for CallerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallerKey(..)")
    }
}

/// A call of a known tool, with arguments that are exactly what the tool takes.
#[derive(Debug)]
pub struct AcceptedCall {
    /// The call as it was made.
    pub call: Call,
    /// The tool.
    pub tool: Arc<Tool>,
    /// The arguments in canonical form: the very value that is judged, shown and run.
    pub arguments: Value,
    /// What was done to the arguments until they fitted.
    pub cast: CastReport,
    /// The arguments with a hash in the place of each secret, where there are secrets.
    pub(crate) keyed: Option<Value>,
    /// What it asks of the ledger, once that is known.
    pub(crate) asks: OnceLock<Option<Arc<Asked>>>,
    /// The hash of the arguments for keys, once that is known.
    pub(crate) hash: OnceLock<Hash>,
}

impl AcceptedCall {
    /// What it asks of the ledger; nothing where each call of its tool stands for itself.
    ///
    /// # Errors
    /// The call has not what makes its key.
    pub(crate) fn asks(&self) -> Result<Option<&Arc<Asked>>, CallError> {
        if let Some(asks) = self.asks.get() {
            return Ok(asks.as_ref());
        }
        let asks = Asked::of(self)?.map(Arc::new);
        Ok(self.asks.get_or_init(|| asks).as_ref())
    }

    /// What its tool can reach, in words, and what of that a call with these arguments can: its own, or what may be shown of them.
    pub(crate) fn powers(&self, arguments: &Value) -> Vec<String> {
        let mut powers = self.tool.powers.clone();
        powers.extend(self.tool.grants.narrowed_to(arguments));
        powers
    }

    /// The arguments as hashes and keys are made of them: in the place of each secret stands a hash that nobody can guess who
    /// has not the host's key.
    #[must_use]
    pub fn arguments_for_keys(&self) -> &Value {
        self.keyed.as_ref().unwrap_or(&self.arguments)
    }

    /// A hash of them.
    pub(crate) fn arguments_hash(&self) -> &Hash {
        self.hash.get_or_init(|| hash(&[&text(self.arguments_for_keys())]))
    }

    pub(crate) fn with_keys_of(self, secrets: &Secrets) -> Self {
        if self.tool.secret_arguments.is_empty() {
            return self;
        }
        let key = secrets.key();
        let hash = |value: &Value| format!("keyed:{}", blake3::keyed_hash(&key, value.to_string().as_bytes())).into();
        let keyed = Some(self.tool.secret_arguments.replace(&self.arguments, hash).into_owned());
        AcceptedCall { keyed, ..self }
    }
}

/// A call that may run. Only [`crate::check`] makes one.
#[derive(Debug)]
pub struct PermittedCall(AcceptedCall);

impl PermittedCall {
    pub(crate) fn new(call: AcceptedCall) -> Self {
        PermittedCall(call)
    }
}

impl std::ops::Deref for PermittedCall {
    type Target = AcceptedCall;

    fn deref(&self) -> &AcceptedCall {
        &self.0
    }
}
