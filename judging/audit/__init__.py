"""Measures of a judge's faults: probes, what the scores say, agreement with gold labels."""
