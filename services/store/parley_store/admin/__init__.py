"""The administrators' API, on the internal port: its addresses, its description, and how they are served."""
