"""Building blocks of admin pages. Imports no app."""
