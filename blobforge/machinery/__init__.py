"""Parts that know no job: the clock, threads, the log, numbers about ourselves, the data folder."""
