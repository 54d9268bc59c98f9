"""kombu's filesystem transport, with messages that appear whole.

As it is, a message is a file that is made first and filled then; a worker that looks in between takes half of it away,
and ends over what it cannot read (kombu.transport.filesystem, _put and _get).
"""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    def _put(self, queue: str, payload: Any, **kwargs: Any) -> None:
        """Store `payload` as a message of `queue`. Raises ChannelError."""
        name = f"{time.monotonic_ns() // 1_000_000}_{uuid.uuid4()}.{queue}.msg"
        # What follows the first dot is no queue's, so that nobody takes it for a message.
        draft = Path(self.data_folder_out, f".{name}")
        try:
            draft.write_text(dumps(payload), encoding="utf-8")
            draft.replace(draft.with_name(name))
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise ChannelError(f"Cannot add {name} to {self.data_folder_out}: {error.strerror}") from error


class Transport(filesystem.Transport):
    Channel = Channel
