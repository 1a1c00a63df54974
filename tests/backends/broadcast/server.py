#!/usr/bin/python3
"""A radio cab office: one WebSocket a client, and everybody hears everything.

Packages: python3-websockets. The office itself is in office.py.

    server.py --port 8302 [--fault NAME]... [--lose-answers N] [--until-stdin-closes]

One JSON object a text frame, its kind in "t". Ids are integers from 1 up, people and rides apart.
There are no request ids: an answer is known by its kind and its ride. There are no positions, no
sign-on and no payment step: who is connected works. "->" is the client, "<-" the server.

HELLO, within 5 s of connecting, on any path. The key may be in the message or in the address
(ws://127.0.0.1:PORT/?key=cab-key).
  -> {"t":"hello","name":"ann","as":"rider","key":"cab-key"}       as: rider, driver or desk
  <- {"t":"welcome","you":4,"name":"ann","as":"rider","ride":17}   ride: the live ride, or null
  A new name becomes a person; a known one has its number and its ride back. A second connection
  of one name ends the first: <- {"t":"bye","why":"elsewhere"}, close code 4409. A driver is told
  of all open rides next. No entry: <- {"t":"bye","why":…}, close code 4401; why: "key" (wrong
  key), "name" (it belongs to another kind), "late", or what is wrong with the message.

A RIDE {"id":17,"ref":"r-1","st":0,"rider":4,"by":null,"from":[53.34,-6.26],"to":[53.35,-6.27],
        "fee":null}                     by: the driver's number; fee: cents, once done
  st 0 open    -> 1, 4, 5               3 done
     1 taken   -> 2, 4, 6               4 called off by the rider
     2 rolling -> 3                     5 nobody came
                                        6 given up by the driver
  3 to 6 are final: when a driver gives a ride up it is over, and the rider calls another.

THE RIDER
  -> {"t":"call_cab","from":[53.34,-6.26],"to":[53.35,-6.27],"ref":"r-1"}
                                        ref: the rider's own, unique among its rides
  <- {"t":"ride","id":17,"ref":"r-1","st":0,…}      the same ref again: that ride, as it is now
  <- {"t":"sorry","ref":"r-1","why":"busy"}         there is a live ride
  -> {"t":"never_mind","ride":17}                   in st 0 and 1
  <- {"t":"off","ride":17,"st":4}                   again: off again
  <- {"t":"sorry","ride":17,"why":"rolling"}        or "over", "unknown"
  -> {"t":"look","ride":17}                         own rides (a driver: any ride)
  <- {"t":"ride","id":17,…}                         a ride, as above
  <- {"t":"sorry","ride":17,"why":"unknown"}

THE DRIVER
  -> {"t":"take","ride":17}                         one at a time
  <- {"t":"taken","ride":17,"by":4}                 look whether it is you!
  <- {"t":"sorry","ride":17,"why":"gone"}           or "busy" (has a ride), "unknown"
  -> {"t":"go","ride":17}                           the rider is in
  <- {"t":"rolling","ride":17,"by":4}
  -> {"t":"done","ride":17,"meter":1250}            meter: metres driven, a whole number
  <- {"t":"done","ride":17,"by":4,"meter":1250,"fee":560}
  -> {"t":"cant","ride":17}                         in st 1
  <- {"t":"off","ride":17,"st":6}
  go, done, cant: <- {"t":"sorry","ride":17,"why":"not yours"} or "order", "over", "unknown".
  A step that was made already is answered as done.

BOTH
  -> {"t":"mine"}
  <- {"t":"mine","ride":{…}}                        the live ride (st 0 to 2), or null

WHO HEARS WHAT: ride (when called), taken, rolling, done and off go to EVERY driver, each message
twice, and once to the rider of the ride. Every open ride is told to all drivers again (twice)
every 5 s. Answers that change nothing (look, mine, repeats) and every sorry go to the one who
asked only: once to a rider or the desk, twice to a driver.

THE DESK
  -> {"t":"all","after":0}    <- {"t":"all","after":0,"rides":[{…},…],"more":true}
  -> {"t":"till","after":0}   <- {"t":"till","after":0,"charges":[{"id":1,"ride":17,"cents":560}],
                                  "more":false}
  At most 100, by id. The desk hears nothing else.

Anything malformed: <- {"t":"what","why":"…"}. Frames of 64 KiB at most.

TIMES: a ride is open for 45 s. The server pings every 20 s and gives up on a client that does not
answer for 20 s. Rides outlive connections; refs are kept for good. The fee is charged when the
ride is done: 300 + 20 for every 100 m begun. Nothing is charged for a ride that was called off.

FAULTS (--fault NAME, repeatable)
  two-winners  a ride that is taken can be taken by one more driver; only that one hears of it;
               both are shown as `by` to themselves, and both can go
  zombie       every second ride that its rider called off is open again 2 s later
  lost-ride    every fifth ride is answered with its id and is nowhere afterwards
  id-reuse     every fourth ride gets the id of the one before it, if that is another rider's
Not a fault, and nothing that a law may find: --lose-answers N cuts the connection, after the
effect, instead of answering every Nth call_cab, never_mind, take, go, done or cant; the others
still hear of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
import threading

from websockets.exceptions import ConnectionClosed
from websockets.legacy.server import WebSocketServerProtocol, serve as listen

from office import FAULTS, Office, Person, What, parse

HELLO_LIMIT_S = 5.0


async def client(office: Office, connection: WebSocketServerProtocol) -> None:
    """One connection, from its hello to its end."""
    person: Person | str
    try:
        first = parse(await asyncio.wait_for(connection.recv(), HELLO_LIMIT_S))
        person = office.hello(connection, first)
    except asyncio.TimeoutError:
        person = "late"
    except What as what:
        person = str(what)
    except ConnectionClosed:
        return
    if isinstance(person, str):
        try:
            await connection.send(json.dumps({"t": "bye", "why": person}))
            await connection.close(4401)
        except ConnectionClosed:
            pass
        return
    try:
        async for text in connection:
            if person.socket is connection:
                office.hear(person, text)
    except ConnectionClosed:
        pass
    finally:
        office.goodbye(person, connection)


async def serve(options: argparse.Namespace) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.until_stdin_closes:

        def watch() -> None:
            while os.read(sys.stdin.fileno(), 1024):
                pass
            loop.call_soon_threadsafe(stop.set)

        threading.Thread(target=watch, daemon=True).start()
    office = Office(options.key, options.open_life, set(options.fault), options.lose_answers)
    listener = socket.create_server(("127.0.0.1", options.port), backlog=1024)

    async def handle(connection: WebSocketServerProtocol) -> None:
        await client(office, connection)

    async with listen(handle, sock=listener, compression=None, max_size=65536, close_timeout=1):
        print(f"ready ws://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        while not stop.is_set():
            office.tick()
            try:
                await asyncio.wait_for(stop.wait(), 0.1)
            except asyncio.TimeoutError:
                pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0: a free one, which is printed")
    parser.add_argument("--fault", action="append", default=[], choices=FAULTS)
    parser.add_argument(
        "--lose-answers",
        type=int,
        default=0,
        metavar="N",
        help="lose the answer of every Nth write",
    )
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when stdin closes")
    parser.add_argument("--key", default="cab-key")
    parser.add_argument("--open-life", type=float, default=45.0, metavar="SECONDS")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
