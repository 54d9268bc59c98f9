"""What endpoints are made of. Knows no app."""
