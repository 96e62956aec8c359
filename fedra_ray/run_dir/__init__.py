"""What a run leaves on disk: records, restart points, the adapter, and who may write there."""
