"""Processes that serve HTTP and hold no state, in front of the one with the actors (ADR 0026)."""
