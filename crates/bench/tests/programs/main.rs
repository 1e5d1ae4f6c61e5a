//! The benchmark as a program: tiny runs of each of its commands, and what they say.

mod load;
mod other_server;
mod program;
mod resume;
