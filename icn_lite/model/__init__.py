"""Values on the wire: identifiers, deterministic CBOR, signatures, jobs, bids, receipts, messages, errors."""
