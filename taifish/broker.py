"""kombu's filesystem transport with atomic messages.

The original creates the file of a message before it writes the content. A worker may read an incomplete file and exit
with an error (kombu.transport.filesystem, _put and _get).
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
        # No queue's messages have such a name, so no worker reads the draft.
        draft = Path(self.data_folder_out, f".{name}")
        try:
            draft.write_text(dumps(payload), encoding="utf-8")
            draft.replace(draft.with_name(name))
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise ChannelError(f"Cannot add {name} to {self.data_folder_out}: {error.strerror}") from error


class Transport(filesystem.Transport):
    Channel = Channel
