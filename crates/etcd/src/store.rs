//! The store for the vault.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use etcd_client::{Error, GetOptions, Txn, TxnOp, TxnOpResponse, WatchOptions};
use rekindle_vault::SharedStore;
use rekindle_vault::shared::{Condition, Entry, Listing, StoreError, Transaction};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;

use crate::address::Address;
use crate::connection::{self, ConnectError};
use crate::keys::{Ordered, Prefix, Wanted, conditions};
use crate::lease::Lease;
use crate::members::Members;

/// Most keys that are listed in one request. etcd's answers have a few MiB at most.
const PAGE: i64 = 2000;

/// A vault's place in etcd.
pub struct Etcd {
    address: String,
    node: String,
    prefix: Prefix,
    members: Arc<Members>,
    lease: Arc<Lease>,
    handle: Handle,
    runs: Mutex<Runs>,
}

/// What does the network I/O.
enum Runs {
    /// The caller, while it waits: there is no thread yet.
    Here(Runtime),
    /// A thread, until this is dropped.
    Thread { _until: oneshot::Sender<()> },
}

impl Etcd {
    /// Prepares to use etcd; connections are made when they are needed. Reads the files that the
    /// address's options name, and resolves names. No thread is started before
    /// [`start`](SharedStore::start): until then a call does all the work itself, and nothing
    /// happens between two calls.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(address: &Address) -> Result<Self, ConnectError> {
        let given = &address.options;
        let members = Arc::new(Members::new(connection::members(address)?, given.limit));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ConnectError::Thread)?;
        Ok(Self {
            address: address.to_string(),
            node: given.node.clone(),
            prefix: Prefix(address.prefix.clone()),
            lease: Lease::new(Arc::clone(&members), given.lease),
            members,
            handle: runtime.handle().clone(),
            runs: Mutex::new(Runs::Here(runtime)),
        })
    }

    fn runs(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a future and waits for its result.
    fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let runs = self.runs();
        if let Runs::Here(runtime) = &*runs {
            return runtime.block_on(future);
        }
        drop(runs);
        let (sender, receiver) = mpsc::sync_channel(1);
        self.handle.spawn(async move {
            // The caller waits for it.
            let _ = sender.send(future.await);
        });
        receiver
            .recv()
            .unwrap_or_else(|_| Err(StoreError::Unavailable("the client has ended".into())))
    }

    /// All keys below a folder, page by page, at one moment.
    fn range(&self, folder: &str, values: bool) -> Result<Listing, StoreError> {
        let start = self.prefix.folder(folder);
        let members = Arc::clone(&self.members);
        let mut end = start.clone();
        // '0' is the character after the slash.
        if let Some(slash) = end.last_mut() {
            *slash += 1;
        }
        let skip = start.len();
        self.run(async move {
            let mut options = GetOptions::new().with_range(end).with_limit(PAGE);
            if !values {
                options = options.with_keys_only();
            }
            let (mut key, mut revision, mut entries) = (start, 0, Vec::new());
            loop {
                let page = options.clone().with_revision(revision);
                let answer = members
                    .call(|mut client, _| {
                        let (key, page) = (key.clone(), page.clone());
                        async move { client.get(key, Some(page)).await }
                    })
                    .await?;
                let mut answer = answer.value;
                if revision == 0 {
                    revision = answer.header().map_or(0, |header| header.revision());
                }
                let more = answer.more();
                let page = answer.take_kvs();
                if let Some(last) = page.last() {
                    key = last.key().to_vec();
                    key.push(0);
                }
                entries.extend(page.into_iter().map(|entry| {
                    let (name, value) = entry.into_key_value();
                    let name = name.get(skip..).unwrap_or_default();
                    (String::from_utf8_lossy(name).into_owned(), value)
                }));
                if !more {
                    let revision = number(revision);
                    return Ok(Listing { revision, entries });
                }
            }
        })
    }
}

impl SharedStore for Etcd {
    fn address(&self) -> &str {
        &self.address
    }

    fn node(&self) -> &str {
        &self.node
    }

    fn start(&self) -> io::Result<()> {
        let mut runs = self.runs();
        if let Runs::Thread { .. } = &*runs {
            return Ok(());
        }
        let (until, over) = oneshot::channel();
        let Runs::Here(runtime) = std::mem::replace(&mut *runs, Runs::Thread { _until: until })
        else {
            return Ok(());
        };
        let thread = std::thread::Builder::new().name("etcd".into());
        thread.spawn(move || {
            // An error means that the store was dropped.
            let _ = runtime.block_on(over);
        })?;
        Ok(())
    }

