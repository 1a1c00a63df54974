"""The way to RabbitMQ: a thread that publishes events in order, again after a broken connection.

So an event may arrive twice. While the broker is away events wait; beyond QUEUE_MAX the newest
are dropped and counted. Commands never wait for the broker. Knows nothing of jobs.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from typing import Any

import pika
from pika.exceptions import AMQPError

QUEUE_MAX = 10_000
RETRY_AFTER_S = 0.5
IDLE_S = 0.05


class Bus:
    """Publishes to one topic exchange, which it declares."""

    def __init__(self, url: str, exchange: str) -> None:
        self.parameters, self.exchange = pika.URLParameters(url), exchange
        self.waiting: queue.Queue[tuple[str, str]] = queue.Queue(QUEUE_MAX)
        self.connected, self.stopping = threading.Event(), threading.Event()
        self.dropped = 0
        logging.getLogger("pika").setLevel(logging.CRITICAL)  # it tells of every retry, loudly
        self.thread = threading.Thread(target=self.run, name="bus", daemon=True)
        self.thread.start()

    def publish(self, key: str, event: dict[str, Any]) -> None:
        """Never waits."""
        try:
            self.waiting.put_nowait((key, json.dumps(event)))
        except queue.Full:
            self.dropped += 1

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join(2.0)

    def run(self) -> None:
        pending: tuple[str, str] | None = None
        while not self.stopping.is_set():
            try:
                connection = pika.BlockingConnection(self.parameters)
                channel = connection.channel()
                channel.exchange_declare(self.exchange, "topic", durable=True)
                channel.confirm_delivery()
                self.connected.set()
                while not self.stopping.is_set():
                    pending = pending or self.next()
                    if pending is None:
                        connection.process_data_events(0)  # answers heartbeats
                        continue
                    properties = pika.BasicProperties(
                        content_type="application/json", delivery_mode=1
                    )
                    channel.basic_publish(
                        self.exchange, pending[0], pending[1].encode(), properties
                    )
                    pending = None
                connection.close()
            except (AMQPError, OSError):
                time.sleep(RETRY_AFTER_S)

    def next(self) -> tuple[str, str] | None:
        try:
            return self.waiting.get(timeout=IDLE_S)
        except queue.Empty:
            return None
