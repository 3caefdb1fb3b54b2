"""The worker: runs handlers. Order, transactions, idempotency, retries, and the `Context` that handlers see."""