    fn read(&self, keys: &[&str]) -> Result<Vec<Option<Entry>>, StoreError> {
        let keys: Vec<Vec<u8>> = keys.iter().map(|key| self.prefix.key(key)).collect();
        let members = Arc::clone(&self.members);
        self.run(async move {
            let answer = members
                .call(|mut client, _| {
                    let gets: Vec<_> = keys.iter().map(|k| TxnOp::get(k.clone(), None)).collect();
                    async move { client.txn(Txn::new().and_then(gets)).await }
                })
                .await?;
            Ok(answer.value.op_responses().into_iter().map(entry).collect())
        })
    }

    fn list(&self, folder: &str) -> Result<Listing, StoreError> {
        self.range(folder, true)
    }

    fn names(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let names = self.range(folder, false)?.entries.into_iter();
        Ok(names.map(|(name, _)| name).collect())
    }

    fn commit(&self, transaction: &Transaction<'_>) -> Result<bool, StoreError> {
        let ordered = Ordered::new(&self.prefix, transaction);
        let members = Arc::clone(&self.members);
        self.run(async move { commit(&members, &ordered).await })
    }

    fn keep(&self, key: &str, value: &[u8], fence: Condition<'_>) -> Result<bool, StoreError> {
        let lease = Arc::clone(&self.lease);
        let (key, value) = (self.prefix.key(key), value.to_vec());
        let fence = conditions(&self.prefix, &[fence]);
        self.run(async move { lease.keep(key, value, fence).await })
    }

    fn release(&self, key: &str) -> Result<(), StoreError> {
        let (lease, key) = (Arc::clone(&self.lease), self.prefix.key(key));
        self.run(async move { lease.release(key).await })
    }

    fn let_go(&self) -> Result<(), StoreError> {
        let lease = Arc::clone(&self.lease);
        self.run(async move { lease.let_go().await })
    }

    fn wait(&self, folder: &str, revision: u64, limit: Duration) -> Result<(), StoreError> {
        let folder = self.prefix.folder(folder);
        let members = Arc::clone(&self.members);
        let next = i64::try_from(revision).map_or(i64::MAX, |revision| revision + 1);
        self.run(async move {
            let options = WatchOptions::new().with_prefix().with_start_revision(next);
            let mut client = members.last().await?;
            let change = async move {
                let mut stream = client.watch(folder, Some(options)).await?;
                while let Some(message) = stream.message().await? {
                    // A cancelled watch counts as a change: what it would report was compacted, or
                    // the member has lost its leader.
                    if message.canceled() || !message.events().is_empty() {
                        return Ok(());
                    }
                }
                Err(Error::WatchError("it ended".into()))
            };
            match tokio::time::timeout(limit, change).await {
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a watch of etcd has ended");
                    members.pass_on();
                    Ok(())
                }
                Ok(Ok(())) | Err(_) => Ok(()),
            }
        })
    }
}

/// Makes all changes under their conditions. If an attempt had no answer, and the next one finds
/// the changes made, they are its own.
async fn commit(members: &Members, ordered: &Ordered) -> Result<bool, StoreError> {
    let looks = || -> Vec<TxnOp> {
        let look = |change: &Wanted| TxnOp::get(change.key.clone(), None);
        ordered.changes.iter().map(look).collect()
    };
    let made = members
        .call(|mut client, again| {
            let mut transaction = Txn::new()
                .when(ordered.conditions.clone())
                .and_then(ordered.operations());
            if again {
                transaction = transaction.or_else(looks());
            }
            async move { client.txn(transaction).await }
        })
        .await;
    match made {
        Ok(answer) if answer.value.succeeded() || !answer.repeated => Ok(answer.value.succeeded()),
        Ok(answer) => Ok(is_made(ordered, answer.value.op_responses())),
        // etcd reports this also for the change that has filled it, and which was made.
        Err(full @ StoreError::Full(_)) => {
            let look = members
                .call(|mut client, _| {
                    let looks = looks();
                    async move { client.txn(Txn::new().and_then(looks)).await }
                })
                .await?;
            match is_made(ordered, look.value.op_responses()) {
                true => Ok(true),
                false => Err(full),
            }
        }
        Err(error) => Err(error),
    }
}

/// Whether all keys have the intended values.
fn is_made(ordered: &Ordered, there: Vec<TxnOpResponse>) -> bool {
    let there = there.into_iter().map(entry);
    let mut pairs = ordered.changes.iter().zip(there);
    pairs.all(|(wanted, there)| wanted.value == there.map(|entry| entry.value))
}

fn entry(response: TxnOpResponse) -> Option<Entry> {
    let TxnOpResponse::Get(mut response) = response else {
        return None;
    };
    let found = response.take_kvs().into_iter().next()?;
    Some(Entry {
        revision: number(found.mod_revision()),
        value: found.into_key_value().1,
    })
}

/// Revisions begin with 1 and grow.
fn number(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or_default()
}
