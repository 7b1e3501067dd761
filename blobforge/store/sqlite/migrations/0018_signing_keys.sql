-- What manifests are signed with, the latest last. `public_key`: 32 bytes in base64. `sealed`: the private half,
-- encrypted under a key that is made of the signing secret; one that the secret of today does not open signs no more.
CREATE TABLE signing_keys (
    public_key  TEXT    PRIMARY KEY,
    sealed      BLOB    NOT NULL,
    made_at     INTEGER NOT NULL
) STRICT;
