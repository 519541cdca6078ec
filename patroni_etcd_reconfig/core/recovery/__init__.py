"""Majority lost: what is known, what follows from it, and what must be true before Patroni is let on."""
