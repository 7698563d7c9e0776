"""How rows stand in files: JSON lines, CSV with a header, Avro, Parquet. One format a file."""
