"""Documents: read, cleaned, deduplicated, written with their origins, turned into token shards. Never imports torch."""
