"""What a stream at a rate needs and costs: the model, its constants, quotas and prices."""
