-- When the charge for an attempt was given back, for its worker was in quarantine, or came into it by this attempt.
ALTER TABLE attempts ADD COLUMN given_back INTEGER;
