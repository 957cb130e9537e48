//! Where answers come that a service gives later: a small HTTP server that knows one path.
//!
//! `POST` with `Authorization: Bearer TOKEN`, the signature, and the answer. The token is that of one question, is good once,
//! and is gone with its question: an answer that comes too late changes nothing and is told so.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use axum::{Json, Router};
use reqwest::Url;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{OnceCell, oneshot};
use tokio::task::JoinHandle;
use toolpost_core::check::approve::{Answer, Question};

use super::seal::{SIGNATURE, Seal};
use super::webhook::{ANSWER_BYTES_MAX, Sealed, opened};

/// The one path.
const PATH: &str = "/approvals";

/// The listener. It is opened with the first question.
pub(super) struct Callback {
    address: SocketAddr,
    url: Option<Url>,
    expected: Arc<Expected>,
    listening: OnceCell<Listening>,
}

/// The questions whose answers may come.
struct Expected {
    seal: Seal,
    questions: Mutex<HashMap<String, Waiting>>,
}

struct Waiting {
    question: Question,
    token: String,
    answer: oneshot::Sender<Answer>,
}

/// The server; dropping it ends it.
struct Listening {
    address: SocketAddr,
    server: JoinHandle<std::io::Result<()>>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An answer that may come later. Dropping it makes the token worthless.
pub(super) struct Later {
    pub(super) url: Url,
    pub(super) token: String,
    id: String,
    expected: Arc<Expected>,
    answer: Option<oneshot::Receiver<Answer>>,
}

impl Drop for Later {
    fn drop(&mut self) {
        self.expected.lock().remove(&self.id);
    }
}

impl Later {
    pub(super) async fn answer(mut self) -> Result<Answer, String> {
        let answer = self.answer.take().ok_or("nothing is waited for")?;
        answer.await.map_err(|_| "the listener has ended".into())
    }
}

impl Expected {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Callback {
    pub(super) fn new(address: SocketAddr, url: Option<Url>, seal: Seal) -> Self {
        let expected = Arc::new(Expected { seal, questions: Mutex::default() });
        Callback { address, url, expected, listening: OnceCell::new() }
    }

    /// Makes a token for the answer to a question.
    pub(super) async fn expect(&self, question: &Question) -> Result<Later, String> {
        let listening = self.listening.get_or_try_init(|| self.listen()).await?;
        let url = match &self.url {
            Some(url) => url.clone(),
            None => Url::parse(&format!("http://{}{PATH}", listening.address)).map_err(|error| error.to_string())?,
        };
        let (sender, receiver) = oneshot::channel();
        let (id, token) = (question.id.clone(), token()?);
        let waiting = Waiting { question: question.clone(), token: token.clone(), answer: sender };
        self.expected.lock().insert(id.clone(), waiting);
        Ok(Later { url, token, id, expected: self.expected.clone(), answer: Some(receiver) })
    }

    async fn listen(&self) -> Result<Listening, String> {
        let cannot = |error: std::io::Error| format!("`{}` cannot be listened to: {error}", self.address);
        let listener = TcpListener::bind(self.address).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let listener = listener.tap_io(|connection| {
            let _ = connection.set_nodelay(true);
        });
        let router = Router::new().route(PATH, post(take)).layer(DefaultBodyLimit::max(ANSWER_BYTES_MAX));
        let router = router.with_state(self.expected.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Listening { address, server })
    }
}

impl PartialEq for Callback {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address && self.url == other.url
    }
}

impl std::fmt::Debug for Callback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callback").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Takes an answer.
async fn take(State(expected): State<Arc<Expected>>, headers: HeaderMap, body: Bytes) -> (StatusCode, Json<Value>) {
    match settle(&expected, &headers, &body) {
        Ok(()) => (StatusCode::OK, Json(json!({"ok": true}))),
        Err((status, error)) => (status, Json(json!({"ok": false, "error": error}))),
    }
}

fn settle(expected: &Expected, headers: &HeaderMap, body: &[u8]) -> Result<(), (StatusCode, String)> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let refused = |why: &str| (StatusCode::UNAUTHORIZED, why.to_owned());
    // Whoever cannot sign learns nothing, not even which questions there are.
    expected.seal.verify(header(SIGNATURE), body).map_err(refused)?;
    let sealed: Sealed = serde_json::from_slice(body)
        .map_err(|error| (StatusCode::BAD_REQUEST, format!("the answer is none: {error}")))?;
    let mut questions = expected.lock();
    let gone = || (StatusCode::GONE, format!("the question `{}` is not pending; nothing was changed", sealed.question));
    let waiting = questions.get(&sealed.question).ok_or_else(gone)?;
    let token = header(header::AUTHORIZATION.as_str()).strip_prefix("Bearer ").unwrap_or_default();
    if !equal(token.as_bytes(), waiting.token.as_bytes()) {
        return Err(refused("the token is not that of this question"));
    }
    let answer = opened(&expected.seal, header(SIGNATURE), body, &waiting.question);
    let answer = answer.map_err(|why| (StatusCode::CONFLICT, why))?;
    let waiting = questions.remove(&sealed.question).ok_or_else(gone)?;
    waiting.answer.send(answer).map_err(|_| gone())
}

/// Whether two texts are equal, in a time that depends on their length alone.
fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

/// 256 bits that nobody can guess.
fn token() -> Result<String, String> {
    let mut bytes = [0; 32];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| "the system has no random numbers")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
