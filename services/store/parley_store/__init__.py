"""The store: the only service that reads and writes sessions, messages, inboxes and presence."""
