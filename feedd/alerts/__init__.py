"""Alerts: `look` finds what is the matter, `message` puts it into words, `ways` deliver, `service` runs it all."""

from feedd.alerts.look import Limits
from feedd.alerts.message import Sender
from feedd.alerts.service import Alerts
from feedd.alerts.ways import Answer, Command, Way, Webhook

__all__ = ["Alerts", "Answer", "Command", "Limits", "Sender", "Way", "Webhook"]
