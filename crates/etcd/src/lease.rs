//! The lease of this process: keys that are attached to it exist as long as the process lives.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use etcd_client::{Compare, Error, PutOptions, Txn, TxnOp};
use rekindle_vault::shared::StoreError;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::members::Members;

/// How often a lease is renewed before it would end.
const RENEWALS: u32 = 3;

/// The kept key, and its lease.
pub(crate) struct Lease {
    members: Arc<Members>,
    time: Duration,
    kept: Mutex<Option<Kept>>,
    /// For the log, which reports a lost lease once.
    losses: AtomicU64,
}

struct Kept {
    /// Its id in etcd.
    lease: i64,
    keys: Vec<Key>,
    /// Renews it.
    task: JoinHandle<()>,
}

struct Key {
    key: Vec<u8>,
    value: Vec<u8>,
    fence: Vec<Compare>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Lease {
    pub(crate) fn new(members: Arc<Members>, time: Duration) -> Arc<Self> {
        Arc::new(Self {
            members,
            time,
            kept: Mutex::new(None),
            losses: AtomicU64::new(0),
        })
    }

    /// Puts a key under this process's lease, which is created if there is none. Returns whether
    /// the fence held; if not, nothing is kept any more.
    pub(crate) async fn keep(
        self: Arc<Self>,
        key: Vec<u8>,
        value: Vec<u8>,
        fence: Vec<Compare>,
    ) -> Result<bool, StoreError> {
        let mut slot = self.kept.lock().await;
        let kept = match &mut *slot {
            Some(kept) => kept,
            none => {
                let lease = self.grant().await?;
                let task = tokio::spawn(renew(Arc::downgrade(&self), self.time / RENEWALS));
                none.insert(Kept {
                    lease,
                    keys: Vec::new(),
                    task,
                })
            }
        };
        kept.keys.retain(|one| one.key != key);
        let key = Key { key, value, fence };
        let put = self.put(kept.lease, &key).await;
        // Also where etcd gave no answer: it may have it, and has it with the next renewal.
        kept.keys.push(key);
        let held = match put? {
            Put::Done => true,
            Put::Fenced => false,
            Put::NoLease => self.put_again(kept).await?,
        };
        if !held {
            *slot = None;
        }
        Ok(held)
    }

    /// Removes one key, and keeps the others.
    pub(crate) async fn release(&self, key: Vec<u8>) -> Result<(), StoreError> {
        if let Some(kept) = &mut *self.kept.lock().await {
            kept.keys.retain(|one| one.key != key);
        }
        let removed = self
            .members
            .call(|mut client, _| {
                let key = key.clone();
                async move { client.delete(key, None).await }
            })
            .await;
        removed.map(|_| ())
    }

    /// Revokes the lease, which removes the kept key.
    pub(crate) async fn let_go(&self) -> Result<(), StoreError> {
        let Some(kept) = self.kept.lock().await.take() else {
            return Ok(());
        };
        let lease = kept.lease;
        drop(kept);
        let revoked = self
            .members
            .call(|mut client, _| async move { absent_is_fine(client.lease_revoke(lease).await) })
            .await;
        revoked.map(|_| ())
    }

    async fn grant(&self) -> Result<i64, StoreError> {
        let seconds = i64::try_from(self.time.as_secs()).unwrap_or(i64::MAX);
        let granted = self
            .members
            .call(|mut client, _| async move { client.lease_grant(seconds, None).await })
            .await?;
        Ok(granted.value.id())
    }

    async fn put(&self, lease: i64, key: &Key) -> Result<Put, StoreError> {
        let put = self
            .members
            .call(|mut client, _| {
                let options = PutOptions::new().with_lease(lease);
                let change = TxnOp::put(key.key.clone(), key.value.clone(), Some(options));
                let transaction = Txn::new().when(key.fence.clone()).and_then([change]);
                async move {
                    match client.txn(transaction).await {
                        Ok(done) if done.succeeded() => Ok(Put::Done),
                        Ok(_) => Ok(Put::Fenced),
                        Err(error) if is_no_lease(&error) => Ok(Put::NoLease),
                        Err(error) => Err(error),
                    }
                }
            })
            .await?;
        Ok(put.value)
    }

    /// Renews the lease; where etcd has lost it, creates a new one and puts the keys again. Returns
    /// whether it has to be renewed further.
    async fn renew(&self) -> bool {
        let mut slot = self.kept.lock().await;
        let Some(kept) = &mut *slot else {
            return false;
        };
        let lease = kept.lease;
        let renewed = self
            .members
            .call(|mut client, _| async move {
                match client.lease_keep_alive(lease).await {
                    Ok(_) => Ok(true),
                    Err(Error::LeaseKeepAliveError(_)) => Ok(false),
                    Err(error) if is_no_lease(&error) => Ok(false),
                    Err(error) => Err(error),
                }
            })
            .await;
        let again = match renewed {
            Ok(answer) if answer.value => {
                self.losses.store(0, Ordering::Relaxed);
                return true;
            }
            Ok(_) => self.put_again(kept).await,
            Err(error) => Err(error),
        };
        match again {
            Ok(true) => tracing::warn!(
                "etcd had taken this node for dead, and has it among those that are alive again"
            ),
            Ok(false) => {
                tracing::error!(
                    "another process has taken this node's place in etcd: this one can change \
                     nothing there any more"
                );
                *slot = None;
                return false;
            }
            Err(error) if self.losses.fetch_add(1, Ordering::Relaxed) == 0 => tracing::warn!(
                %error,
                "etcd cannot be told that this node is alive: others will take it for dead"
            ),
            Err(_) => {}
        }
        true
    }

    async fn put_again(&self, kept: &mut Kept) -> Result<bool, StoreError> {
        kept.lease = self.grant().await?;
        for key in &kept.keys {
            match self.put(kept.lease, key).await? {
                Put::Done => {}
                Put::Fenced => return Ok(false),
                Put::NoLease => {
                    return Err(StoreError::Unavailable("etcd loses its leases".into()));
                }
            }
        }
        Ok(true)
    }
}

/// The result of putting a key.
enum Put {
    Done,
    /// Its condition does not hold.
    Fenced,
    /// The lease has ended.
    NoLease,
}

/// Runs until nothing is kept any more.
async fn renew(lease: Weak<Lease>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let Some(lease) = lease.upgrade() else {
            return;
        };
        if !lease.renew().await {
            return;
        }
    }
}

fn is_no_lease(error: &Error) -> bool {
    matches!(error, Error::GRpcStatus(status) if status.message().contains("lease not found"))
}

fn absent_is_fine<T>(result: Result<T, Error>) -> Result<(), Error> {
    match result {
        Err(error) if !is_no_lease(&error) => Err(error),
        _ => Ok(()),
    }
}
