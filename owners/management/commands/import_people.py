from owners import feeds
from owners.management.feed import CODES, FeedCommand


class Command(FeedCommand):
    help = f"Add or change people from a CSV file with the columns external_id, name, mail and active: {CODES}"

    def plan(self, text: str) -> feeds.Plan:
        return feeds.read_people(text)
