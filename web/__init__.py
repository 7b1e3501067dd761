"""The HTTP front: decodes, authorizes, asks one actor (or reads), encodes."""
