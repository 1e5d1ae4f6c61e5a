//! The lease of this process: a key that is attached to it exists as long as the process lives.

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
    key: Vec<u8>,
    value: Vec<u8>,
    fence: Vec<Compare>,
    /// The task that renews it.
    task: JoinHandle<()>,
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
    /// the fence held.
    pub(crate) async fn keep(
        self: Arc<Self>,
        key: Vec<u8>,
        value: Vec<u8>,
        fence: Vec<Compare>,
    ) -> Result<bool, StoreError> {
        let mut kept = self.kept.lock().await;
        let mut lease = match &*kept {
            Some(kept) => kept.lease,
            None => self.grant().await?,
        };
        let held = match self.put(lease, &key, &value, &fence).await? {
            Put::NoLease => {
                lease = self.grant().await?;
                self.put(lease, &key, &value, &fence).await?
            }
            put => put,
        };
        let task = tokio::spawn(renew(Arc::downgrade(&self), self.time / RENEWALS));
        *kept = Some(Kept {
            lease,
            key,
            value,
            fence,
            task,
        });
        match held {
            Put::Done => Ok(true),
            Put::NoLease => Err(StoreError::Unavailable("etcd loses its leases".into())),
            Put::Fenced => {
                *kept = None;
                Ok(false)
            }
        }
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

    async fn put(
        &self,
        lease: i64,
        key: &[u8],
        value: &[u8],
        fence: &[Compare],
    ) -> Result<Put, StoreError> {
        let put = self
            .members
            .call(|mut client, _| {
                let options = PutOptions::new().with_lease(lease);
                let change = TxnOp::put(key, value, Some(options));
                let transaction = Txn::new().when(fence).and_then([change]);
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

    /// Renews the lease; where etcd has lost it, creates a new one and puts the key again. Returns
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
        match self
            .put(kept.lease, &kept.key, &kept.value, &kept.fence)
            .await?
        {
            Put::Done => Ok(true),
            Put::Fenced => Ok(false),
            Put::NoLease => Err(StoreError::Unavailable("etcd loses its leases".into())),
        }
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
