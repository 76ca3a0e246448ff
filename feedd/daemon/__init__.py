"""The background service: `life` builds its parts and stops them, `work` is the loop that publishes."""
