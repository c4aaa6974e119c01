"""A publisher with confirms and a consumer of a quorum queue, for the Python of an OpenStack image. One line of JSON for each message.

python broker_client.py publisher|consumer PASSWORD-FILE HOST…      ends with SIGTERM
"""

import contextlib
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import amqp  # type: ignore[import-not-found]  # the image has it

QUEUE = "of_the_test"
ended = False


def end(number: int, frame: object) -> None:
    global ended
    ended = True


def connected(hosts: Sequence[str], password: str, turn: int) -> tuple[Any, Any]:
    """A channel of one of the hosts, each in its turn."""
    connection = amqp.Connection(
        host=f"{hosts[turn % len(hosts)]}:5672", userid="openstack", password=password, confirm_publish=True,
        connect_timeout=5, read_timeout=10, write_timeout=10,
    )  # fmt: skip
    connection.connect()
    channel = connection.channel()
    channel.queue_declare(QUEUE, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
    return connection, channel


def note(**what: object) -> None:
    print(json.dumps(what), flush=True)


def publisher(hosts: Sequence[str], password: str) -> None:
    turn, channel, number = 0, None, 0
    while not ended:
        began, failed = time.time(), []
        while True:
            try:
                if channel is None:
                    _, channel = connected(hosts, password, turn)
                channel.basic_publish(
                    amqp.Message(str(number), delivery_mode=2), routing_key=QUEUE, timeout=10, confirm_timeout=10
                )
                break
            except Exception as error:
                failed.append(f"{type(error).__name__}: {error}"[:200])
                channel, turn = None, turn + 1
                if ended and len(failed) > 20:
                    return
                time.sleep(0.1)
        note(number=number, began=began, ended=time.time(), failed=failed)
        number += 1
        time.sleep(0.02)


def consumer(hosts: Sequence[str], password: str) -> None:
    turn = 1

    def got(message: Any) -> None:
        note(number=int(message.body), ended=time.time(), failed=[])
        message.channel.basic_ack(message.delivery_tag)

    while not ended:
        try:
            connection, channel = connected(hosts, password, turn)
            channel.basic_qos(0, 50, False)
            channel.basic_consume(QUEUE, callback=got)
            while not ended:
                with contextlib.suppress(TimeoutError):
                    connection.drain_events(timeout=1)
        except Exception as error:
            print(f"{type(error).__name__}: {error}"[:200], file=sys.stderr, flush=True)
            turn += 1
            time.sleep(0.1)


signal.signal(signal.SIGTERM, end)
{"publisher": publisher, "consumer": consumer}[sys.argv[1]](sys.argv[3:], Path(sys.argv[2]).read_text())
