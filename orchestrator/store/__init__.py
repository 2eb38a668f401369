"""The store: create-only objects that are the truth, and tables derived from them."""

from orchestrator.store.objects import ObjectExists, ObjectMissing, Objects, open_objects
from orchestrator.store.store import Document, Store

__all__ = [
    "Document",
    "ObjectExists",
    "ObjectMissing",
    "Objects",
    "Store",
    "open_objects",
]
