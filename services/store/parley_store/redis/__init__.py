"""The store over Redis: one server, Sentinel or Cluster."""
