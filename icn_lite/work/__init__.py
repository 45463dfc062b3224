"""Pure machines: originator and executor, leases, shards, validation."""
