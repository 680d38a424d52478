"""What a run records, how it is written while it happens, and how it is read back."""
