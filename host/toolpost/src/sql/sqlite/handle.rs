//! The few things that only the C interface of SQLite can do: ask a judge about what a statement touches, and close what no
//! tool needs. This is the only file of the package with `unsafe` code: `sqlx` has no authorizer, and without one a database
//! could not itself keep a statement from a table.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Arc;

use libsqlite3_sys as ffi;
use sqlx::sqlite::{LockedSqliteHandle, SqliteConnection};

use super::judge::{Judge, Question};

/// The name under which a connection has its judge.
const JUDGE: &CStr = c"toolpost-judge";

/// After so many steps of its program a statement is asked whether it goes on: some tens of microseconds.
const STEPS: c_int = 1_000;

/// The longest statement that SQLite takes, in bytes; the host takes shorter ones.
const STATEMENT_BYTES_MAX: c_int = 1 << 20;

/// The judge of a connection; it gets one, with everything closed that no tool needs, where it has none yet.
pub(super) async fn judge(connection: &mut SqliteConnection) -> Result<Arc<Judge>, sqlx::Error> {
    let mut handle = connection.lock_handle().await?;
    if let Some(judge) = appointed(&mut handle) {
        return Ok(judge);
    }
    let judge = Arc::new(Judge::default());
    appoint(&mut handle, &judge)?;
    let asked = judge.clone();
    handle.set_progress_handler(STEPS, move || asked.goes_on());
    Ok(judge)
}

/// Sets how long a text, a blob or a row may be.
pub(super) async fn limit_length(connection: &mut SqliteConnection, bytes: u64) -> Result<(), sqlx::Error> {
    let mut handle = connection.lock_handle().await?;
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    // SAFETY: the handle is open, and locked for as long as `handle` lives. Where it is too high, SQLite takes its own limit.
    unsafe { ffi::sqlite3_limit(handle.as_raw_handle().as_ptr(), ffi::SQLITE_LIMIT_LENGTH, bytes) };
    Ok(())
}

fn appointed(handle: &mut LockedSqliteHandle<'_>) -> Option<Arc<Judge>> {
    // SAFETY: the handle is open and locked, and the name ends in a NUL byte.
    let found = unsafe { ffi::sqlite3_get_clientdata(handle.as_raw_handle().as_ptr(), JUDGE.as_ptr()) };
    let judge = found.cast_const().cast::<Judge>();
    if judge.is_null() {
        return None;
    }
    // SAFETY: under this name there is only what `appoint` put there: an `Arc` that the connection owns. It is counted once
    // more, for the one that is made here.
    unsafe {
        Arc::increment_strong_count(judge);
        Some(Arc::from_raw(judge))
    }
}

fn appoint(handle: &mut LockedSqliteHandle<'_>, judge: &Arc<Judge>) -> Result<(), sqlx::Error> {
    let connection = handle.as_raw_handle().as_ptr();
    let owned = Arc::into_raw(judge.clone()).cast_mut().cast::<c_void>();
    // SAFETY: the handle is open and locked. SQLite owns `owned` from here on: it hands it to `dismiss` once, when the
    // connection is closed, and also where this call fails. The authorizer is called only while the connection is open, so what
    // it is given lives as long. The switches and limits are numbers; each switch takes a number and a pointer that may be null.
    unsafe {
        check(ffi::sqlite3_set_clientdata(connection, JUDGE.as_ptr(), owned, Some(dismiss)))?;
        check(ffi::sqlite3_set_authorizer(connection, Some(authorize), owned))?;
        let nowhere = std::ptr::null_mut::<c_int>();
        for (switch, on) in [
            (ffi::SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0),
            (ffi::SQLITE_DBCONFIG_DEFENSIVE, 1),
            (ffi::SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0),
            // What stands in double quotes is a name, and never a text: so it may be shown.
            (ffi::SQLITE_DBCONFIG_DQS_DML, 0),
            (ffi::SQLITE_DBCONFIG_DQS_DDL, 0),
        ] {
            check(ffi::sqlite3_db_config(connection, switch, on as c_int, nowhere))?;
        }
        ffi::sqlite3_limit(connection, ffi::SQLITE_LIMIT_ATTACHED, 0);
        ffi::sqlite3_limit(connection, ffi::SQLITE_LIMIT_SQL_LENGTH, STATEMENT_BYTES_MAX);
    }
    Ok(())
}

fn check(code: c_int) -> Result<(), sqlx::Error> {
    if code == ffi::SQLITE_OK {
        return Ok(());
    }
    Err(sqlx::Error::Configuration(format!("SQLite cannot be closed to tools (code {code})").into()))
}

unsafe extern "C" fn dismiss(judge: *mut c_void) {
    // SAFETY: it is what `appoint` gave away, and SQLite hands it back once.
    drop(unsafe { Arc::from_raw(judge.cast_const().cast::<Judge>()) });
}

unsafe extern "C" fn authorize(
    judge: *mut c_void,
    code: c_int,
    first: *const c_char,
    second: *const c_char,
    _database: *const c_char,
    _within: *const c_char,
) -> c_int {
    // SAFETY: the judge is the one that `appoint` gave, and lives as long as the connection. Texts are null, or end in a NUL
    // byte and live until this returns.
    let (judge, first, second) = unsafe { (&*judge.cast_const().cast::<Judge>(), text(first), text(second)) };
    let question = Question { code, first: &first, second: &second };
    if judge.allows(&question) { ffi::SQLITE_OK } else { ffi::SQLITE_DENY }
}

/// # Safety
/// It is null, or ends in a NUL byte and lives for as long as what is returned.
unsafe fn text<'a>(text: *const c_char) -> std::borrow::Cow<'a, str> {
    if text.is_null() {
        return "".into();
    }
    // SAFETY: as said above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy()
}
