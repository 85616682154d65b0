"""Signals in, scores out: one attack per file, every score higher = more likely a member."""
