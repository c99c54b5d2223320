"""All SQL that is more than fetching a row by its id. Functions take a session first and never commit."""
