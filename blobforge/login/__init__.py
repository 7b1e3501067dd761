"""Who a program of ours is, where nothing says so: what `blobforge login` keeps, and where; what this machine has."""
