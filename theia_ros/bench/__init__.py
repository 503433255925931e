"""The benchmark: who gives the same numbers as the published code, and how fast."""
