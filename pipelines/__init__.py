"""What runs: options, sources, sinks, the graph, the jobs and the command line."""
