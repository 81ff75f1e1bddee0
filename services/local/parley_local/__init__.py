"""Runs all of Parley on one machine, supervised: what `make run` starts."""
