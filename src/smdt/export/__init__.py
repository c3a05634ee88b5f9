"""Models for other frameworks, derived from the torch modules and proven equal."""
