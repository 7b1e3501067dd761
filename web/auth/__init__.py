"""Who makes a request. API tokens and worker credentials live here; sign-in and sessions will stand beside them."""
