"""What every service of Parley shares: the contract between them, and a little runtime."""
