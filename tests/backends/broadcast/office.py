"""The cab office: people, rides, and who hears what.

Nothing in here waits: each message is dealt with from its first line to its last, so no client
ever sees half of another's move. Its faults are described in server.py.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.legacy.protocol import broadcast
from websockets.legacy.server import WebSocketServerProtocol

FAULTS = ("two-winners", "zombie", "lost-ride", "id-reuse")
OPEN, TAKEN, ROLLING, DONE, CALLED_OFF, NOBODY, GIVEN_UP = range(7)
LIVE = (OPEN, TAKEN, ROLLING)
WRITES = ("call_cab", "never_mind", "take", "go", "done", "cant")
SHOUT_EVERY_S = 5.0
ZOMBIE_AFTER_S = 2.0
PAGE = 100

Message = dict[str, Any]


class Sorry(Exception):
    """A refusal by the rules."""


class What(Exception):
    """A message that makes no sense."""


@dataclass(eq=False)
class Person:
    id: int
    name: str
    kind: str
    socket: WebSocketServerProtocol | None = None
    ride: Ride | None = None
    refs: dict[str, Ride] = field(default_factory=dict)


@dataclass(eq=False)
class Ride:
    id: int
    ref: str
    rider: Person
    start: list[float]
    goal: list[float]
    open_until: float
    st: int = OPEN
    drivers: list[Person] = field(default_factory=list)
    meter: int | None = None
    fee: int | None = None

    def view(self, viewer: Person | None = None) -> Message:
        driver = viewer if viewer in self.drivers else next(iter(self.drivers), None)
        return {
            "id": self.id,
            "ref": self.ref,
            "st": self.st,
            "rider": self.rider.id,
            "by": driver.id if driver else None,
            "from": self.start,
            "to": self.goal,
            "fee": self.fee,
        }


def whole(message: Message, key: str, most: int = 2**53) -> int:
    value = message.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise What(f"{key} is not a whole number")
    return value


def word(message: Message, key: str) -> str:
    value = message.get(key)
    if not isinstance(value, str) or not 1 <= len(value) <= 200:
        raise What(f"{key} is not a word")
    return value


def spot(message: Message, key: str) -> list[float]:
    value = message.get(key)
    if isinstance(value, list) and len(value) == 2 and all(type(x) in (int, float) for x in value):
        if abs(value[0]) <= 90 and abs(value[1]) <= 180:
            return value
    raise What(f"{key} is not [lat, lon]")


class Office:
    """All people and rides. `tick` wants to be called some ten times a second."""

    def __init__(self, key: str, open_life: float, faults: set[str], lose_answers: int) -> None:
        self.key, self.open_life, self.faults, self.lose_answers = (
            key,
            open_life,
            faults,
            lose_answers,
        )
        self.people: dict[str, Person] = {}
        self.drivers: dict[int, Person] = {}
        self.rides: dict[int, Ride] = {}
        self.open: dict[Ride, None] = {}
        self.charges: list[Message] = []
        self.zombies: list[tuple[float, Ride]] = []
        self.last_id = 0
        self.writes = 0
        self.turns: dict[str, int] = {}
        self.shouted = 0.0

    def bites(self, fault: str, every: int) -> bool:
        if fault not in self.faults:
            return False
        self.turns[fault] = self.turns.get(fault, 0) + 1
        return self.turns[fault] % every == 0

    # Who hears what

    @staticmethod
    def tell(person: Person, message: Message) -> None:
        """An answer: twice to a driver, once to anybody else."""
        if person.socket:
            for _ in range(2 if person.kind == "driver" else 1):
                broadcast([person.socket], json.dumps(message))  # never waits

    def shout(self, ride: Ride, message: Message) -> None:
        """Tells every driver twice, and the rider."""
        text = json.dumps(message)
        sockets = [driver.socket for driver in self.drivers.values() if driver.socket]
        for _ in range(2):
            broadcast(sockets, text)
        self.tell(ride.rider, message)

    @staticmethod
    def ride_message(ride: Ride, viewer: Person | None = None) -> Message:
        return {"t": "ride", **ride.view(viewer)}

    # Hello and goodbye

    def hello(self, connection: WebSocketServerProtocol, message: Message) -> Person | str:
        """The person behind a connection, or why there is none."""
        if message.get("t") != "hello":
            raise What("say hello first")
        asked = parse_qs(urlsplit(connection.path).query).get("key", [None])[0]
        if self.key not in (asked, message.get("key")):
            return "key"
        name, kind = word(message, "name"), message.get("as")
        if kind not in ("rider", "driver", "desk"):
            raise What("as is rider, driver or desk")
        person = self.people.get(name)
        if person is None:
            person = self.people[name] = Person(len(self.people) + 1, name, kind)
        if person.kind != kind:
            return "name"
        if person.socket:
            self.tell(person, {"t": "bye", "why": "elsewhere"})
            asyncio.create_task(person.socket.close(4409))
        person.socket = connection
        if kind == "driver":
            self.drivers[person.id] = person
        live = person.ride.id if person.ride else None
        self.tell(
            person, {"t": "welcome", "you": person.id, "name": name, "as": kind, "ride": live}
        )
        for ride in self.open if kind == "driver" else ():
            self.tell(person, self.ride_message(ride))
        return person

    def goodbye(self, person: Person, connection: WebSocketServerProtocol) -> None:
        if person.socket is connection:
            person.socket = None
            self.drivers.pop(person.id, None)

    def hear(self, person: Person, text: str | bytes) -> None:
        """Deals with one message of a person who has said hello."""
        message: Any = None
        try:
            message = parse(text)
            kind = word(message, "t")
            allowed = {
                "rider": ("call_cab", "never_mind", "look", "mine"),
                "desk": ("all", "till"),
                "driver": ("take", "go", "done", "cant", "look", "mine"),
            }
            if kind not in allowed[person.kind]:
                raise What(f"a {person.kind} does not say {kind}")
            if kind in WRITES:
                self.writes += 1
                if self.lose_answers and self.writes % self.lose_answers == 0 and person.socket:
                    self.cut(person)
            getattr(self, kind)(person, message)
        except What as what:
            self.tell(person, {"t": "what", "why": str(what)})
        except Sorry as sorry:
            about = {"ref": message["ref"]} if kind == "call_cab" else {"ride": message["ride"]}
            self.tell(person, {"t": "sorry", **about, "why": str(sorry)})

    def cut(self, person: Person) -> None:
        connection = person.socket
        assert connection is not None
        self.goodbye(person, connection)
        connection.transport.abort()

    def find(self, message: Message) -> Ride:
        ride = self.rides.get(whole(message, "ride"))
        if ride is None:
            raise Sorry("unknown")
        self.settle(ride, time.monotonic())
        return ride

    # The rider

    def call_cab(self, rider: Person, message: Message) -> None:
        ref, start, goal = word(message, "ref"), spot(message, "from"), spot(message, "to")
        now = time.monotonic()
        if rider.ride:
            self.settle(rider.ride, now)
        if ref in rider.refs:
            return self.tell(rider, self.ride_message(rider.refs[ref]))
        if rider.ride:
            raise Sorry("busy")
        before = self.rides.get(self.last_id)
        if not (before and before.rider is not rider and self.bites("id-reuse", 4)):
            self.last_id += 1
        ride = Ride(self.last_id, ref, rider, start, goal, now + self.open_life)
        if self.bites("lost-ride", 5):
            return self.tell(rider, self.ride_message(ride))
        self.rides[ride.id] = rider.refs[ref] = rider.ride = ride
        self.open[ride] = None
        self.shout(ride, self.ride_message(ride))

    def never_mind(self, rider: Person, message: Message) -> None:
        ride = self.find(message)
        if ride.rider is not rider:
            raise Sorry("unknown")
        if ride.st == CALLED_OFF:
            return self.tell(rider, {"t": "off", "ride": ride.id, "st": ride.st})
        if ride.st not in (OPEN, TAKEN):
            raise Sorry("rolling" if ride.st == ROLLING else "over")
        self.finish(ride, CALLED_OFF)
        if self.bites("zombie", 2):
            self.zombies.append((time.monotonic() + ZOMBIE_AFTER_S, ride))

    def look(self, person: Person, message: Message) -> None:
        ride = self.find(message)
        if person.kind == "rider" and ride.rider is not person:
            raise Sorry("unknown")
        self.tell(person, self.ride_message(ride, person))

    def mine(self, person: Person, _: Message) -> None:
        if person.ride:
            self.settle(person.ride, time.monotonic())
        self.tell(person, {"t": "mine", "ride": person.ride.view(person) if person.ride else None})

    # The driver

    def take(self, driver: Person, message: Message) -> None:
        ride = self.find(message)
        taken = {"t": "taken", "ride": ride.id, "by": driver.id}
        if driver in ride.drivers and driver.ride is ride:
            return self.tell(driver, taken)
        if driver.ride:
            raise Sorry("busy")
        second = (
            "two-winners" in self.faults and ride.st in (TAKEN, ROLLING) and len(ride.drivers) == 1
        )
        if ride.st != OPEN and not second:
            raise Sorry("gone")
        ride.drivers.append(driver)
        driver.ride = ride
        if second:
            return self.tell(driver, taken)
        ride.st = TAKEN
        self.open.pop(ride, None)
        self.shout(ride, taken)

    def held(self, driver: Person, message: Message) -> Ride:
        ride = self.find(message)
        if driver not in ride.drivers:
            raise Sorry("not yours")
        return ride

    def go(self, driver: Person, message: Message) -> None:
        ride = self.held(driver, message)
        if ride.st not in (TAKEN, ROLLING):
            raise Sorry("over")
        rolling = {"t": "rolling", "ride": ride.id, "by": driver.id}
        if ride.st == ROLLING:
            return self.tell(driver, rolling)
        ride.st = ROLLING
        self.shout(ride, rolling)

    def done(self, driver: Person, message: Message) -> None:
        ride, meter = self.held(driver, message), whole(message, "meter", 10_000_000)
        if ride.st == ROLLING:
            ride.meter, ride.fee = meter, 300 + 20 * -(-meter // 100)
            self.charges.append({"id": len(self.charges) + 1, "ride": ride.id, "cents": ride.fee})
            return self.finish(ride, DONE, driver)
        if ride.st != DONE:
            raise Sorry("order" if ride.st == TAKEN else "over")
        self.tell(driver, self.end_message(ride, driver))

    def cant(self, driver: Person, message: Message) -> None:
        ride = self.held(driver, message)
        if ride.st == GIVEN_UP:
            return self.tell(driver, self.end_message(ride))
        if ride.st != TAKEN:
            raise Sorry("order" if ride.st == ROLLING else "over")
        self.finish(ride, GIVEN_UP)

    # The desk

    def all(self, desk: Person, message: Message) -> None:
        after, now = whole(message, "after"), time.monotonic()
        ids = sorted(ride_id for ride_id in self.rides if ride_id > after)
        for ride_id in ids[:PAGE]:
            self.settle(self.rides[ride_id], now)
        rides = [self.rides[ride_id].view() for ride_id in ids[:PAGE]]
        self.tell(desk, {"t": "all", "after": after, "rides": rides, "more": len(ids) > PAGE})

    def till(self, desk: Person, message: Message) -> None:
        after = whole(message, "after")
        page = self.charges[after : after + PAGE]
        more = len(self.charges) > after + PAGE
        self.tell(desk, {"t": "till", "after": after, "charges": page, "more": more})

    # What time does

    @staticmethod
    def end_message(ride: Ride, driver: Person | None = None) -> Message:
        if ride.st == DONE and driver:
            return {
                "t": "done",
                "ride": ride.id,
                "by": driver.id,
                "meter": ride.meter,
                "fee": ride.fee,
            }
        return {"t": "off", "ride": ride.id, "st": ride.st}

    def finish(self, ride: Ride, st: int, driver: Person | None = None) -> None:
        ride.st = st
        self.open.pop(ride, None)
        for person in (ride.rider, *ride.drivers):
            if person.ride is ride:
                person.ride = None
        self.shout(ride, self.end_message(ride, driver))

    def settle(self, ride: Ride, now: float) -> None:
        if ride.st == OPEN and now >= ride.open_until:
            self.finish(ride, NOBODY)

    def tick(self) -> None:
        now = time.monotonic()
        while self.zombies and self.zombies[0][0] <= now:
            ride = self.zombies.pop(0)[1]
            ride.st, ride.drivers, ride.open_until = OPEN, [], now + self.open_life
            self.open[ride] = None
            self.shout(ride, self.ride_message(ride))
        for ride in list(self.open):
            self.settle(ride, now)
        if now - self.shouted >= SHOUT_EVERY_S:
            self.shouted = now
            sockets = [driver.socket for driver in self.drivers.values() if driver.socket]
            for ride in self.open:
                for _ in range(2):
                    broadcast(sockets, json.dumps(self.ride_message(ride)))


def parse(text: str | bytes) -> Message:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise What("this is not JSON") from None
    if not isinstance(message, dict):
        raise What("this is not an object")
    return message
