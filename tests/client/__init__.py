"""The client that scripts import."""
