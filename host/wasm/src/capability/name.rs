//! A name that a guest has made up, as it may stand in a message, and in a line of settings that somebody may copy from there.

/// What of it is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 128;

/// The name, short, and with nothing in it that would end a text in settings or in a message.
pub(super) fn shown(name: &str) -> String {
    let mut shown = name.replace(|c: char| c.is_control() || c == '"' || c == '`', "\u{fffd}");
    shown.truncate(shown.floor_char_boundary(SHOWN_BYTES_MAX));
    shown
}
