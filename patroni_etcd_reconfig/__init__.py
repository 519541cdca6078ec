"""Changes, cycles and rescues the etcd under Patroni clusters."""

__version__ = "0.1.0"
