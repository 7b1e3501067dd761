"""The work behind `results download`: from jobs with results to files in a folder, many side by side

    list -> sign by the five hundred -> give each its path -> fetch

`fetching.py` puts the stages together, `names.py` makes paths of names that strangers chose, `ledger.py` knows what a
folder holds already.
"""
