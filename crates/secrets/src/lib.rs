//! Protection of secrets that no type can provide: checking which users can read their file, and
//! overwriting what they leave on the stack.
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]

#[cfg(all(rekindle_canary, not(debug_assertions)))]
compile_error!(
    "a build with optimisations could be shipped, and must not have a test's hooks: leave the \
     `--cfg rekindle_...` away"
);

#[cfg(rekindle_canary)]
pub mod canary;
mod file;
pub mod stack;

pub use file::is_exposed;
