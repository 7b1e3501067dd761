-- What manifests are signed with, the latest last. `public_key`: 32 bytes in base64. `sealed`: the private half,
-- encrypted under a key that is made of the signing secret; one that the secret of today does not open signs no more.
CREATE TABLE signing_keys (
    public_key  TEXT   COLLATE "C" PRIMARY KEY,
    sealed      BYTEA  NOT NULL,
    made_at     BIGINT NOT NULL
);
