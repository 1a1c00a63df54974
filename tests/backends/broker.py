#!/usr/bin/python3
"""A RabbitMQ broker for tests: own node, own ports, own folder, loopback only.

    broker.py [--port N] [--until-stdin-closes]      prints: ready amqp://127.0.0.1:PORT/%2f

Needs the package rabbitmq-server, not its service. It ends on SIGTERM, SIGINT and, where asked, when
stdin closes; then its folder (in the temporary directory) is removed.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
START_LIMIT_S = 90.0
STOP_LIMIT_S = 20.0


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def environment(folder: Path, amqp: int, epmd: int, dist: int) -> dict[str, str]:
    (folder / "plugins").write_text("[].\n")
    (folder / "env.conf").write_text("")
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "RABBITMQ_NODENAME": f"robots{amqp}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(amqp),
        "RABBITMQ_DIST_PORT": str(dist),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_PORT": str(epmd),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }


def speaks(port: int) -> bool:
    """Whether something answers AMQP there."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0) as connection:
            connection.settimeout(2.0)
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return bool(connection.recv(1))
    except OSError:
        return False


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process with all its children (it leads a group of its own)."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(STOP_LIMIT_S)
            return
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass


def run(port: int, stop: threading.Event) -> str | None:
    """Holds a broker until told to stop; returns what went wrong."""
    spare, epmd_port, dist = free_ports(3)
    amqp = port or spare
    with tempfile.TemporaryDirectory(prefix="robots-broker-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        env = environment(folder, amqp, epmd_port, dist)
        with open(folder / "out", "wb") as out:
            quiet: dict[str, Any] = {
                "stdin": subprocess.DEVNULL,
                "stdout": out,
                "stderr": out,
                "env": env,
            }
            epmd = subprocess.Popen(["epmd"], start_new_session=True, **quiet)
            server = subprocess.Popen([SERVER], start_new_session=True, **quiet)
            try:
                give_up = time.monotonic() + START_LIMIT_S
                while not speaks(amqp):
                    if server.poll() is not None or time.monotonic() > give_up:
                        return (folder / "out").read_text(errors="replace")[-2000:]
                    if stop.wait(0.2):
                        return None
                print(f"ready amqp://127.0.0.1:{amqp}/%2f", flush=True)
                while not stop.wait(0.5):
                    if server.poll() is not None:
                        return "the broker ended by itself"
                return None
            finally:
                end(server)
                end(epmd)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0: a free one, which is printed")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when stdin closes")
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if options.until_stdin_closes:

        def watch() -> None:
            while os.read(sys.stdin.fileno(), 1024):
                pass
            stop.set()

        threading.Thread(target=watch, daemon=True).start()
    sys.exit(run(options.port, stop))


if __name__ == "__main__":
    main()
