"""Data sets that are decoded and resized once, into Parquet shards with a manifest."""
