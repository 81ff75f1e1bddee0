"""What the integration tests share: real processes, real clients, and waiting without sleeping."""
