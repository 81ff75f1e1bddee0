"""Fuzzing: inputs that no honest client sends, at every door, while an honest client must notice nothing."""
