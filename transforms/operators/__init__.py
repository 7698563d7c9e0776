"""The primitive transformations, one a file, each as DLP's REST resource describes it."""
