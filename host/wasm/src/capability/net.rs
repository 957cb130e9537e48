//! The network over HTTP, closed: every request is answered with "denied", and nothing leaves the host.

use wasmtime::Result;
use wasmtime::component::Linker;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::state::State;

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)
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
}
