"""Gathers, in parallel and under deadlines, everything that decisions are made from."""
