//! A value that arrives as a string of JSON: the most common slip of a model.

use super::super::json::Node;

/// The value that a string holds, if it opens as wanted and is complete JSON.
pub(super) fn parsed(text: &str, opens: char) -> Option<Node<'_>> {
    let text = text.trim();
    if text.starts_with(opens) { Node::read(text).ok() } else { None }
}
