//! One request, from leave to answer: it passes the server's breaker and the gate before anything of it can be noticed, and
//! both are told what became of it.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use toolpost_core::catalog::grants::NetGrant;
use toolpost_core::effect::{Intent, Passage};
use toolpost_core::{Attempt, CallError, Effect, ErrorKind, Level, Stage};
use url::Url;
use wasmtime_wasi_http::{Error, WasiBody};

use super::body::{AHEAD_BYTES_MAX, Bound, Draft, ResponseBody, SIGNED_BYTES_MAX, Ungathered};
use super::client::{Client, Errand, Failure};
use super::grant;
use super::health::Watch;
use super::inject::{Filled, Veil};
use super::pool::Lease;
use super::sign;

/// A request that a grant covers.
pub(super) struct Exchange {
    pub(super) attempt: Attempt,
    pub(super) client: Arc<Client>,
    pub(super) errand: Errand,
    pub(super) url: Url,
    pub(super) effect: Effect,
    /// What is not told of it, as far as the tool has said it before its body.
    pub(super) content: blake3::Hasher,
    pub(super) head: http::request::Parts,
    pub(super) draft: Draft,
    /// The length of the body, where the guest has said it.
    pub(super) declared: Option<u64>,
    pub(super) grant: NetGrant,
    pub(super) silence_max: Duration,
    pub(super) place: OwnedSemaphorePermit,
    /// For bodies that are signed.
    pub(super) room: Arc<Semaphore>,
}

impl Exchange {
    pub(super) async fn answer(mut self) -> Result<Response<WasiBody>, Error> {
        if self.declared.is_some_and(|bytes| bytes <= AHEAD_BYTES_MAX) {
            poll_fn(|task| self.draft.poll_ahead(task)).await?;
        }
        if let Err(ungathered) = self.gather().await {
            return Err(self.ungathered(ungathered));
        }
        let bound = self.bound("the request", self.grant.max_request.0, "max_request");
        let length = self.draft.bytes().max(self.declared.unwrap_or(0));
        self.effect.detail = self.draft.describe(self.declared);
        if !bound.fits(length) {
            self.attempt.refuse(self.effect, bound.exceeded());
            return Err(Error::HttpRequestBodySize(Some(bound.bytes_max)));
        }
        // Before anything is held that others wait for.
        let asked = match self.attempt.ask(self.intent()).await {
            Ok(asked) => asked,
            Err(_) => return Err(Error::HttpRequestDenied),
        };
        // In front of the gate: what the breaker refuses must not be on record as something that may have happened.
        let contact = match self.attempt.contact(&self.errand.peer.authority()) {
            Ok(contact) => contact,
            Err(open) => {
                self.attempt.refuse_asked(asked, open);
                return Err(Error::DestinationUnavailable);
            }
        };
        let watch = Watch::new(contact, &self.errand);
        if let Err(why) = self.inject().await {
            self.attempt.refuse(self.effect, why);
            return Err(Error::InternalError(None));
        }
        let passage = self.attempt.pass_asked(asked).await.map_err(|_| Error::HttpRequestDenied)?;
        let answered = self.bound("the answer", self.grant.max_response.0, "max_response");
        let veil = Veil::over(&self.attempt);
        let Exchange { attempt, client, errand, effect, head, draft, silence_max, place, .. } = self;
        let body = draft.send(bound, errand.life.clone(), errand.upload.clone());
        match client.send(&errand, Request::from_parts(head, body)).await {
            Ok((response, lease)) => {
                passage.done();
                whole(response, lease, watch, veil, answered, silence_max, place)
            }
            Err(failure) => {
                watch.failed(&failure);
                Err(failed(failure, passage, &attempt, &errand, &effect))
            }
        }
    }

    /// The request as it is judged.
    fn intent(&self) -> Intent {
        let intent = Intent::from(self.effect.clone()).on(grant::names(&self.url));
        let mut content = self.content.clone();
        match self.draft.hash(&mut content) {
            true => intent.made_of([content.finalize().as_bytes().as_slice()]),
            false => intent.open_ended(),
        }
    }

