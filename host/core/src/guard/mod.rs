//! What keeps a call safe while it runs? Each guard hands out a value; dropping it gives back what was taken.

// Who may run now
pub mod rate;
pub mod slot;

// Is it well enough to be called?
pub mod breaker;

// Whether it may run again
pub mod retry;
