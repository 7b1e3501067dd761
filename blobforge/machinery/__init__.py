"""What knows no job: the clock, threads, the log, numbers about ourselves, the data folder."""
