"""One stage a file: the pure function, the public PTransform, the private DoFn."""

import os

# ONNX Runtime (1.31) describes the machine and the process to its maker, and keeps that in the home folder, once it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
