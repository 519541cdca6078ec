"""Labs of real etcd, Patroni and PostgreSQL on this machine."""
