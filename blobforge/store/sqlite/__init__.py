"""The store on SQLite and nothing but SQLite: schema, every statement, the write side and the read side.

Nothing outside this package runs SQL.
"""
