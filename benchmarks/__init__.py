"""Measures the running product from outside and writes the table of docs/measurements.md: `python -m benchmarks`."""
