//! Files by the functions of the C library, as a guest in C has them.

use std::ffi::{CString, c_char, c_int, c_long, c_void};
use std::io;
use std::path::Path;

unsafe extern "C" {
    fn fopen(path: *const c_char, mode: *const c_char) -> *mut c_void;
    fn fputs(text: *const c_char, file: *mut c_void) -> c_int;
    fn fseek(file: *mut c_void, offset: c_long, from: c_int) -> c_int;
    fn fgets(buffer: *mut c_char, length: c_int, file: *mut c_void) -> *mut c_char;
    fn fclose(file: *mut c_void) -> c_int;
    fn remove(path: *const c_char) -> c_int;
}

/// Writes a file, changes the middle of it, reads its first line, and deletes it; whether all came back as it should.
pub(crate) fn trial(path: &Path) -> io::Result<bool> {
    let path = CString::new(path.to_string_lossy().as_bytes())?;
    let mut line: [c_char; 16] = [0; 16];
    // SAFETY: all texts end in NUL, `fgets` writes no more than it is told, and a file is used until it is closed.
    let done = unsafe {
        let file = fopen(path.as_ptr(), c"w+".as_ptr());
        if file.is_null() {
            return Err(io::Error::last_os_error());
        }
        let written = fputs(c"one two\nthree\n".as_ptr(), file) >= 0
            && fseek(file, 4, 0) == 0
            && fputs(c"six".as_ptr(), file) >= 0
            && fseek(file, 0, 0) == 0;
        let read = !fgets(line.as_mut_ptr(), 16, file).is_null();
        let closed = fclose(file) == 0;
        written && read && closed && remove(path.as_ptr()) == 0 && fopen(path.as_ptr(), c"r".as_ptr()).is_null()
    };
    let line: Vec<u8> = line.iter().map(|byte| byte.cast_unsigned()).take_while(|byte| *byte != 0).collect();
    Ok(done && line == b"one six\n")
}
