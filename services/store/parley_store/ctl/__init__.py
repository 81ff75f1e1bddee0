"""parleyctl: the administrators' API from the command line. It needs nothing but Python."""
