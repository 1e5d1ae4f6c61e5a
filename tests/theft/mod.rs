//! The stage, the thief, and the attack.

pub mod attack;
pub mod search;
pub mod stage;
pub mod thief;
