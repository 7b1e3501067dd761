"""Benchmarks: one command a question. Numbers are for here, never for tests."""
