"""What admin pages are made of. Knows no app."""
