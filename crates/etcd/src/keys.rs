//! The vault's names and etcd's keys.

use etcd_client::{Compare, CompareOp, TxnOp};
use rekindle_vault::shared::{Change, Condition, Transaction};

/// The prefix of all keys. Ends in a slash.
#[derive(Clone, Debug)]
pub(crate) struct Prefix(pub(crate) String);

impl Prefix {
    pub(crate) fn key(&self, name: &str) -> Vec<u8> {
        format!("{}{name}", self.0).into_bytes()
    }

    /// The common prefix of all keys of a folder; with an empty name, of all keys of the vault.
    pub(crate) fn folder(&self, name: &str) -> Vec<u8> {
        match name {
            "" => self.0.clone().into_bytes(),
            name => format!("{}{name}/", self.0).into_bytes(),
        }
    }

    fn compare(&self, condition: &Condition<'_>) -> Compare {
        match *condition {
            Condition::Is(key, value) => Compare::value(self.key(key), CompareOp::Equal, value),
            Condition::Unchanged(key, revision) => {
                // Revisions come from etcd, which uses this type.
                let revision = i64::try_from(revision).unwrap_or(i64::MAX);
                Compare::mod_revision(self.key(key), CompareOp::Equal, revision)
            }
        }
    }
}

/// A change that owns its data.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub key: Vec<u8>,
    /// `None`: the key is to be removed.
    pub value: Option<Vec<u8>>,
}

/// A transaction that owns its data.
#[derive(Clone, Debug)]
pub(crate) struct Ordered {
    pub conditions: Vec<Compare>,
    pub changes: Vec<Wanted>,
}

impl Ordered {
    pub(crate) fn new(prefix: &Prefix, transaction: &Transaction<'_>) -> Self {
        let wanted = |change: &Change<'_>| match *change {
            Change::Put(key, value) => Wanted {
                key: prefix.key(key),
                value: Some(value.to_vec()),
            },
            Change::Remove(key) => Wanted {
                key: prefix.key(key),
                value: None,
            },
        };
        Self {
            conditions: conditions(prefix, transaction.conditions),
            changes: transaction.changes.iter().map(wanted).collect(),
        }
    }

    pub(crate) fn operations(&self) -> Vec<TxnOp> {
        let operation = |change: &Wanted| match &change.value {
            Some(value) => TxnOp::put(change.key.clone(), value.clone(), None),
            None => TxnOp::delete(change.key.clone(), None),
        };
        self.changes.iter().map(operation).collect()
    }
}

pub(crate) fn conditions(prefix: &Prefix, conditions: &[Condition<'_>]) -> Vec<Compare> {
    conditions.iter().map(|one| prefix.compare(one)).collect()
}
