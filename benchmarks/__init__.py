"""Speed and memory, measured side by side in one run. Nothing here is asserted; the ratios are what counts."""
