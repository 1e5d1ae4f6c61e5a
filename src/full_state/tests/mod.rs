//! Tests of full-state mode.

mod ledger;
pub(crate) mod recorder;
mod transform;
