//! The interface of a store that several processes use.

use std::io;
use std::time::Duration;

/// A store of keys and values that several processes use at once, such as etcd. It sees only age
/// files, names, and what nodes say of themselves.
///
/// Keys are relative to a prefix that belongs to the vault alone. All calls block and end within
/// seconds; data is durable when a call that writes it returns. A call that returned
/// [`StoreError::Unavailable`] may have been carried out or not.
pub trait SharedStore: Send + Sync {
    /// Its address, for messages. Without secrets.
    fn address(&self) -> &str;

    /// The name of this process's node. No other process has it at the same time.
    fn node(&self) -> &str;

    /// From now on the store may have threads of its own, which maintain what [`keep`](Self::keep)
    /// has put. Before this call it has none, so that the process can still be confined.
    ///
    /// # Errors
    /// The system's error where it has no threads left.
    fn start(&self) -> io::Result<()>;

    /// Reads keys, all at one moment, not earlier than the call.
    ///
    /// # Errors
    /// [`StoreError`].
    fn read(&self, keys: &[&str]) -> Result<Vec<Option<Entry>>, StoreError>;

    /// All keys that begin with `folder` and a slash, with their values.
    ///
    /// # Errors
    /// [`StoreError`].
    fn list(&self, folder: &str) -> Result<Listing, StoreError>;

    /// The same keys without values.
    ///
    /// # Errors
    /// [`StoreError`].
    fn names(&self, folder: &str) -> Result<Vec<String>, StoreError>;

    /// Makes all changes if every condition holds, and none otherwise. Returns whether they were
    /// made.
    ///
    /// # Errors
    /// [`StoreError`].
    fn commit(&self, transaction: &Transaction<'_>) -> Result<bool, StoreError>;

    /// Puts a value that exists only as long as this process lives: some seconds after its end the
    /// store removes it. If the store loses it, it is put again while the condition holds. A second
    /// call for the same key replaces the first. Returns whether the condition held; if not,
    /// nothing is kept any more.
    ///
    /// # Errors
    /// [`StoreError`].
    fn keep(&self, key: &str, value: &[u8], fence: Condition<'_>) -> Result<bool, StoreError>;

    /// Removes one of the keys that [`keep`](Self::keep) has put, and keeps the others.
    ///
    /// # Errors
    /// [`StoreError`]: then it goes some seconds after the process has ended.
    fn release(&self, key: &str) -> Result<(), StoreError>;

    /// Removes all that [`keep`](Self::keep) has put, at once, unless another process has replaced it.
    ///
    /// # Errors
    /// [`StoreError`]: then it is removed some seconds after the process has ended.
    fn let_go(&self) -> Result<(), StoreError>;

    /// Waits until something below `folder` has changed since `revision`, at most for `limit`. It
    /// may return early.
    ///
    /// # Errors
    /// [`StoreError`].
    fn wait(&self, folder: &str, revision: u64, limit: Duration) -> Result<(), StoreError>;
}

/// The content of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its value.
    pub value: Vec<u8>,
    /// Grows with every change of the key; never 0.
    pub revision: u64,
}

/// The content of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The revision of the store at which this was read.
    pub revision: u64,
    /// Names without the folder, and values.
    pub entries: Vec<(String, Vec<u8>)>,
}

/// A condition on a key.
#[derive(Clone, Copy, Debug)]
pub enum Condition<'a> {
    /// The key has this value.
    Is(&'a str, &'a [u8]),
    /// The key was last changed in this revision; 0: the key is not there.
    Unchanged(&'a str, u64),
}

/// A change of a key.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// The key has this value from now on.
    Put(&'a str, &'a [u8]),
    /// The key goes, if it is there.
    Remove(&'a str),
}

/// Changes under conditions.
#[derive(Clone, Copy, Debug)]
pub struct Transaction<'a> {
    /// All of them must hold.
    pub conditions: &'a [Condition<'a>],
    /// All of them are made, or none.
    pub changes: &'a [Change<'a>],
}

/// Why a store did not carry out a request.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It has no room.
    #[error("{0}")]
    Full(String),
    /// It does not answer, or refuses this client.
    #[error("{0}")]
    Unavailable(String),
}
