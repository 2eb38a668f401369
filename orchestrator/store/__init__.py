"""The store: create-only objects that are the truth, and tables derived from them."""

from orchestrator.store.objects import LocalObjects, ObjectExists, ObjectMissing, Objects, open_objects
from orchestrator.store.store import Contents, Document, Store

__all__ = ["Contents", "Document", "LocalObjects", "ObjectExists", "ObjectMissing", "Objects", "Store", "open_objects"]
