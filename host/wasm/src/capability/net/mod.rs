//! The network over HTTP, closed: every request is answered with "denied", and nothing leaves the host.

use wasmtime::Result;
use wasmtime::component::Linker;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks};

use crate::state::State;

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)
}

/// What a guest may write into a request in one go.
const CHUNK_BYTES_MAX: usize = 1 << 10;

/// The largest set of header fields that a guest may make.
const FIELDS_BYTES_MAX: usize = 8 << 10;

pub(crate) fn context() -> WasiHttpCtx {
    let mut context = WasiHttpCtx::new();
    context.set_field_size_limit(FIELDS_BYTES_MAX);
    context
}

/// Lets no request out.
pub(crate) struct NoEgress;

type Sent = std::result::Result<
    (http::Response<WasiBody>, Box<dyn Future<Output = std::result::Result<(), Error>> + Send>),
    Error,
>;

impl WasiHttpHooks for NoEgress {
    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = std::result::Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }

    // What a guest writes into a request waits in the host, one chunk for each request that it holds. Nothing is ever sent,
    // so the chunks need no room.
    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        1
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK_BYTES_MAX
    }
}
