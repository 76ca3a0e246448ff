"""A WebSub subscriber that nobody here wrote (Flask-WebSub), as a program: `python subscriber.py FOLDER signed|plain`.

Reads commands from stdin, a word and its argument: `subscribe URL` (of a feed, whose hub and self link it finds by
itself), `renew ID`, `unsubscribe ID`. Says on stdout what happens to it, a JSON list a line: ids of its subscriptions,
verified modes, what was delivered, errors. Used by test_websub.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import flask
import flask_websub.subscriber as websub
from werkzeug.serving import make_server

_lock = threading.Lock()


def say(*what: str) -> None:
    with _lock:
        print(json.dumps(what), flush=True)


def main(folder: Path, *, signed: bool) -> None:
    if signed:  # its rule is to send secrets to https alone; here all of it stays on this machine
        websub.is_secure = lambda url: True
    app = flask.Flask("subscriber")
    subscriber = websub.Subscriber(
        websub.SQLite3SubscriberStorage(str(folder / "subscriptions.sqlite")),
        websub.SQLite3TempSubscriberStorage(str(folder / "requests.sqlite")),
    )
    subscriber.add_success_handler(lambda topic, key, mode: say("verified", key, mode, topic))
    subscriber.add_error_handler(lambda topic, key, reason: say("denied", key, reason, topic))
    subscriber.add_listener(lambda topic, key, body: say("delivered", key, topic, body.decode()))
    app.register_blueprint(subscriber.build_blueprint(url_prefix="/callbacks"))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    app.config["SERVER_NAME"] = f"127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for line in sys.stdin:
        verb, _, argument = line.strip().partition(" ")
        with app.app_context():
            try:
                if verb == "subscribe":
                    found = websub.discover(argument)
                    say("found", found["hub_url"], found["topic_url"])
                    say("asked", subscriber.subscribe(**found))
                elif verb == "renew":
                    say("asked", subscriber.renew(argument))
                else:
                    subscriber.unsubscribe(argument)
                    say("asked", argument)
            except Exception as error:
                say("failed", repr(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]), signed=sys.argv[2] == "signed")
