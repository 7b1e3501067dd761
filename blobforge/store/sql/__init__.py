"""What the engines share: the verbs and questions of the contract over SQL, row by row.

An engine brings what runs a statement, how a transaction's working set is loaded and written, and its schema.
"""
