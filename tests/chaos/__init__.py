"""Proof under faults: real processes and official clients, random faults, and a checker of every journal."""
