#!/usr/bin/python3
"""Starts each server, walks one job through, races a few, and looks whether each fault bites.

    check.py [envelope] [broadcast] [events]      (none named: all three)

Prints one line a check, ends with 1 at the first that fails. Needs what the servers need.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import itertools
import json
import select
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pika
import socketio
from websockets.legacy.client import connect

HERE = Path(__file__).resolve().parent
HERE_NOW = {"lat": "53.3400", "lng": "-6.2600"}
THERE = {"lat": "53.3500", "lng": "-6.2700"}
PATIENCE_S = 10.0
SERIAL = itertools.count(1)


@contextmanager
def started(script: str, *options: str, limit_s: float = 100.0) -> Iterator[str]:
    """A server for as long as the block lasts; gives its address."""
    command = [sys.executable, str(HERE / script), "--port", "0", "--until-stdin-closes", *options]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        try:
            assert select.select([process.stdout], [], [], limit_s)[0], f"{script} does not start"
            line = process.stdout.readline().split()
            assert line[:1] == ["ready"], f"{script} said {line}"
            yield line[1]
        finally:
            process.stdin.close()
            assert process.wait(60) == 0, f"{script} ended with {process.returncode}"


def http_call(
    base: str, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, Any]:
    """One request: status and body. A lost answer is sent for again."""
    names = {key.replace("_", "-"): value for key, value in headers.items()}
    text = None if body is None else json.dumps(body)
    while True:
        connection = http.client.HTTPConnection(base.removeprefix("http://"), timeout=10)
        try:
            connection.request(method, path, text, names)
            response = connection.getresponse()
            data = response.read()
            return response.status, json.loads(data) if data else None
        except (http.client.RemoteDisconnected, ConnectionResetError):
            continue
        finally:
            connection.close()


def until(what: str, probe: Callable[[], Any]) -> Any:
    """What a probe gives, once it gives something."""
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        if found := probe():
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited in vain: {what}")


def say(line: str) -> None:
    print(f"ok  {line}", flush=True)


# envelope


class Rider:
    """A user of the envelope server, driver or passenger."""

    def __init__(self, base: str, role: str, place: dict[str, str] = HERE_NOW) -> None:
        self.base, n = base, next(SERIAL)
        self.login = {"phone": f"+353{n:09d}", "password": "secret!"}
        plate = {"plate": f"231-D-{n}"} if role == "driver" else {}
        status, reply = self.raw(
            "POST", "/v2/auth/register", {"role": role, "name": "x", **plate, **self.login}
        )
        assert status == 201, reply
        self.id = reply["data"]["user_id"]
        self.session = self.raw("POST", "/v2/auth/login", self.login)[1]["data"]
        if role == "driver":
            assert self.call("POST", "/v2/drivers/me/online")[0] == 403
            self.raw("POST", f"/v2/admin/drivers/{self.id}/approve", X_Admin_Key="operator-key")
            self.ok("POST", "/v2/drivers/me/locations", [THERE, place])
            self.ok("POST", "/v2/drivers/me/online")

    def raw(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        return http_call(self.base, method, path, body, **headers)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        bearer = f"Bearer {self.session['access_token']}"
        return self.raw(method, path, body, Authorization=bearer, **headers)

    def ok(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        status, reply = self.call(method, path, body, **headers)
        assert reply["success"], (method, path, status, reply)
        return reply["data"]

    def ride(self, key: str = "one") -> str:
        body = {"pickup": HERE_NOW, "dropoff": THERE}
        return str(self.ok("POST", "/v2/rides", body, Idempotency_Key=key)["ride_id"])

    def candidate(self, ride: str) -> str:
        return str(
            until("candidate", lambda: self.ok("GET", f"/v2/rides/{ride}")["candidate_driver_id"])
        )

    def rides(self, what: str = "rides") -> list[Any]:
        rows: list[Any] = []
        cursor = ""
        while True:
            path = f"/v2/admin/{what}?limit=2{cursor}"
            data = self.raw("GET", path, X_Admin_Key="operator-key")[1]["data"]
            rows += data[what]
            if data["next_cursor"] is None:
                return rows
            cursor = f"&cursor={data['next_cursor']}"


def envelope_walk(base: str) -> tuple[Rider, Rider, str]:
    driver, rider = Rider(base, "driver"), Rider(base, "passenger")
    ride = rider.ride()
    assert rider.ride() == ride and rider.candidate(ride) == driver.id
    trip = driver.ok("POST", f"/v2/rides/{ride}/confirm")["trip_id"]
    assert driver.ok("POST", f"/v2/rides/{ride}/confirm")["trip_id"] == trip
    assert driver.ok("GET", "/v2/trips/current")["ride_id"] == ride
    assert driver.call("POST", f"/v2/trips/{trip}/finish")[1]["error"]["code"] == "WRONG_STATE"
    for step in ("arrived", "arrived", "start", "finish"):
        driver.ok("POST", f"/v2/trips/{trip}/{step}")
    assert rider.ok("GET", "/v2/rides/current") is None
    assert rider.ok("GET", f"/v2/rides/{ride}")["status"] == "FINISHED"
    paid = rider.ok("POST", f"/v2/rides/{ride}/payments", {}, Idempotency_Key="pay")
    assert paid["amount"] == "5.81", paid  # 1.297 km
    rider.ok("POST", f"/v2/rides/{ride}/payments", {}, Idempotency_Key="pay")
    return driver, rider, ride


def envelope_races(base: str) -> None:
    """Twenty rides, forty drivers; everybody taps twice, half the passengers cancel meanwhile."""
    with ThreadPoolExecutor(16) as pool:
        drivers = {d.id: d for d in pool.map(lambda _: Rider(base, "driver"), range(40))}
        riders = list(pool.map(lambda _: Rider(base, "passenger"), range(20)))
        rides = [str(r) for r in pool.map(Rider.ride, riders)]
        chosen = [r.candidate(ride) for r, ride in zip(riders, rides)]
        assert len(set(chosen)) == 20, "a driver is proposed two rides"
        taps = [(d, ride) for d, ride in zip(chosen, rides)] * 2
        taps += [(d, rides[0]) for d in drivers]
        replies = [
            pool.submit(drivers[d].call, "POST", f"/v2/rides/{ride}/confirm") for d, ride in taps
        ]
        ends = [
            pool.submit(r.call, "POST", f"/v2/rides/{ride}/cancel")
            for r, ride in list(zip(riders, rides))[::2]
        ]
        won: dict[str, set[str]] = {}
        for (d, ride), reply in zip(taps, replies):
            if reply.result()[1]["success"]:
                won.setdefault(ride, set()).add(d)
        assert all(len(winners) == 1 for winners in won.values()), won
        assert all(end.result()[1]["success"] for end in ends)
        rows = {row["ride_id"]: row["status"] for row in riders[0].rides()}
        for n, ride in enumerate(rides):
            assert rows[ride] == ("CONFIRMED" if n % 2 else "CANCELLED"), rows[ride]
        for driver in drivers.values():
            trip = driver.ok("GET", "/v2/trips/current")
            assert trip is None or rows[trip["ride_id"]] == "CONFIRMED"


def check_envelope() -> None:
    with started("envelope/server.py", "--lose-answers", "7") as base:
        driver, rider, ride = envelope_walk(base)
        assert [row["ride_id"] for row in rider.rides("payments")] == [ride]
        assert rider.rides()[0]["paid"] is True
        again = {"role": "passenger", "name": "x", **rider.login}
        assert rider.raw("POST", "/v2/auth/register", again)[0] == 409
        say("envelope: one ride from request to payment, with answers lost")
    with started("envelope/server.py", "--token-life", "0.5") as base:
        rider = Rider(base, "passenger")
        until("expiry", lambda: rider.call("GET", "/v2/rides/current")[0] == 500)
        assert rider.call("GET", "/v2/rides/current")[1]["error"]["code"] == "SESSION_EXPIRED"
        token = {"refresh_token": rider.session["refresh_token"]}
        reply = rider.raw("POST", "/v2/auth/refresh", token)[1]["data"]
        assert reply["access_token"] != rider.session["access_token"]
        say("envelope: a token expires with 500 and is refreshed")
    with started("envelope/server.py", "--search-life", "0.5", "--offer-life", "0.2") as base:
        driver, rider = Rider(base, "driver"), Rider(base, "passenger")
        ride = rider.ride()
        until("expired", lambda: rider.ok("GET", f"/v2/rides/{ride}")["status"] == "EXPIRED")
        assert driver.call("POST", f"/v2/rides/{ride}/confirm")[1]["error"]["code"] == "RIDE_OVER"
        say("envelope: a ride that nobody confirms expires")
    with started("envelope/server.py") as base:
        driver, rider = Rider(base, "driver"), Rider(base, "passenger")
        ride = rider.ride()
        rider.candidate(ride)
        trip = driver.ok("POST", f"/v2/rides/{ride}/confirm")["trip_id"]
        driver.ok("POST", f"/v2/trips/{trip}/release")
        assert rider.ok("GET", f"/v2/rides/{ride}")["status"] == "SEARCHING"
        rider.ok("POST", f"/v2/rides/{ride}/cancel")
        driver.ok("POST", "/v2/drivers/me/offline")
        envelope_races(base)
        say("envelope: double taps and cancels have one winner each")
    envelope_faults()


def envelope_faults() -> None:
    server = "envelope/server.py"
    with started(server, "--fault", "double-confirm") as base:
        drivers = {d.id: d for d in (Rider(base, "driver"), Rider(base, "driver"))}
        rider = Rider(base, "passenger")
        ride = rider.ride()
        seen = {rider.candidate(ride), rider.candidate(ride)}
        assert seen == set(drivers), "two candidates, in turn"
        for driver in drivers.values():
            driver.ok("POST", f"/v2/rides/{ride}/confirm")
        assert all(d.ok("GET", "/v2/trips/current")["ride_id"] == ride for d in drivers.values())
    with started(server, "--fault", "charge-twice", "--lose-answers", "9") as base:
        _, rider, ride = envelope_walk(base)
        assert [row["ride_id"] for row in rider.rides("payments")] == [ride, ride]
    with started(server, "--fault", "lost-cancel", "--fault", "other-rider") as base:
        riders = [Rider(base, "passenger") for _ in range(2)]
        rides = [rider.ride() for rider in riders]
        for person, ride in zip(riders, rides):
            assert person.ok("POST", f"/v2/rides/{ride}/cancel")["status"] == "CANCELLED"
        assert [row["status"] for row in riders[0].rides()] == ["CANCELLED", "SEARCHING"]
        until(
            "another's", lambda: riders[0].ok("GET", f"/v2/rides/{rides[0]}")["ride_id"] == rides[1]
        )
    with started(server, "--fault", "500-on-cancel") as base:
        rider = Rider(base, "passenger")
        path = f"/v2/rides/{rider.ride()}/cancel"
        assert {rider.call("POST", path)[0] for _ in range(2)} == {200, 500}
    say("envelope: each fault bites")


# broadcast


class Radio:
    """A client of the broadcast server."""

    def __init__(self, base: str, name: str, kind: str) -> None:
        self.base, self.name, self.kind = base, name, kind
        self.inbox: list[Any] = []

    async def __aenter__(self) -> Radio:
        await self.hello()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.close()

    async def hello(self) -> Any:
        self.socket = await connect(self.base)
        await self.say("hello", name=self.name, key="cab-key", **{"as": self.kind})
        welcome = await self.hear("welcome")
        self.number = welcome["you"]
        return welcome

    async def say(self, kind: str, **more: Any) -> None:
        await self.socket.send(json.dumps({"t": kind, **more}))

    async def hear(self, *kinds: str, ride: int | None = None) -> Any:
        """The next message of one of these kinds (about this ride); others are passed over."""
        while True:
            message = json.loads(await asyncio.wait_for(self.socket.recv(), PATIENCE_S))
            self.inbox.append(message)
            if message["t"] in kinds and ride in (None, message.get("ride"), message.get("id")):
                return message

    async def ask(self, question: str, *kinds: str, **more: Any) -> Any:
        await self.say(question, **more)
        return await self.hear(*kinds, "sorry", "what", ride=more.get("ride"))

    async def call(self, ref: str) -> int:
        places = {"from": [53.34, -6.26], "to": [53.35, -6.27]}
        ride = await self.ask("call_cab", "ride", ref=ref, **places)
        assert ride["ref"] == ref, ride
        return int(ride["id"])


async def broadcast_walk(base: str) -> None:
    async with Radio(base, "ann", "rider") as ann, Radio(base, "bob", "driver") as bob:
        async with Radio(base, "cid", "driver") as cid, Radio(base, "desk", "desk") as desk:
            ride = await ann.call("r-1")
            await bob.hear("ride", ride=ride)
            await asyncio.gather(*(d.say("take", ride=ride) for d in (bob, cid, bob, cid)))
            by = (await ann.hear("taken", ride=ride))["by"]
            winner, loser = (bob, cid) if by == bob.number else (cid, bob)
            assert (await loser.hear("sorry", ride=ride))["why"] == "gone"
            assert sum(m["t"] == "taken" for m in loser.inbox) == 2, "everybody, twice"
            await winner.socket.close()
            assert (await winner.hello())["ride"] == ride, "a name has its ride back"
            assert (await winner.ask("done", "done", ride=ride, meter=1))["why"] == "order"
            await winner.ask("go", "rolling", ride=ride)
            await ann.hear("rolling", ride=ride)
            assert (await ann.ask("never_mind", "off", ride=ride))["why"] == "rolling"
            await winner.ask("done", "done", ride=ride, meter=1250)
            assert (await ann.hear("done", ride=ride))["fee"] == 560
            assert (await ann.ask("mine", "mine"))["ride"] is None
            assert (await ann.ask("look", "ride", ride=ride))["st"] == 3
            second = await ann.call("r-2")
            assert second != ride and await ann.call("r-1") == ride
            await ann.ask("never_mind", "off", ride=second)
            rows = (await desk.ask("all", "all", after=0))["rides"]
            assert [(row["id"], row["st"]) for row in rows] == [(ride, 3), (second, 4)], rows
            till = (await desk.ask("till", "till", after=0))["charges"]
            assert till == [{"id": 1, "ride": ride, "cents": 560}]
    say("broadcast: one ride, one winner, one reconnect")


async def broadcast_cuts(base: str) -> None:
    """Every second answer is lost: the connection ends and its owner comes back and asks."""
    async with Radio(base, "ann", "rider") as ann:
        first = await ann.call("r-1")
        await ann.say("never_mind", ride=first)
        await ann.socket.wait_closed()
        assert (await ann.hello())["ride"] is None
        assert (await ann.ask("look", "ride", ride=first))["st"] == 4
    say("broadcast: an answer lost is an effect kept")


async def broadcast_faults(base: str, fault: str) -> None:
    async with Radio(base, "ann", "rider") as ann, Radio(base, "amy", "rider") as amy:
        async with Radio(base, "bob", "driver") as bob, Radio(base, "cid", "driver") as cid:
            if fault == "two-winners":
                ride = await ann.call("r")
                for driver in (bob, cid):
                    assert (await driver.ask("take", "taken", ride=ride))["t"] == "taken"
                mine = [(await d.ask("mine", "mine"))["ride"] for d in (bob, cid)]
                assert [(r["id"], r["by"]) for r in mine] == [
                    (ride, bob.number),
                    (ride, cid.number),
                ]
            elif fault == "zombie":
                for rider in (ann, amy):
                    ride = await rider.call("r")
                    await rider.ask("never_mind", "off", ride=ride)
                assert (await amy.hear("ride", ride=ride))["st"] == 0
            elif fault == "lost-ride":
                for n in range(4):
                    await ann.ask("never_mind", "off", ride=await ann.call(str(n)))
                lost = await ann.call("lost")
                assert (await ann.ask("look", "ride", ride=lost))["why"] == "unknown"
            else:
                rides: list[int] = []
                for rider in (ann, amy, ann, amy, ann):
                    rides.append(await rider.call(f"r-{len(rides)}"))
                    await rider.ask("never_mind", "off", ride=rides[-1])
                assert rides == [1, 2, 3, 4, 4], rides


def check_broadcast() -> None:
    server = "broadcast/server.py"
    with started(server) as base:
        asyncio.run(broadcast_walk(base))
    with started(server, "--lose-answers", "2") as base:
        asyncio.run(broadcast_cuts(base))
    for fault in ("two-winners", "zombie", "lost-ride", "id-reuse"):
        with started(server, "--fault", fault) as base:
            asyncio.run(broadcast_faults(base, fault))
    say("broadcast: each fault bites")


# events


class Town:
    """An events server with its database, a tap on its exchange, and its people."""

    def __init__(self, base: str, amqp: str, folder: Path) -> None:
        self.base, self.database = base, folder / "cabs.sqlite"
        self.expected = 1
        self.passwords = dict(
            line.split(",")[1:3] for line in (folder / "users").read_text().split()
        )
        connection = pika.BlockingConnection(pika.URLParameters(amqp))
        self.tap = connection.channel()
        self.tap.queue_declare("", exclusive=True)
        self.tap.queue_bind("", "cab.events", "#")

    def login(self, name: str) -> str:
        basic = base64.b64encode(f"{name}:{self.passwords[name]}".encode()).decode()
        reply = http_call(self.base, "POST", "/login", Authorization=f"Basic {basic}")[1]
        if reply.get("otp_required"):
            code = http_call(self.base, "GET", f"/dev/otp/{name}")[1]["code"]
            reply = http_call(self.base, "POST", "/otp", {"ticket": reply["ticket"], "code": code})[
                1
            ]
        return f"Bearer {reply['token']}"

    @asynccontextmanager
    async def driving(self, token: str) -> AsyncIterator[None]:
        """A driver who is connected and has a position."""
        client = socketio.AsyncClient(reconnection=False)
        await client.connect(self.base, auth={"token": token.partition(" ")[2]})
        assert (await client.call("position", {"lat": 53.34, "lng": -6.26}))["ok"]
        assert not (await client.call("position", {"lat": "x"}))["ok"]
        try:
            yield
        finally:
            await client.disconnect()

    def call(self, token: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return http_call(self.base, method, path, body, Authorization=token)

    def ride(self, token: str, request_id: str) -> tuple[int, Any]:
        places = {"from": {"lat": 53.34, "lng": -6.26}, "to": {"lat": 53.35, "lng": -6.27}}
        return self.call(token, "POST", "/jobs", {**places, "request_id": request_id})

    def finish(self, driver: str, job: str) -> None:
        for step in ("begin", "begin", "end", "end"):
            status, reply = self.call(driver, "POST", f"/jobs/{job}/{step}")
            assert status == 200, reply

    def rows(self, question: str) -> list[Any]:
        with sqlite3.connect(self.database) as database:
            return database.execute(question).fetchall()

    def events(self, count: int) -> list[str]:
        """The keys of the next events."""

        def one() -> str | None:
            frame, _, body = self.tap.basic_get("", auto_ack=True)
            assert frame is None or json.loads(body)["id"].startswith("job_")
            return frame and frame.routing_key

        return [until("an event", one) for _ in range(count)]


@contextmanager
def town(amqp: str, *options: str) -> Iterator[Town]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = [sys.executable, str(HERE / "events/server.py")]
        users = ["--users", str(folder / "users")]
        subprocess.run([*script, *users, "--make-users", "3"], check=True)
        database = ["--db", str(folder / "cabs.sqlite")]
        with started("events/server.py", *users, *database, "--amqp", amqp, *options) as base:
            yield Town(base, amqp, folder)


async def events_walk(town: Town) -> None:
    driver, rider, other = (
        town.login(n) for n in ("driver-0001", "passenger-0001", "passenger-0002")
    )
    assert town.ride(rider, "r-1") == (409, {"code": "no_cars"})
    async with town.driving(driver):
        status, job = await asyncio.to_thread(town.ride, rider, "r-1")
        assert (job["state"], job["driver_id"]) == ("matched", "drv-0001"), (status, job)
        assert town.ride(rider, "r-1")[1]["id"] == job["id"]
        assert town.ride(rider, "r-2")[1]["code"] == "job_running"
        assert town.ride(other, "r-1")[1]["code"] == "no_cars", "the only driver is busy"
        assert town.call(other, "GET", f"/jobs/{job['id']}")[0] == 404
        assert town.call(driver, "POST", f"/jobs/{job['id']}/end")[1]["code"] == "not_begun"
        assert town.call(driver, "GET", "/me/job")[1]["id"] == job["id"]
        town.finish(driver, job["id"])
        assert town.call(driver, "GET", "/me/job")[0] == 204
        assert town.call(rider, "DELETE", f"/jobs/{job['id']}")[1]["code"] == "too_late"
        assert town.rows("SELECT job_id, amount_cents FROM charges") == [(job["id"], 442)]
        second = (await asyncio.to_thread(town.ride, other, "r-1"))[1]["id"]
        for _ in range(2):
            assert town.call(other, "DELETE", f"/jobs/{second}")[1]["state"] == "withdrawn"
        assert town.call(driver, "POST", f"/jobs/{second}/begin")[1]["code"] == "withdrawn"
        assert town.rows("SELECT state FROM jobs ORDER BY created_at, state") == [
            ("closed",),
            ("withdrawn",),
        ]
        keys = [key.split(".")[-1] for key in town.events(7)]
        assert keys == [
            "assigned",
            "matched",
            "riding",
            "closed",
            "assigned",
            "matched",
            "withdrawn",
        ], keys


async def events_faults(town: Town) -> None:
    """All faults at once: five jobs for one driver, three of them driven to their end."""
    driver, *riders = (town.login(n) for n in ("driver-0001", "passenger-0001", "passenger-0002"))
    async with town.driving(driver):
        jobs = [(await asyncio.to_thread(town.ride, rider, "r"))[1] for rider in riders]
        assert {job["driver_id"] for job in jobs} == {"drv-0001"}, "busy, and assigned again"
        third = town.login("passenger-0003")
        for n in range(2):
            jobs.append(town.ride(third, f"r-{n}")[1])
            town.finish(driver, jobs[-1]["id"])
        assert town.ride(third, "r-2") == (429, {"code": "slow_down"})
        again = town.ride(third, "r-2")[1]["id"]
        assert len(town.rows("SELECT id FROM jobs WHERE request_id = 'r-2'")) == 2
        town.finish(driver, again)
        charged = len(town.rows(f"SELECT id FROM charges WHERE job_id = '{again}'"))
        assert charged == town.expected, charged


def events_limit(town: Town) -> None:
    answers = [http_call(town.base, "GET", "/dev/otp/nobody")[0] for _ in range(20)]
    assert set(answers) == {404, 429}, answers
    until("service again", lambda: http_call(town.base, "GET", "/dev/otp/nobody")[0] == 404)


def check_events() -> None:
    with started("broker.py") as amqp:
        with town(amqp, "--lose-answers", "5") as place:
            asyncio.run(events_walk(place))
        say("events: two jobs, their events and their charges, with answers lost")
        with town(amqp, "--rate", "2") as place:
            events_limit(place)
        say("events: a limit, and service after it")
        for fault, charges in (("charge-twice", 2), ("never-charge", 0)):
            others = ("--fault", "assign-busy", "--fault", "limit-after-effect")
            with town(amqp, "--fault", fault, *others) as place:
                place.expected = charges
                asyncio.run(events_faults(place))
        say("events: each fault bites")


CHECKS = {"envelope": check_envelope, "broadcast": check_broadcast, "events": check_events}


def main() -> None:
    for name in sys.argv[1:] or CHECKS:
        CHECKS[name]()


if __name__ == "__main__":
    main()
