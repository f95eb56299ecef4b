//! What can go wrong with the store.

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The write may or may not have happened; every write may be repeated.
    #[error("the store can't be reached: {reason}")]
    Unavailable { reason: String },
    #[error(
        "the store has no schema yet, or an older one ({found}, wanted {wanted}): run `millstream store migrate`, or set `create = true` under [store]"
    )]
    Schema { found: u32, wanted: u32 },
    #[error("the store is damaged: {reason}")]
    Corrupt { reason: String },
    #[error("a value of {bytes} bytes is over the store's limit of {limit} bytes")]
    TooLarge { bytes: usize, limit: usize },
    #[error("that cursor was not made by this list")]
    BadCursor,
    #[error("the store is closed")]
    Closed,
}
