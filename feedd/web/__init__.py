"""The HTTP server: feeds, pages and status, in a thread of the daemon. An edge: nothing but the daemon imports it."""