    /// Puts in what the tool must not see. It was allowed what it asked for by here, and nobody is asked any more.
    async fn inject(&mut self) -> Result<(), CallError> {
        if self.attempt.call.tool.grants.injected().next().is_none() {
            return Ok(());
        }
        let filled = Filled::of(&self.grant.inject, &self.attempt).await?;
        filled.put(&mut self.head.headers, &mut self.url);
        let unfit =
            || CallError::new(ErrorKind::Internal, Stage::Run, "the URL cannot be sent with what belongs in it");
        self.errand.path = Errand::path(&self.url).ok_or_else(unfit)?;
        self.errand.whole = Errand::whole(&self.url).ok_or_else(unfit)?;
        if let Some(aws) = &self.grant.inject.aws {
            // Last, as it is about all the rest.
            sign::sign(aws, &self.attempt, &mut self.head, &self.url, &self.draft.payload()).await?;
        }
        Ok(())
    }

    /// Takes in all of a body that is to be signed: so people are asked about the very body, too.
    async fn gather(&mut self) -> Result<(), Ungathered> {
        if !sign::needs_whole(self.grant.inject.aws.as_ref(), &self.url) {
            return Ok(());
        }
        if self.declared.is_some_and(|bytes| bytes > self.grant.max_request.0) {
            return Err(Ungathered::TooLong);
        }
        if self.declared.is_some_and(|bytes| bytes > SIGNED_BYTES_MAX as u64) {
            return Err(Ungathered::NoRoom);
        }
        self.draft.gather(self.grant.max_request.0, &self.room).await
    }

    fn ungathered(self, why: Ungathered) -> Error {
        let bound = self.bound("the request", self.grant.max_request.0, "max_request");
        let (why, bytes_max) = match why {
            Ungathered::Broken(error) => return error,
            Ungathered::TooLong => (bound.exceeded(), bound.bytes_max),
            Ungathered::NoRoom => (sign::no_room(self.grant.inject.aws.as_ref()), SIGNED_BYTES_MAX as u64),
        };
        self.attempt.refuse(self.effect, why);
        Error::HttpRequestBodySize(Some(bytes_max))
    }

    fn bound(&self, what: &'static str, bytes_max: u64, key: &'static str) -> Bound {
        Bound::new(&self.attempt, what, bytes_max, key, self.grant.to.to_string())
    }
}

/// Tells the gate and the log why there is no answer, and says what the guest gets to hear.
fn failed(failure: Failure, passage: Passage, attempt: &Attempt, errand: &Errand, effect: &Effect) -> Error {
    let (error, why) = match failure {
        Failure::Prohibited(address, what) => {
            passage.refused();
            let host = &errand.peer.host;
            let why = CallError::new(
                ErrorKind::CapabilityDenied,
                Stage::Run,
                format!("`{host}` leads to {what}, where the tool may not go"),
            );
            attempt.keep_from(why.with_help(errand.peer.reach.help(address)));
            return Error::DestinationIpProhibited;
        }
        Failure::Unsent(error, why) => {
            passage.failed();
            (error, why)
        }
        // Whether it has arrived is not known: the passage is dropped untold.
        Failure::Cut(error, why) => (error, why),
    };
    attempt.log(Level::Warn, &format!("{} {}: {why}", effect.action, effect.target));
    error
}

/// An answer with its body, which is cut off where it gets too long. One that says so beforehand is not read at all.
fn whole(
    response: Response<Incoming>,
    lease: Lease,
    watch: Watch,
    veil: Option<Veil>,
    bound: Bound,
    silence_max: Duration,
    place: OwnedSemaphorePermit,
) -> Result<Response<WasiBody>, Error> {
    use hyper::body::Body as _;

    let (mut head, incoming) = response.into_parts();
    let watch = watch.begun(&head);
    if let Some(veil) = &veil {
        if !Veil::sees_through(&head.headers) {
            let why =
                "an answer to a tool for which the host sends secrets came packed, and could not be searched for them";
            bound.attempt.keep_from(CallError::new(ErrorKind::CapabilityDenied, Stage::Run, why));
            return Err(Error::HttpResponseContentCoding(None));
        }
        veil.head(&mut head.headers);
    }
    if !bound.fits(incoming.size_hint().lower()) {
        bound.attempt.keep_from(bound.exceeded());
        let error = Error::HttpResponseBodySize(Some(bound.bytes_max));
        if let Some(watch) = watch {
            watch.broken(&error);
        }
        return Err(error);
    }
    let body = ResponseBody::new(incoming, lease, watch, veil, bound, silence_max, place);
    Ok(Response::from_parts(head, body.boxed_unsync()))
}
