"""The store on SQLite: its file, schema, connections and upkeep, and how a working set is loaded and written."""
