"""Calls to servers of others, by URLs that were given to us: what such a URL may lead to, and a POST that leads
nowhere else."""
