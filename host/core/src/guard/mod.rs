//! What keeps a call safe while it runs? Each guard hands out a value; dropping it gives back what was taken.

// Who may run now
pub mod rate;
pub mod slot;

// Whether it may run again
pub mod retry;
