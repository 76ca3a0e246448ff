"""A small WebSub hub for this server's own feeds: subscriptions, verification, delivery. Off unless configured."""

from feedd.hub.protocol import Leases, RefusedError, hub_url
from feedd.hub.service import Hub
from feedd.hub.settings import Limits, Settings

__all__ = ["Hub", "Leases", "Limits", "RefusedError", "Settings", "hub_url"]
