"""The language: YAML with its positions, held against the model, and checked against a lab."""
