from owners import feeds
from owners.management.feed import CODES, FeedCommand


class Command(FeedCommand):
    help = (
        "Set the owners of accounts from a CSV file with the columns instance, account, owner, kind, note and ticket: "
        f"{CODES}"
    )

    def plan(self, text: str) -> feeds.Plan:
        return feeds.read_owners(text, None)
