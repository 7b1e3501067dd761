"""How state is kept: the plain types that questions and answers are made of. Each engine is a package below it."""
