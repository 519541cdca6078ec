"""Bringing etcd back when a majority is lost: steps, journal, locks, quarantine."""
