"""The store in memory: a small, plain model of what the Redis store does, for fast tests.

It forgets everything with its process and serves one store only.
"""
