//! Who else can have written this? A file or folder is believed only where the answer is: nobody but root.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

/// Whether nobody but this user and root can have written it.
#[must_use]
pub fn is_ours(about: &Metadata) -> bool {
    is_owned(about) && about.mode() & 0o022 == 0
}

/// Whether it belongs to this user, or to root, who can do anything anyway.
#[must_use]
pub fn is_owned(about: &Metadata) -> bool {
    about.uid() == 0 || about.uid() == rustix::process::geteuid().as_raw()
}
