"""Parley on a real cluster: whichever one KUBECONFIG names (`make e2e`)."""
