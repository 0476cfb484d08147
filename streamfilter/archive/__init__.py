"""Archives of alerts to Parquet: tasks, workers, files, a ledger, an audit."""
