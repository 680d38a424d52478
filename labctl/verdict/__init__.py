"""Expectations held against the evidence, and why a program saw what it saw. Pure."""
