"""What a program does that knows Toxiproxy: the published client `toxiproxy-python` against our proxy.

Called with the port of the API. Ends with 0 only if everything is as the client expects it.
"""

import socket
import sys
import threading
import time

from toxiproxy import Toxiproxy
from toxiproxy.exceptions import InvalidToxic, ProxyExists


def echo_server():
    """An upstream that says again what it is told; its address."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection):
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)

    def accept():
        while True:
            threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return "%s:%d" % listener.getsockname()


def connect(proxy):
    host, port = proxy.listen.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=30)


def exchange(connection):
    """Seconds until the echo of something is there."""
    begun = time.monotonic()
    connection.sendall(b"ping")
    got = b""
    while len(got) < 4:
        data = connection.recv(4 - len(got))
        assert data, "closed in the middle of an answer"
        got += data
    assert got == b"ping", got
    return time.monotonic() - begun


def is_cut(connection):
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


server = Toxiproxy()
server.update_api_consumer("127.0.0.1", int(sys.argv[1]))
assert server.running()
assert b"robot-city" in server.version(), server.version()
server.destroy_all()
upstream = echo_server()

proxy = server.create(name="taxi", upstream=upstream)
assert list(server.proxies()) == ["taxi"]
assert server.get_proxy("taxi").upstream == upstream
try:
    server.create(name="taxi", upstream=upstream)
    raise AssertionError("made twice")
except ProxyExists:
    pass

connection = connect(proxy)
exchange(connection)

# An open connection feels a toxic at once, and is well at once without it.
proxy.add_toxic(type="latency", attributes={"latency": 200, "jitter": 10})
toxic = proxy.get_toxic("latency_downstream")
assert (toxic.toxicity, toxic.attributes) == (1.0, {"latency": 200, "jitter": 10}), vars(toxic)
assert exchange(connection) >= 0.19
assert proxy.destroy_toxic("latency_downstream")
assert proxy.toxics() == {}
exchange(connection)

# Taken down, and up again.
with proxy.down():
    assert is_cut(connection)
    try:
        connect(proxy)
        raise AssertionError("somebody listens")
    except ConnectionRefusedError:
        pass
connection = connect(proxy)
exchange(connection)

# Each type of toxic is taken.
for kind, attributes in {
    "bandwidth": {"rate": 1000},
    "slow_close": {"delay": 10},
    "slicer": {"average_size": 64, "size_variation": 32, "delay": 10},
    "limit_data": {"bytes": 100000},
}.items():
    proxy.add_toxic(type=kind, stream="upstream", attributes=attributes)
    assert proxy.get_toxic(kind + "_upstream").attributes == attributes
exchange(connection)
proxy.add_toxic(type="reset_peer", attributes={"timeout": 0})
assert is_cut(connection)
try:
    proxy.add_toxic(type="no_such_toxic")
    raise AssertionError("it was taken")
except InvalidToxic:
    pass

# All is well after a reset.
assert server.reset()
assert proxy.toxics() == {}
connection = connect(proxy)
exchange(connection)

made = server.populate([{"name": "other", "upstream": upstream, "listen": "127.0.0.1:0"}])
assert [one.name for one in made] == ["other"]
exchange(connect(made[0]))
server.destroy_all()
assert server.proxies() == {}
print("all as the client expects")
