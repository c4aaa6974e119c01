"""What services of OpenStack do over RabbitMQ: a server of remote procedures, and a client that calls whichever server answers, by oslo.messaging. One
line of JSON for each call. For the Python of an OpenStack image.

python talk.py server|client OSLO-CONFIGURATION      ends with SIGTERM, after what it is at
"""

import json
import signal
import sys
import threading
import time
from pathlib import Path

import oslo_messaging  # type: ignore[import-not-found]  # the image has it
from oslo_config import cfg  # type: ignore[import-not-found]  # and this

READY = Path("/tmp/ready")
TOPIC = "talk"

ended = threading.Event()


class Endpoint:
    """What can be called."""

    def double(self, context: dict[str, str], number: int) -> int:
        """Some work, so that calls are under way whenever something happens."""
        time.sleep(0.02)
        return 2 * number


def serve(transport: object) -> None:
    """Answer until it is told to end, and what was taken up by then."""
    target = oslo_messaging.Target(topic=TOPIC, server=f"server-{sys.argv[3]}")
    server = oslo_messaging.get_rpc_server(transport, target, [Endpoint()], executor="threading")
    server.start()
    READY.touch()
    ended.wait()
    server.stop()
    server.wait()


def call(transport: object) -> None:
    """Call one time after the other."""
    client = oslo_messaging.get_rpc_client(transport, oslo_messaging.Target(topic=TOPIC), timeout=20)
    number = 0
    READY.touch()
    while not ended.is_set():
        began, failed = time.time(), ""
        try:
            if client.call({}, "double", number=number) != 2 * number:
                failed = "another answer"
        except Exception as error:
            failed = f"{type(error).__name__}: {error}"[:200]
        row = {"host": sys.argv[3], "number": number, "began": began, "ended": time.time(), "failed": failed}
        print(json.dumps(row), flush=True)
        number += 1
        ended.wait(0.05)


READY.unlink(missing_ok=True)
signal.signal(signal.SIGTERM, lambda *_: ended.set())
cfg.CONF(["--config-file", sys.argv[2]])
transport = oslo_messaging.get_rpc_transport(cfg.CONF)
{"server": serve, "client": call}[sys.argv[1]](transport)
transport.cleanup()
