"""Carries a plan out: one step at a time, under a lock, with a journal, watched by a sentinel."""
