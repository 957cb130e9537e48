//! What the host holds of requests and answers while a guest has a handle to them. None of it is memory of the guest's, so it has
//! bounds of its own: so many at once, and each of them short.

use toolpost_core::{Attempt, CallError, ErrorKind, Stage};
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi_http::FieldMap;
use wasmtime_wasi_http::p2::bindings::http::types::{HostOutgoingRequest as _, Method, Scheme};
use wasmtime_wasi_http::p2::body::HostFutureTrailers;
use wasmtime_wasi_http::p2::types::{
    HostFutureIncomingResponse, HostIncomingResponse, HostOutgoingRequest, HostOutgoingResponse,
};

use super::grant::URL_BYTES_MAX;
use crate::state::State;

/// Requests, answers and sets of header fields that one attempt holds at once.
pub(crate) const HELD_MAX: usize = 256;

/// How many calls go by at least before it is counted again: so many may be held beyond that.
const CALLS_LEAST: usize = 16;

/// The longest authority, method and scheme, in bytes.
const AUTHORITY_BYTES_MAX: usize = 512;
const WORD_BYTES_MAX: usize = 20;

/// The interface in which the setters of a request are.
const TYPES: &str = "wasi:http/types@0.2.12";

/// How many calls go by before what is held is counted. No call makes more than one such thing.
pub(crate) struct Held(usize);

impl Default for Held {
    fn default() -> Self {
        Held(HELD_MAX)
    }
}

impl Held {
    /// A call of the interface begins. Says whether the guest holds too much for it.
    pub(crate) fn is_too_much(&mut self, table: &mut ResourceTable) -> bool {
        if self.0 > 0 {
            self.0 -= 1;
            return false;
        }
        let held = table.iter_mut().filter(|thing| counts(&**thing)).count();
        self.0 = HELD_MAX.saturating_sub(held).max(CALLS_LEAST);
        held > HELD_MAX
    }
}

fn counts(thing: &(dyn std::any::Any + Send)) -> bool {
    thing.is::<FieldMap>()
        || thing.is::<HostOutgoingRequest>()
        || thing.is::<HostOutgoingResponse>()
        || thing.is::<HostIncomingResponse>()
        || thing.is::<HostFutureIncomingResponse>()
        || thing.is::<HostFutureTrailers>()
}

/// What the setters give to a guest.
type Set = (Result<(), ()>,);

type Request = Resource<HostOutgoingRequest>;

/// Puts setters in the place of those that take words of any length.
pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: StoreContextMut<'_, State>, (request, authority): (Request, Option<String>)| -> Result<Set> {
            match fits(store.data_mut(), "host", authority.as_deref(), AUTHORITY_BYTES_MAX) {
                true => Ok((store.data_mut().requests().set_authority(request, authority)?,)),
                false => Ok((Err(()),)),
            }
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-path-with-query",
        |mut store: StoreContextMut<'_, State>, (request, path): (Request, Option<String>)| -> Result<Set> {
            match fits(store.data_mut(), "path", path.as_deref(), URL_BYTES_MAX) {
                true => Ok((store.data_mut().requests().set_path_with_query(request, path)?,)),
                false => Ok((Err(()),)),
            }
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: StoreContextMut<'_, State>, (request, method): (Request, Method)| -> Result<Set> {
            let other = if let Method::Other(other) = &method { Some(other.as_str()) } else { None };
            match fits(store.data_mut(), "method", other, WORD_BYTES_MAX) {
                true => Ok((store.data_mut().requests().set_method(request, method)?,)),
                false => Ok((Err(()),)),
            }
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-scheme",
        |mut store: StoreContextMut<'_, State>, (request, scheme): (Request, Option<Scheme>)| -> Result<Set> {
            let other = if let Some(Scheme::Other(other)) = &scheme { Some(other.as_str()) } else { None };
            let fits = fits(store.data_mut(), "scheme", other, WORD_BYTES_MAX);
            if other.is_some() {
                // It is refused when it is sent, in one word of the interface.
                let why = "the tool may send requests by `http` and `https` alone";
                keep_from(store.data_mut().attempt(), ErrorKind::CapabilityDenied, why.into());
            }
            match fits {
                true => Ok((store.data_mut().requests().set_scheme(request, scheme)?,)),
                false => Ok((Err(()),)),
            }
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn fits(state: &State, what: &str, text: Option<&str>, bytes_max: usize) -> bool {
    let fits = text.is_none_or(|text| text.len() <= bytes_max);
    if !fits {
        let words = format!("the {what} of a request has at most {bytes_max} bytes");
        keep_from(state.attempt(), ErrorKind::QuotaExceeded, words);
    }
    fits
}

fn keep_from(attempt: &Attempt, kind: ErrorKind, words: String) {
    attempt.keep_from(CallError::new(kind, Stage::Run, words).with_help("no grant allows it"));
}
