//! A service that is asked over HTTP. It gets the question, signed, and answers at once or later.
//!
//! A `200` carries the answer. A `202` says that it comes later, to the callback that stands in the question, with the token
//! that stands there; a question for whose answer nobody can listen has none. Either way the answer names the question and its
//! hash, and is signed with the same secret: whoever can only see or change what travels cannot allow anything. Anything else
//! means that the next one is asked.

use std::io::Read as _;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::{Client, Response, StatusCode, Url};
use serde::{Deserialize, Serialize};
use serde_json::json;
use toolpost_core::check::approve::{Answer, Approver, Pass, Question};

use super::callback::Callback;
use super::seal::{SIGNATURE, Seal};
use crate::settings::{SecretSource, Settings, WebhookSettings};

/// How long one request may take.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// The longest answer, in bytes: arguments that were edited may be in it.
pub(super) const ANSWER_BYTES_MAX: usize = 2 << 20;

/// The longest secret, in bytes.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// What this approver calls itself.
const NAME: &str = "web hook";

/// An answer that travels: it says which question it is for, and what it was bound to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sealed {
    /// The question's id.
    pub question: String,
    /// The question's hash.
    pub hash: String,
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer,
}

/// The service of the settings.
#[derive(Debug)]
pub struct Webhook {
    url: Url,
    seal: Seal,
    client: Client,
    callback: Option<Callback>,
}

impl Webhook {
    /// The service that the settings name.
    ///
    /// # Errors
    /// The secret cannot be had.
    pub fn new(settings: &Settings, said: &WebhookSettings) -> Result<Self, String> {
        let seal = Seal::new(&secret(settings, &said.secret)?)?;
        // Somebody else in this program may have chosen another one; that one stands.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(REQUEST_TIME_MAX).redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(|error| error.to_string())?;
        let callback = said.listen.map(|address| Callback::new(address, said.callback.clone(), seal.clone()));
        Ok(Webhook { url: said.url.clone(), seal, client, callback })
    }

    /// Whether it is the same service, with the same secret and the same place for answers.
    pub(super) fn is(&self, other: &Webhook) -> bool {
        self.url == other.url && self.seal == other.seal && self.callback == other.callback
    }

    async fn post(&self, question: &Question) -> Result<Answer, String> {
        let mut body = json!({"question": question, "shown": question.shown().lines});
        let later = match &self.callback {
            Some(callback) => callback.expect(question).await,
            None => Err("`approval.webhook.listen` is not set".into()),
        };
        // An answer at once needs no place to come to.
        if let (Err(why), true) = (&later, self.callback.is_some()) {
            tracing::warn!(question = question.id, why, "the web hook is asked without a callback");
        }
        if let (Ok(later), Some(body)) = (&later, body.as_object_mut()) {
            body.insert("callback".into(), json!({"url": later.url.as_str(), "token": later.token}));
        }
        let body = serde_json::to_vec(&body).map_err(|error| error.to_string())?;
        let request = self.client.post(self.url.clone()).header("content-type", "application/json");
        let request = request.header(SIGNATURE, self.seal.sign(&body)).body(body);
        let response = request.send().await.map_err(|error| error.without_url().to_string())?;
        match (response.status(), later) {
            (StatusCode::OK, _) => self.read(response, question).await,
            (StatusCode::ACCEPTED, Ok(later)) => later.answer().await,
            (StatusCode::ACCEPTED, Err(why)) => Err(format!("it answers later, and {why}")),
            (status, _) => Err(format!("it answered with {status}")),
        }
    }

    async fn read(&self, mut response: Response, question: &Question) -> Result<Answer, String> {
        let signature = response.headers().get(SIGNATURE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| error.without_url().to_string())? {
            if body.len() + part.len() > ANSWER_BYTES_MAX {
                return Err("its answer is too long".into());
            }
            body.extend_from_slice(&part);
        }
        let signature = signature.ok_or("its answer is not signed")?;
        opened(&self.seal, &signature, &body, question)
    }
}

impl Approver for Webhook {
    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Answer, Pass>> {
        async move { self.post(question).await.map_err(|why| Pass::new(NAME, why)) }.boxed()
    }
}

/// The answer in a body, if it is signed, and for this question.
pub(super) fn opened(seal: &Seal, signature: &str, body: &[u8], question: &Question) -> Result<Answer, String> {
    seal.verify(signature, body)?;
    let sealed: Sealed = serde_json::from_slice(body).map_err(|error| format!("the answer is none: {error}"))?;
    if sealed.question != question.id || sealed.hash != question.hash {
        return Err("the answer is to another question".into());
    }
    let by = if sealed.answer.by.is_empty() { NAME.to_owned() } else { format!("{NAME}: {}", sealed.answer.by) };
    Ok(Answer { by, ..sealed.answer })
}

fn secret(settings: &Settings, source: &SecretSource) -> Result<Vec<u8>, String> {
    match source {
        SecretSource::Env(name) => std::env::var(name)
            .map(String::into_bytes)
            .map_err(|_| format!("its secret is not in the environment variable `{name}`")),
        SecretSource::File(path) => {
            let path = settings.resolve(path);
            let mut secret = Vec::new();
            let read = std::fs::File::open(&path).and_then(|file| file.take(SECRET_BYTES_MAX).read_to_end(&mut secret));
            read.map_err(|error| format!("its secret cannot be read from `{}`: {error}", path.display()))?;
            let end = secret.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |at| at + 1);
            secret.truncate(end);
            Ok(secret)
        }
    }
}
