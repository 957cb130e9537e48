//! Which paths is a call about, where its grants ask for that? Found before the tool runs, in the granted folder itself, by the way
//! that is really gone: what the tool opens later is compared with that, and not with what somebody has written.

use std::sync::Arc;

use toolpost_core::Attempt;
use toolpost_core::batch::Ways;

use super::driver::{Root, Roots};
use super::walk::walk;

/// The most paths that a call may be about in one folder. Each is looked for before the call runs, which takes its time.
const PATHS_MAX: usize = 1_000;

/// For each granted folder the paths from it that the call is about; nothing where it may be about all of them.
#[derive(Default)]
pub(crate) struct Meant(Vec<Option<Arc<[String]>>>);

impl Meant {
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub(crate) async fn by(attempt: &Attempt, roots: &Arc<Roots>) -> Self {
        if roots.roots.iter().all(|root| root.grant.only.is_none()) {
            return Meant::default();
        }
        let (call, sought) = (attempt.call.clone(), roots.clone());
        // One with too many is about none of them.
        let find = move || sought.roots.iter().map(|root| root.meant(&call.arguments, Some(Arc::default()))).collect();
        // Where that cannot be done, the call is about nothing.
        let nothing = || vec![Some(Arc::default()); roots.roots.len()];
        Meant(tokio::task::spawn_blocking(find).await.unwrap_or_else(|_| nothing()))
    }

    /// Where in the host a call goes with these arguments, for each granted folder.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub(crate) async fn ways(arguments: &serde_json::Value, roots: &Arc<Roots>) -> Option<Ways> {
        if roots.roots.is_empty() {
            return None;
        }
        let way = |root: &Root, path: &str| root.place.join(path).to_string_lossy().into_owned();
        let (arguments, sought) = (arguments.clone(), roots.clone());
        // One with too many may go anywhere.
        let find = move || sought.roots.iter().map(|root| root.meant(&arguments, None)).collect::<Vec<_>>();
        let needs_look = roots.roots.iter().any(|root| root.grant.only.is_some());
        let found = if needs_look { tokio::task::spawn_blocking(find).await.ok()? } else { find() };
        let of_root = |(root, meant): (&Root, Option<Arc<[String]>>)| match meant {
            None => vec![way(root, "")],
            Some(paths) => paths.iter().map(|path| way(root, path)).collect(),
        };
        Some(roots.roots.iter().zip(found).map(of_root).collect())
    }

    pub(super) fn of(&self, root: usize) -> Option<Arc<[String]>> {
        self.0.get(root).cloned().flatten()
    }
}

impl Root {
    fn meant(&self, arguments: &serde_json::Value, too_many: Option<Arc<[String]>>) -> Option<Arc<[String]>> {
        let only = self.grant.only.as_ref()?;
        if only.values(arguments).nth(PATHS_MAX).is_some() {
            return too_many;
        }
        let below = only.values(arguments).filter_map(|path| self.grant.below(path));
        let found = below.flat_map(|path| [false, true].map(|follow| self.found(&path, follow)));
        Some(found.flatten().collect())
    }

    fn found(&self, path: &str, follow: bool) -> Option<String> {
        if path.is_empty() {
            return Some(String::new());
        }
        let spot = walk(&self.dir, "", &self.grant.deny, path, follow).ok()?;
        Some(spot.path().to_owned())
    }
}

/// Whether a path is one of these, or below one.
pub(super) fn is_within(meant: &[String], path: &str) -> bool {
    meant.iter().any(|meant| {
        meant.is_empty()
            || path.strip_prefix(meant.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Whether one of these is below a path.
pub(super) fn leads_to(meant: &[String], path: &str) -> bool {
    meant.iter().any(|meant| path.is_empty() || meant.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
}
