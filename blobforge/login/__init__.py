"""The server and the credential of a program that was given none: those that `blobforge login` kept, else this
machine's."""
