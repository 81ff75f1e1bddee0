"""The operator: scales and drains the gateways by their connections."""
