#!/usr/bin/python3
"""A dispatcher that decides alone: HTTP commands, RabbitMQ events, Socket.IO positions.

Packages: python3-aiohttp, python3-socketio, python3-pika; a RabbitMQ broker. The jobs and the
database are in jobs.py, the way to the broker in bus.py.

    server.py --make-users 200 --users users.csv      writes 200 drivers and 200 passengers, ends
    server.py --port 8303 --amqp amqp://127.0.0.1:5672/%2f --users users.csv --db cabs.sqlite
              [--rate N] [--fault NAME]... [--lose-answers N] [--until-stdin-closes]

Bodies are JSON, bare. Errors are {"code":"…"} with 400 bad_input, 401 no_token or token_expired,
403 not_for_you, 404 no_such_job, 409 (business), 429 slow_down with Retry-After: 1 (seconds).

ACCOUNTS are made elsewhere: a CSV file with the header id,name,password,role (driver or
passenger), read at start: drv-0001,driver-0001,…,driver; pax-0001,passenger-0001,…,passenger.
  POST /login, HTTP basic (name, password), no body
      passenger -> 200 {"token":"…","user_id":"pax-0001","expires_in":300}
      driver    -> 200 {"otp_required":true,"ticket":"…"}
      401 bad_credentials
  GET /dev/otp/{name} -> {"code":"123456"}          development only, no token
      404 no_code (none is waiting)
  POST /otp {"ticket":"…","code":"123456"} -> as a passenger's login
      401 bad_code. A ticket works once; a code lives 60 s.
  All that follows: header Authorization: Bearer TOKEN. It lives 300 s; then log in again.

POSITIONS: Socket.IO (Engine.IO 4, path /socket.io/, namespace /, polling or websocket), connect
with auth {"token":"…"}. Refused with the message no_token, token_expired or not_for_you.
  event "position" {"lat":53.34,"lng":-6.26}, acknowledged with {"ok":true}, or
      {"ok":false,"code":"bad_input","why":"…"}
A driver is FREE while connected, with a position younger than 30 s, and without a job. To
disconnect is to sign off. A newer connection of one driver ends the older. The server sends no
events here, and looks at the token when connecting only.

JOBS
  POST /jobs {"from":{"lat":53.34,"lng":-6.26},"to":{"lat":…,"lng":…},"request_id":"r-1"}
      passenger -> 201 {"id":"job_0123456789abcdef","state":"matched","driver_id":"drv-0007",
          "driver_name":"driver-0007","passenger_id":"pax-0001","from":{…},"to":{…}}
      The nearest free driver within 10 km has it; nobody is asked.
      A request_id that this passenger used before: 200, that job, as it is now.
      409 no_cars: nothing was made, the request_id is as good as new.
      409 job_running, {"code":"job_running","job":"job_…"}: one at a time.
      request_id: 1 to 200 of letters, digits and _ . : / -
  GET /jobs/{id} -> the job                         its passenger, its driver
  DELETE /jobs/{id} -> 200 the job, withdrawn       its passenger; again: the same
      409 {"code":"too_late","state":"riding"} (or closed)
  POST /jobs/{id}/begin -> 200 the job, riding      its driver; again: the same
      409 withdrawn, closed
  POST /jobs/{id}/end -> 200 the job, closed        its driver; again: the same
      409 not_begun, withdrawn
  GET /me/job -> 200 the live job of a driver or a passenger, or 204

EVENTS: topic exchange "cab.events" (durable), {"event":"assigned",…the job…,"at":1700000000123}
  driver.<driver id>.assigned    when a job is born
  job.<job id>.<state>           at each move, matched too; "event" is the state
In order. After trouble with the broker one may come twice; up to 10,000 wait for it. Commands do
not wait for the broker, so an event can be later than the answer.

STATES  matched -> riding -> closed;  matched -> withdrawn
A job never changes its driver, and waits for its driver for ever.

MONEY is charged when the job ends (300 cents + 110 a km as the crow flies; nothing for one that
was withdrawn) and is visible in the database alone: sqlite3 -json FILE 'SELECT * FROM charges'
  charges(id, job_id, amount_cents, created_at)
  jobs(id, passenger_id, driver_id, request_id, state, from_lat, from_lng, to_lat, to_lng,
       created_at, updated_at)
Times are epoch milliseconds. Both are written before the answer. A file that exists is gone on
with; its open jobs are withdrawn at start.

LIMIT: --rate N requests a second from one IP (default 100; a bucket of N), Socket.IO not counted.
Beyond it 429, and nothing was done.

FAULTS (--fault NAME, repeatable)
  charge-twice        every third end writes two charges
  never-charge        every third end writes none
  assign-busy         drivers who have a job are as good as free ones
  limit-after-effect  every fifth new job is made and its driver told, but the passenger is
                      answered 429 and its request is forgotten: a repeat makes another job
Not a fault, and nothing that a law may find: --lose-answers N closes the connection, after the
effect, instead of answering every Nth POST or DELETE below /jobs.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import csv
import json
import os
import re
import secrets
import signal
import socket
import sys
import threading
import time
from typing import Any, Awaitable, Callable

import socketio
from aiohttp import web

from bus import Bus
from jobs import FAULTS, Job, Jobs, Refusal, Spot, User

EXCHANGE = "cab.events"
CODE_LIFE_S = 60.0
BROKER_LIMIT_S = 30.0
TOKENS_MAX = 20_000

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Bucket:
    """So many requests a second, and as many at once."""

    def __init__(self, rate: float) -> None:
        self.rate, self.left, self.at = rate, rate, time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self.left, self.at = min(self.rate, self.left + (now - self.at) * self.rate), now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Accounts:
    """Who is who: passwords, codes, tokens."""

    def __init__(self, users: list[User], token_life: float) -> None:
        self.by_name = {user.name: user for user in users}
        self.token_life = token_life
        self.tickets: dict[str, User] = {}
        self.codes: dict[str, tuple[str, float]] = {}
        self.tokens: dict[str, tuple[User, float]] = {}

    def by_password(self, header: str) -> User:
        try:
            scheme, _, text = header.partition(" ")
            name, _, password = base64.b64decode(text, validate=True).decode().partition(":")
        except ValueError:
            raise Refusal(401, "bad_credentials") from None
        user = self.by_name.get(name)
        if scheme.lower() != "basic" or user is None or user.password != password:
            raise Refusal(401, "bad_credentials")
        return user

    def session(self, user: User) -> dict[str, Any]:
        token = secrets.token_urlsafe(24)
        self.tokens[token] = (user, time.monotonic() + self.token_life)
        while len(self.tokens) > TOKENS_MAX:
            self.tokens.pop(next(iter(self.tokens)))
        return {"token": token, "user_id": user.id, "expires_in": int(self.token_life)}

    def ask_code(self, user: User) -> dict[str, Any]:
        ticket = secrets.token_urlsafe(12)
        self.tickets[ticket] = user
        while len(self.tickets) > TOKENS_MAX:
            self.tickets.pop(next(iter(self.tickets)))
        code, _ = self.codes.get(user.name, ("", 0.0))
        if self.code(user.name) is None:
            code = f"{secrets.randbelow(1_000_000):06d}"
        self.codes[user.name] = (
            code,
            time.monotonic() + CODE_LIFE_S,
        )  # two logins at once share a code
        return {"otp_required": True, "ticket": ticket}

    def code(self, name: str) -> str | None:
        code, until = self.codes.get(name, ("", 0.0))
        return code if time.monotonic() < until else None

    def by_code(self, ticket: Any, code: Any) -> User:
        user = self.tickets.get(ticket) if isinstance(ticket, str) else None
        if user is None or code is None or self.code(user.name) != code:
            raise Refusal(401, "bad_code")
        del self.tickets[ticket]
        return user

    def by_token(self, token: Any) -> User:
        user, until = self.tokens.get(token, (None, 0.0)) if isinstance(token, str) else (None, 0.0)
        if user is None:
            raise Refusal(401, "no_token")
        if time.monotonic() >= until:
            raise Refusal(401, "token_expired")
        return user


def spot_of(body: Any) -> Spot:
    values: list[Any] = [body.get("lat"), body.get("lng")] if isinstance(body, dict) else []
    if not values or any(type(value) not in (int, float) for value in values):
        raise Refusal(400, "bad_input", why="lat and lng are numbers")
    if not (abs(values[0]) <= 90 and abs(values[1]) <= 180):
        raise Refusal(400, "bad_input", why="not on this planet")
    return Spot(float(values[0]), float(values[1]))


class Api:
    """HTTP and Socket.IO to Accounts and Jobs."""

    def __init__(self, accounts: Accounts, jobs: Jobs, rate: float, lose_answers: int) -> None:
        self.accounts, self.jobs, self.rate, self.lose_answers = accounts, jobs, rate, lose_answers
        self.buckets: dict[str, Bucket] = {}
        self.writes = 0
        self.drivers: dict[str, User] = {}
        self.sio = socketio.AsyncServer(
            async_mode="aiohttp", cors_allowed_origins=[], max_http_buffer_size=65536
        )
        self.sio.on("connect", self.connect)
        self.sio.on("disconnect", self.disconnect)
        self.sio.on("position", self.position)

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self.guard], client_max_size=65536)
        app.add_routes(
            [
                web.post("/login", self.login),
                web.get("/dev/otp/{name}", self.dev_otp),
                web.post("/otp", self.otp),
                web.post("/jobs", self.request),
                web.get("/jobs/{id}", self.job),
                web.delete("/jobs/{id}", self.withdraw),
                web.post("/jobs/{id}/{step:begin|end}", self.step),
                web.get("/me/job", self.my_job),
            ]
        )
        self.sio.attach(app)
        return app

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/socket.io/"):
            return await handler(request)
        try:
            if not self.buckets.setdefault(request.remote or "", Bucket(self.rate)).take():
                raise Refusal(429, "slow_down")
            response = await handler(request)
        except Refusal as no:
            headers = {"Retry-After": "1"} if no.status == 429 else None
            response = web.json_response(no.body, status=no.status, headers=headers)
        except web.HTTPException as no:
            response = web.json_response(
                {"code": no.reason.lower().replace(" ", "_")}, status=no.status
            )
        if request.method != "GET" and request.path.startswith("/jobs"):
            self.writes += 1
            if self.lose_answers and self.writes % self.lose_answers == 0 and request.transport:
                request.transport.abort()
        return response

    @staticmethod
    async def body(request: web.Request) -> dict[str, Any]:
        try:
            body = json.loads(await request.read())
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise Refusal(400, "bad_input", why="send a JSON object")
        return body

    def user(self, request: web.Request, role: str | None = None) -> User:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        user = self.accounts.by_token(token if scheme.lower() == "bearer" else None)
        if role and user.role != role:
            raise Refusal(403, "not_for_you")
        return user

    def job_of(self, request: web.Request, user: User) -> Job:
        job = self.jobs.jobs.get(request.match_info["id"])
        if job is None or user not in (job.passenger, job.driver):
            raise Refusal(404, "no_such_job")
        return job

    # Accounts

    async def login(self, request: web.Request) -> web.Response:
        user = self.accounts.by_password(request.headers.get("Authorization", ""))
        two_steps = user.role == "driver"
        return web.json_response(
            self.accounts.ask_code(user) if two_steps else self.accounts.session(user)
        )

    async def dev_otp(self, request: web.Request) -> web.Response:
        code = self.accounts.code(request.match_info["name"])
        if code is None:
            raise Refusal(404, "no_code")
        return web.json_response({"code": code})

    async def otp(self, request: web.Request) -> web.Response:
        body = await self.body(request)
        user = self.accounts.by_code(body.get("ticket"), body.get("code"))
        return web.json_response(self.accounts.session(user))

    # Positions

    async def connect(self, sid: str, _environ: Any, auth: Any = None) -> None:
        try:
            user = self.accounts.by_token(auth.get("token") if isinstance(auth, dict) else None)
        except Refusal as no:
            raise socketio.exceptions.ConnectionRefusedError(no.body["code"]) from None
        if user.role != "driver":
            raise socketio.exceptions.ConnectionRefusedError("not_for_you")
        older, user.socket = user.socket, sid
        self.drivers[sid] = user
        if older:
            await self.sio.disconnect(older)

    async def disconnect(self, sid: str) -> None:
        user = self.drivers.pop(sid, None)
        if user and user.socket == sid:
            user.socket = user.spot = None

    async def position(self, sid: str, body: Any = None) -> dict[str, Any]:
        user = self.drivers.get(sid)
        try:
            spot = spot_of(body)
        except Refusal as no:
            return {"ok": False, **no.body}
        if user and user.socket == sid:
            user.spot, user.seen_at = spot, time.monotonic()
        return {"ok": True}

    # Jobs

    async def request(self, request: web.Request) -> web.Response:
        passenger, body = self.user(request, "passenger"), await self.body(request)
        request_id = body.get("request_id")
        if not isinstance(request_id, str) or not re.fullmatch(r"[\w.:/-]{1,200}", request_id):
            raise Refusal(400, "bad_input", why="request_id")
        start, goal = spot_of(body.get("from")), spot_of(body.get("to"))
        job, new = self.jobs.request(passenger, request_id, start, goal)
        return web.json_response(job.view(), status=201 if new else 200)

    async def job(self, request: web.Request) -> web.Response:
        return web.json_response(self.job_of(request, self.user(request)).view())

    async def my_job(self, request: web.Request) -> web.Response:
        jobs = self.user(request).jobs
        return web.json_response(jobs[-1].view()) if jobs else web.Response(status=204)

    async def withdraw(self, request: web.Request) -> web.Response:
        job = self.job_of(request, self.user(request, "passenger"))
        self.jobs.withdraw(job)
        return web.json_response(job.view())

    async def step(self, request: web.Request) -> web.Response:
        job = self.job_of(request, self.user(request, "driver"))
        (self.jobs.begin if request.match_info["step"] == "begin" else self.jobs.end)(job)
        return web.json_response(job.view())


def make_users(path: str, count: int) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("id", "name", "password", "role"))
        for role, short in (("driver", "drv"), ("passenger", "pax")):
            for n in range(1, count + 1):
                rows.writerow(
                    (f"{short}-{n:04d}", f"{role}-{n:04d}", secrets.token_urlsafe(9), role)
                )


def load_users(path: str) -> list[User]:
    with open(path, newline="", encoding="utf-8") as file:
        users = [
            User(row["id"], row["name"], row["password"], row["role"])
            for row in csv.DictReader(file)
        ]
    if len({user.name for user in users}) != len(users) or len({user.id for user in users}) != len(
        users
    ):
        sys.exit(f"{path}: two users share an id or a name")
    return users


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
    users = load_users(options.users)
    bus = Bus(options.amqp, EXCHANGE)
    patience = time.monotonic() + BROKER_LIMIT_S
    while not (bus.connected.is_set() or stop.is_set() or time.monotonic() > patience):
        await asyncio.sleep(0.05)
    if stop.is_set():
        return
    if not bus.connected.is_set():
        sys.exit(f"no broker answers within {BROKER_LIMIT_S:g} s (--amqp)")
    jobs = Jobs(options.db, options.position_life, set(options.fault), bus.publish)
    jobs.drivers = [user for user in users if user.role == "driver"]
    api = Api(Accounts(users, options.token_life), jobs, options.rate, options.lose_answers)
    runner = web.AppRunner(api.app(), access_log=None, keepalive_timeout=600.0)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", options.port), backlog=1024)
    await web.SockSite(runner, listener, shutdown_timeout=1.0).start()
    print(f"ready http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    await stop.wait()
    await runner.cleanup()
    await asyncio.to_thread(bus.stop)
    jobs.database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0: a free one, which is printed")
    parser.add_argument("--amqp", default="amqp://127.0.0.1:5672/%2f", metavar="URL")
    parser.add_argument("--users", required=True, metavar="FILE")
    parser.add_argument(
        "--make-users", type=int, metavar="N", help="write --users with N of each role, and end"
    )
    parser.add_argument("--db", default="cabs.sqlite", metavar="FILE")
    parser.add_argument(
        "--rate", type=float, default=100.0, metavar="N", help="requests a second from one IP"
    )
    parser.add_argument("--fault", action="append", default=[], choices=FAULTS)
    parser.add_argument(
        "--lose-answers",
        type=int,
        default=0,
        metavar="N",
        help="lose the answer of every Nth write",
    )
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when stdin closes")
    parser.add_argument("--token-life", type=float, default=300.0, metavar="SECONDS")
    parser.add_argument("--position-life", type=float, default=30.0, metavar="SECONDS")
    options = parser.parse_args()
    if options.make_users:
        make_users(options.users, options.make_users)
    else:
        asyncio.run(serve(options))


if __name__ == "__main__":
    main()
