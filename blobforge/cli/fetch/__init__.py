"""The work behind `results download`: from jobs with results to files in a folder, many side by side

    list -> sign by the five hundred -> give each its path -> fetch

`fetching.py` puts the stages together, `blobforge/resultnames.py` makes paths of names that strangers chose, and
`ledger.py` knows what a folder holds already.
"""
