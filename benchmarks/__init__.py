"""Speed and memory, printed as tables: ``python -m benchmarks``. Nothing here is a test, and nothing asserts a time."""
