"""What talks to the outside: etcd, Patroni files, machines, journals."""
