"""What the data is: contracts, privacy classes, and the Arrow, Avro and BigQuery types that follow from them."""
