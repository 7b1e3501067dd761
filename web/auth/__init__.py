"""From a request to its caller: API tokens, worker credentials, sign-in through a provider, sessions."""
