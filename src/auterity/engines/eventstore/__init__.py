"""The event store, embedded: Parquet files that a manifest lists, read by in-memory DuckDB connections."""
