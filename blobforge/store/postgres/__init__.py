"""The store on PostgreSQL and nothing but PostgreSQL, for any number of equal servers.

Nothing outside this package runs SQL on it.
"""
