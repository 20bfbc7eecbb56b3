"""Answers that can be checked: parts, rules, marked results, each within a time limit."""
