"""The commands beside the jobs, one a file."""
