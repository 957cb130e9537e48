//! What a guest wishes of a socket. Wishes are remembered and told again, and do nothing: how the host's sockets are set up is
//! the host's affair, and no connection lives longer than an attempt.

use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;

const SECOND: u64 = 1_000_000_000;

/// The wishes, with times in nanoseconds and buffers in bytes.
#[derive(Clone, Copy)]
pub(super) struct Options {
    pub(super) keep_alive: bool,
    pub(super) keep_alive_idle: u64,
    pub(super) keep_alive_interval: u64,
    pub(super) keep_alive_count: u32,
    pub(super) hop_limit: u8,
    pub(super) receive_buffer: u64,
    pub(super) send_buffer: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            keep_alive: false,
            keep_alive_idle: 7_200 * SECOND,
            keep_alive_interval: 75 * SECOND,
            keep_alive_count: 9,
            hop_limit: 64,
            receive_buffer: 64 << 10,
            send_buffer: 64 << 10,
        }
    }
}

/// A wish; of none of them there can be nothing.
pub(super) fn above_zero<N: Default + PartialEq>(number: N) -> Result<N, ErrorCode> {
    if number == N::default() { Err(ErrorCode::InvalidArgument) } else { Ok(number) }
}
