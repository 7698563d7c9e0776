"""One stage a file: the pure function, the public PTransform, the private DoFn."""
