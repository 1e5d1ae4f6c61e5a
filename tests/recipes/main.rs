//! Every recipe of the book is run by a test, or says that it is not: `table` holds that, and the
//! other modules run those that are commands for a shell. Those about tokens are in `tests/rights`,
//! those about etcd in `tests/etcd_recipes.rs`, and those for pages in `tests/browser/book.test.js`.

#[path = "../chapters/mod.rs"]
mod chapters;
#[path = "../help/mod.rs"]
mod help;
#[path = "../live/mod.rs"]
mod live;
#[path = "../running/mod.rs"]
mod running;
#[path = "../secure/mod.rs"]
mod secure;
#[path = "../support/mod.rs"]
mod support;

mod cargo;
mod names;
mod security;
mod serving;
mod steps;
mod table;
mod units;
