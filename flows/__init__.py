"""Reads manifests, plans jobs, keeps the store, wires Prefect; the command line."""
