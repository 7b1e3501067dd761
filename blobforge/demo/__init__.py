"""`python -m blobforge.demo`: a server, two workers and a few real PDFs, on this machine, in a minute."""
