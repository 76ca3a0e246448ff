"""The state: what is known of files, articles and feeds. `open_store` is the way in."""

from feedd.store.outbox import Outbox, Ping, Topic, open_outbox
from feedd.store.rows import Document, Feed, FileRow, Problem, pack_ids, unpack_ids
from feedd.store.sqlite import Store, open_store

__all__ = [
    "Document", "Feed", "FileRow", "Outbox", "Ping", "Problem", "Store", "Topic", "open_outbox", "open_store",
    "pack_ids", "unpack_ids",
]
