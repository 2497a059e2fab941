//! A small etcd v3 client with just the calls that a rewind needs.
//!
//! The messages are written by hand (`messages`), so that building kina needs no `protoc`; field numbers follow
//! `etcdserverpb/rpc.proto` and `mvccpb/kv.proto` of etcd's API. Every call has a deadline.

mod client;
pub mod messages;
mod packed;

pub use client::EtcdError;
pub use client::TRANSACTION_KEYS_MAX;
pub use client::{EtcdClient, KeyListing, StoredKey, WriteOperation};
pub use packed::{PackedKeys, PackedState};

/// etcd's limit on the operations of one transaction (`--max-txn-ops`), raised from 128 so that a usual rewind fits in
/// one.
pub const TRANSACTION_OPERATIONS_MAX: usize = 1024;
/// etcd's limit on the size of one request (`--max-request-bytes`), raised from 1.5 MB.
pub const REQUEST_BYTES_MAX: usize = 16 << 20;
