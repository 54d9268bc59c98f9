"""What queued work is made of: sending tasks on commit, leases, requests to other services, and finding what makes a
batch fail. Knows no app."""
