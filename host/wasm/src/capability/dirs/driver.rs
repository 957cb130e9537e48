//! The driver: the granted folders, opened once for all attempts of a tool, and the room for what is open in them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use rustix::process::{Resource, getrlimit};
use tokio::sync::Semaphore;
use toolpost_core::catalog::grants::DirGrant;

/// Pieces of work on files that are done at once, each on a thread of its own.
const JOBS_MAX: usize = 32;

/// Such pieces in one granted folder: one that hangs, as a disk of the network may, leaves threads for the others.
const JOBS_OF_ROOT_MAX: usize = JOBS_MAX / 4;

/// The share of the files that this process may open that all attempts together may have open of one kind: one in so many.
const SHARE: u64 = 4;

/// The bounds of that.
const PLACES_LEAST: u64 = 64;
const PLACES_MOST: u64 = 16_384;

/// Files, for all instances.
pub(crate) struct Driver {
    pub(super) jobs: Arc<Semaphore>,
    of_roots: Mutex<HashMap<PathBuf, Weak<Semaphore>>>,
    pub(super) places: Arc<Semaphore>,
}

/// So many open files, or connections, all attempts together may have.
pub(crate) fn places() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let places = (files / SHARE).clamp(PLACES_LEAST, PLACES_MOST);
    usize::try_from(places).unwrap_or(usize::MAX >> 4)
}

/// The folders that a tool has been granted.
pub(crate) struct Roots {
    pub(super) driver: Arc<Driver>,
    pub(super) roots: Vec<Root>,
}

/// One of them.
pub(super) struct Root {
    pub(super) grant: Arc<DirGrant>,
    pub(super) dir: Arc<Dir>,
    /// The one path of the folder in the host, past all symbolic links; for comparing folders, and never for opening one.
    pub(super) place: PathBuf,
    /// Its share of the work that is done at once.
    pub(super) jobs: Arc<Semaphore>,
}

impl Driver {
    pub(crate) fn new() -> Self {
        Driver {
            jobs: Arc::new(Semaphore::new(JOBS_MAX)),
            of_roots: Mutex::default(),
            places: Arc::new(Semaphore::new(places())),
        }
    }

    /// The share of work that one folder of the host has, under whatever grants.
    fn of_root(&self, place: &Path) -> Arc<Semaphore> {
        let mut all = self.of_roots.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, jobs| jobs.strong_count() > 0);
        if let Some(jobs) = all.get(place).and_then(Weak::upgrade) {
            return jobs;
        }
        let jobs = Arc::new(Semaphore::new(JOBS_OF_ROOT_MAX));
        all.insert(place.to_owned(), Arc::downgrade(&jobs));
        jobs
    }

    /// Opens what was granted. Everything that a tool reaches, it reaches from these folders: nothing else is opened by a
    /// path of the host.
    ///
    /// # Errors
    /// A folder is none, or cannot be opened; for the operator, so it says which.
    pub(crate) fn open(self: &Arc<Self>, grants: &[DirGrant]) -> Result<Roots, String> {
        let open = |grant: &DirGrant| {
            let host = &grant.host;
            let wrong = |why: &str| format!("the folder `{}`, granted as `{}`, {why}", host.display(), grant.guest);
            if !host.is_absolute() {
                return Err(wrong("has no absolute path"));
            }
            let dir = Dir::open_ambient_dir(host, ambient_authority());
            let dir = dir.map_err(|error| wrong(&format!("cannot be opened: {error}")))?;
            let place = host.canonicalize().unwrap_or_else(|_| host.clone());
            let jobs = self.of_root(&place);
            Ok(Root { grant: Arc::new(grant.clone()), dir: Arc::new(dir), place, jobs })
        };
        let roots = grants.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Roots { driver: self.clone(), roots })
    }
}
