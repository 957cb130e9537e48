//! What of a request outlives its call in the hands of a guest? Nothing that was under way: its connection goes at once, and
//! what was cut off fails where it is used again. What was only written down (fields of a header, a request without a body)
//! stays, and is judged when it is sent.

use std::any::Any;
use std::mem::replace;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame};
use wasmtime_wasi_http::p2::body::{HostFutureTrailers, HostIncomingBody, HostOutgoingBody, StreamContext};
use wasmtime_wasi_http::p2::types::{
    HostFutureIncomingResponse, HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse,
};
use wasmtime_wasi_http::{Error, FieldMap, RequestOptions};

use crate::capability::Fate;

/// Closes what belongs to a request. The attempt has ended before: what breaks off here does not look whole to the other side.
pub(in crate::capability) fn close(held: &mut (dyn Any + Send)) -> Option<Fate> {
    if let Some(answer) = held.downcast_mut::<HostFutureIncomingResponse>() {
        return Some(fate(future(answer)));
    }
    if let Some(response) = held.downcast_mut::<HostIncomingResponse>() {
        return Some(fate(response.body.take().is_some()));
    }
    if let Some(body) = held.downcast_mut::<HostIncomingBody>() {
        *body = HostIncomingBody::new(Broken::body());
        return Some(Fate::Closed);
    }
    if let Some(trailers) = held.downcast_mut::<HostFutureTrailers>() {
        let waits = matches!(trailers, HostFutureTrailers::Waiting(_));
        if waits {
            *trailers = HostFutureTrailers::Done(Err(Error::ConnectionTerminated));
        }
        return Some(fate(waits));
    }
    if let Some(body) = held.downcast_mut::<HostOutgoingBody>() {
        // One that lacks a byte, so that it cannot be finished.
        *body = HostOutgoingBody::new(StreamContext::Request, Some(1), 1, 1).0;
        return Some(Fate::Closed);
    }
    if let Some(request) = held.downcast_mut::<HostOutgoingRequest>() {
        // Without its writer, what it has of a body would look whole.
        let had = request.body.as_mut().map(|body| replace(body, Broken::body())).is_some();
        return Some(fate(had));
    }
    let is_written_down = held.is::<FieldMap>() || held.is::<RequestOptions>() || held.is::<HostOutgoingResponse>();
    is_written_down.then_some(Fate::Lasts)
}

fn fate(was_open: bool) -> Fate {
    if was_open { Fate::Closed } else { Fate::Lasts }
}

/// Ends a request that waits for its answer, or whose answer nobody has looked at.
fn future(answer: &mut HostFutureIncomingResponse) -> bool {
    let was_open = matches!(answer, HostFutureIncomingResponse::Pending(_) | HostFutureIncomingResponse::Ready(Ok(_)));
    if was_open {
        *answer = HostFutureIncomingResponse::Ready(Err(Error::ConnectionTerminated));
    }
    was_open
}

/// A body that ends before its end.
struct Broken;

impl Broken {
    fn body() -> UnsyncBoxBody<Bytes, Error> {
        Broken.boxed_unsync()
    }
}

impl Body for Broken {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Poll::Ready(Some(Err(Error::ConnectionTerminated)))
    }
}
