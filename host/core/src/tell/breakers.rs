//! What do breakers say? Their news leave through the same voice as everything else.

use std::sync::{Arc, PoisonError, RwLock};

use super::{Event, Voice};
use crate::guard::breaker::{Key, Listener, News};

/// Passes the news of a host's breakers on to whoever listens to the host now.
#[derive(Default)]
pub(crate) struct Herald(RwLock<Arc<Voice>>);

impl Herald {
    /// From now on the news go to this voice.
    pub(crate) fn speak_with(&self, voice: Arc<Voice>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = voice;
    }
}

impl Listener for Herald {
    fn hear(&self, key: &Key, news: &News) {
        let voice = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        voice.tell(&Event::Breaker { key, news });
    }
}
