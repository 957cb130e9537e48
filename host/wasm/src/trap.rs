//! Why did an attempt end? wasmtime's error as one of ours, in words for the agent.

use std::time::Duration;

use bytesize::ByteSize;
use toolpost_core::{Attempt, CallError, ErrorKind, Stage};
use wasmtime::component::ResourceTableError;
use wasmtime::{Error, PoolConcurrencyLimitError, Trap};
use wasmtime_wasi::I32Exit;

use crate::capability::net::held::HELD_MAX;
use crate::limits::MemoryExceeded;
use crate::turn::{Ended, TURN_MAX};

/// The words of wasmtime's untyped error for too much data in one crossing.
const TOO_MUCH_DATA: &str = "fuel allocated for hostcalls has been exhausted";

/// The words of wasmtime's untyped error for too many handles.
const TOO_MANY_HANDLES: &str = "store handle limit exceeded";

pub(crate) fn explain(error: &Error, attempt: &Attempt) -> CallError {
    let limits = attempt.call.tool.limits;
    let fail = |kind, message: String| CallError::new(kind, Stage::Run, message);
    if let Some(own) = error.downcast_ref::<CallError>() {
        // A host function has said it already, for example that a quota is used up.
        return own.clone();
    }
    let explained = if let Some(exceeded) = error.downcast_ref::<MemoryExceeded>() {
        let (wanted, allowed) = (size(exceeded.wanted), size(limits.memory_bytes_max));
        fail(ErrorKind::OutOfMemory, format!("the tool wanted {wanted} of memory; {allowed} are allowed"))
            .with_help("ask for less at once, or raise `limits.memory`")
    } else if let Some(Trap::OutOfFuel) = error.downcast_ref::<Trap>() {
        fail(ErrorKind::OutOfFuel, format!("the tool used up its fuel of {}", limits.fuel))
            .with_help("ask for less at once, or raise `limits.fuel`")
    } else if let Some(I32Exit(status)) = error.downcast_ref::<I32Exit>() {
        trapped(attempt, &format!("the tool ended itself with exit status {status}"))
    } else if error.root_cause().to_string().contains(TOO_MUCH_DATA) {
        let allowed = size(limits.result_bytes_max);
        match error.downcast_ref::<wasmtime::WasmBacktrace>() {
            Some(_) => trapped(attempt, &format!("the tool handed more than {allowed} to the host at once")),
            None => {
                fail(ErrorKind::OutputTooLarge, format!("the result is larger than the {allowed} that are allowed"))
                    .with_help("ask for less at once, or raise `limits.result`")
            }
        }
    } else if is_out_of_handles(error) {
        trapped(attempt, &format!("the tool wanted more than the {} handles that are allowed", limits.handles_max))
            .with_help("ask for less at once, or raise `limits.handles`")
    } else if error.is::<PoolConcurrencyLimitError>() {
        fail(ErrorKind::Busy, "every instance is in use; call again later, or raise `host.max_parallel` (and the sysctl `vm.max_map_count`)".into())
            .retry_after(Duration::from_secs(1))
    } else if out_of_maps(error) {
        fail(
            ErrorKind::Busy,
            "the operating system gives the host no more memory maps; lower `host.max_parallel`, or raise the sysctl \
             `vm.max_map_count`"
                .into(),
        )
        .retry_after(Duration::from_secs(1))
    } else if let Some(trap) = error.downcast_ref::<Trap>() {
        trapped(attempt, &format!("the tool trapped: {}", trap_words(*trap)))
    } else {
        trapped(attempt, &format!("the tool trapped: {}", error.root_cause()))
    };
    // The whole story, with the guest's backtrace, is for the log.
    explained.because(error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

/// Why a host function ended the attempt.
pub(crate) fn ended(ended: Ended, attempt: &Attempt) -> CallError {
    match ended {
        Ended::Late => CallError::new(ErrorKind::TimedOut, Stage::Run, "the tool did not answer before its deadline")
            .with_help("ask for less at once, or raise `limits.time`"),
        Ended::Hogging => trapped(
            attempt,
            &format!("the tool called the host without a pause for longer than {} ms", TURN_MAX.as_millis()),
        ),
        Ended::Holding => trapped(
            attempt,
            &format!("the tool held more than {HELD_MAX} requests, answers and sets of header fields at once"),
        )
        .with_help("it must drop those that it does not need any more"),
    }
}

/// A trap, with the last that the guest wrote to standard error: that is where a panic says its reason.
fn trapped(attempt: &Attempt, what: &str) -> CallError {
    let words = attempt.meter.stderr.tail();
    let message = match words.trim_end() {
        "" => what.to_owned(),
        words => format!("{what}; it wrote: {words}"),
    };
    CallError::new(ErrorKind::Trapped, Stage::Run, message)
}

fn trap_words(trap: Trap) -> String {
    match trap {
        Trap::StackOverflow => "its stack is used up".into(),
        Trap::UnreachableCodeReached => "it gave up (`unreachable`), as a panic does".into(),
        Trap::MemoryOutOfBounds => "it reached outside of its memory".into(),
        other => other.to_string(),
    }
}

/// Whether the guest holds all that it may, in handles of its own or in what the host holds for it.
fn is_out_of_handles(error: &Error) -> bool {
    matches!(error.downcast_ref(), Some(ResourceTableError::Full))
        || error.root_cause().to_string().contains(TOO_MANY_HANDLES)
}

/// Whether the operating system has no more memory maps for the host.
fn out_of_maps(error: &Error) -> bool {
    const ENOMEM: i32 = 12;
    let by_number = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error) == Some(ENOMEM)
            || cause.downcast_ref::<rustix::io::Errno>().is_some_and(|errno| errno.raw_os_error() == ENOMEM)
    };
    error.chain().any(by_number)
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}
