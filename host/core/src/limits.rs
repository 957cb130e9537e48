//! How much may a call use? Every bound of the host, with its unit and its default.

use std::time::Duration;

use bytesize::ByteSize;

use crate::catalog::settings::LimitSettings;
use crate::tell::milliseconds;

/// What one call of a tool may use.
///
/// | limit | default | when it is passed |
/// |---|---|---|
/// | fuel per attempt | 1,000,000,000 | `OutOfFuel` |
/// | memory per attempt | 64 MiB | `OutOfMemory` |
/// | time per attempt | 30 s | `TimedOut` |
/// | time per call, with the wait for a place | 120 s | `TimedOut` |
/// | arguments | 1 MiB | `InvalidArguments` |
/// | result | 8 MiB | `OutputTooLarge` |
/// | result as its reader gets it | 64 KiB | the middle is cut out; all of it is kept as an artifact |
/// | handles and host resources per attempt | 10,000 | `Trapped` |
/// | log lines, captured output | 64 KiB each | the rest is counted and dropped |
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Limits {
    /// Operations of one attempt, in units of fuel (about one per WebAssembly operator, one per byte for bulk copies).
    pub fuel: u64,
    /// Memory of one attempt in bytes, summed over all of a component's memories and tables.
    pub memory_bytes_max: u64,
    /// Time of one attempt.
    #[serde(rename = "attempt_time_ms_max", serialize_with = "milliseconds")]
    pub attempt_time_max: Duration,
    /// Time of a call with all its attempts, and with its wait for a place: from the moment at which the checks have let it
    /// go on.
    #[serde(rename = "call_time_ms_max", serialize_with = "milliseconds")]
    pub call_time_max: Duration,
    /// Length of the arguments in bytes of JSON.
    pub arguments_bytes_max: u64,
    /// Size of the result in bytes, as it is lifted out of the component.
    pub result_bytes_max: u64,
    /// Length in bytes of a result as its reader gets it. The rest is kept as an artifact, where there is a place for one.
    pub reader_bytes_max: u64,
    /// Handles and host resources that one attempt may hold.
    pub handles_max: u32,
    /// Length in bytes of the log that is kept of one attempt.
    pub log_bytes_max: u64,
    /// Length in bytes of the standard output, and of the standard error, that are kept of one attempt.
    pub stdio_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            fuel: 1_000_000_000,
            memory_bytes_max: ByteSize::mib(64).as_u64(),
            attempt_time_max: Duration::from_secs(30),
            call_time_max: Duration::from_secs(120),
            arguments_bytes_max: ByteSize::mib(1).as_u64(),
            result_bytes_max: ByteSize::mib(8).as_u64(),
            reader_bytes_max: ByteSize::kib(64).as_u64(),
            handles_max: 10_000,
            log_bytes_max: ByteSize::kib(64).as_u64(),
            stdio_bytes_max: ByteSize::kib(64).as_u64(),
        }
    }
}

impl Limits {
    /// These limits, with what settings say over them.
    #[must_use]
    pub fn with(self, settings: &LimitSettings) -> Self {
        let bytes = |set: Option<settings::Bytes>, old| set.map_or(old, |bytes| bytes.0);
        let time = |set: Option<settings::Span>, old| set.map_or(old, |span| span.0);
        use crate::catalog::settings;
        Limits {
            fuel: settings.fuel.unwrap_or(self.fuel),
            memory_bytes_max: bytes(settings.memory, self.memory_bytes_max),
            attempt_time_max: time(settings.time, self.attempt_time_max),
            call_time_max: time(settings.call_time, self.call_time_max),
            arguments_bytes_max: bytes(settings.arguments, self.arguments_bytes_max),
            result_bytes_max: bytes(settings.result, self.result_bytes_max),
            reader_bytes_max: bytes(settings.reader, self.reader_bytes_max),
            handles_max: settings.handles.unwrap_or(self.handles_max),
            log_bytes_max: bytes(settings.log, self.log_bytes_max),
            stdio_bytes_max: bytes(settings.stdio, self.stdio_bytes_max),
        }
    }
}

/// What all calls of a host may use together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct HostLimits {
    /// Calls that run at once; 64 by default.
    pub max_parallel: usize,
    /// Calls that may wait for a place; 1,024 by default. Of one more than that, the last of whoever has most is refused as
    /// `Busy`.
    pub max_waiting: usize,
    /// How long a call waits for a place; 30 s by default. Then it is refused as `Busy`. One that waits for room in its own tool
    /// may wait on.
    #[serde(rename = "max_wait_ms", serialize_with = "milliseconds")]
    pub max_wait: Duration,
    /// How many calls may be inside of one another; 8 by default. One that is deeper is refused.
    pub max_depth: usize,
}

impl Default for HostLimits {
    fn default() -> Self {
        HostLimits { max_parallel: 64, max_waiting: 1_024, max_wait: Duration::from_secs(30), max_depth: 8 }
    }
}
