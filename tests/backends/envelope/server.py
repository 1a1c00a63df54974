#!/usr/bin/python3
r"""A small ride company: JSON over HTTP/1.1, an envelope around every answer.

Packages: python3-aiohttp. The company itself is in company.py.

    server.py --port 8301 [--fault NAME]... [--lose-answers N] [--until-stdin-closes]

EVERY ANSWER is {"success": true, "data": …, "error": null}
             or {"success": false, "data": null, "error": {"code": "TAKEN", "message": "…"}}.
Ids are UUIDs. Decimals travel as strings, both ways ("lat": "53.34", "fare": "12.50"); a bare
number is refused. Refusals by the rules of the business come with HTTP 200 and success false;
below they are written "no: CODE". HTTP 400 VALIDATION, 401 UNAUTHENTICATED (no token, or an
unknown one), 403 FORBIDDEN, 404 NOT_FOUND. An EXPIRED token answers HTTP 500 with error.code
SESSION_EXPIRED; any other 500 is a bug.

ACCOUNTS
  POST /v2/auth/register {"role":"driver","name":"Ann","phone":"+353851234567",
                          "password":"s3cret!","plate":"231-D-10042"}
      -> 201 {"user_id":"6f1c…"}
      role: driver or passenger. phone: ^\+353[0-9]{9}$. plate, for drivers only:
      ^[0-9]{2,3}-[A-Z]{1,2}-[0-9]{1,6}$. Both unique: HTTP 409 PHONE_TAKEN, PLATE_TAKEN.
      password: 6 characters or more.
  POST /v2/auth/login {"phone":"+353851234567","password":"s3cret!"}
      -> {"user_id":"6f1c…","access_token":"at_…","refresh_token":"rt_…","expires_in":"20"}
      HTTP 401 BAD_CREDENTIALS
  POST /v2/auth/refresh {"refresh_token":"rt_…"} -> as login, with the same refresh token
  All that follows: header Authorization: Bearer at_…
  POST /v2/admin/drivers/{user_id}/approve -> {"user_id":"6f1c…","approved":true}
      header X-Admin-Key: operator-key, no token. Until then a driver cannot go online: HTTP 403
      NOT_APPROVED.

DRIVERS
  POST /v2/drivers/me/online, /v2/drivers/me/offline -> {"online":true|false}
      offline with a trip: no: ON_TRIP
  POST /v2/drivers/me/locations [{"lat":"53.34","lng":"-6.26","recorded_at":"1700000000123"}, …]
      -> {"stored":"2"}
      1 to 100 positions. recorded_at: epoch milliseconds, may be left out (now). The latest
      recorded_at wins, whatever the order.
  Drivers are NOT shown offers. The passenger of a ride sees `candidate_driver_id` (a user_id) in
  it while it is PROPOSED; that driver has 15 s for
  POST /v2/rides/{ride_id}/confirm
      -> {"trip_id":"91be…","ride_id":"…","status":"CONFIRMED","driver_id":"…",
          "passenger_id":"…","pickup":{"lat":"…","lng":"…"},"dropoff":{…},"fare":null}
      no: TAKEN, NOT_PROPOSED_TO_YOU, RIDE_OVER, ON_TRIP, OFFLINE. Confirming again what one holds
      gives the same trip.
  POST /v2/trips/{trip_id}/arrived, …/start, …/finish, …/release -> the trip
      no: WRONG_STATE, TRIP_CANCELLED, TRIP_RELEASED. A step that was made already is answered as
      done. finish gives "fare". release, before start only: the ride is searched for again, and
      this driver is not asked again.
  GET /v2/trips/current -> the trip, or data null

PASSENGERS
  POST /v2/rides {"pickup":{"lat":"53.34","lng":"-6.26"},"dropoff":{"lat":"…","lng":"…"}}
      header Idempotency-Key (required; kept 10 min)
      -> 201, a repeat 200 {"ride_id":"…","passenger_id":"…","status":"SEARCHING",
          "candidate_driver_id":null,"driver_id":null,"pickup":{…},"dropoff":{…},
          "estimated_fare":"9.80","fare":null,"paid":false}
      no: RIDE_IN_PROGRESS (one live ride a passenger)
  GET /v2/rides/{ride_id} -> the ride (own ones only)
  GET /v2/rides/current -> the live ride (SEARCHING to STARTED), or data null
  POST /v2/rides/{ride_id}/cancel -> the ride; again: the same
      no: TOO_LATE (STARTED), RIDE_OVER (EXPIRED, FINISHED)
  POST /v2/rides/{ride_id}/payments {"method":"card"}
      header Idempotency-Key (required; kept for good)
      -> 201, a repeat 200 {"payment_id":"…","ride_id":"…","amount":"12.50","currency":"EUR",
          "created_at":"1700000000123"}
      no: NOT_FINISHED, ALREADY_PAID (with another key)

OPERATOR (header X-Admin-Key), in the order in which things were made; next_cursor null: the end
  GET /v2/admin/rides?limit=100&cursor=… -> {"rides":[…],"next_cursor":"MTAw"}
      a ride as above, and "trip_id", "idempotency_key", "requested_at":"1700000000123"
  GET /v2/admin/payments?limit=100&cursor=… -> {"payments":[…],"next_cursor":null}
  GET /v2/admin/rides/{ride_id} -> one row of the listing

STATES of a ride; a trip has those from CONFIRMED on, and RELEASED
  SEARCHING -> PROPOSED -> CONFIRMED -> ARRIVED -> STARTED -> FINISHED
  PROPOSED -> SEARCHING            nobody confirmed in time, or the candidate went offline
  CONFIRMED, ARRIVED -> SEARCHING  released
  SEARCHING, PROPOSED -> EXPIRED   60 s after the request or the release
  all before STARTED -> CANCELLED

TIMES: a proposal lives 15 s (never longer than its search), a search 60 s, an access token 20 s,
a refresh token 1 h, a position 60 s. Candidate is the nearest driver who is online, has no trip
and no other proposal, within 8 km of the pick-up; who let it lapse is asked again when all were
asked. One trip a driver. Fare: 4.00 + 1.40 a km as the crow flies. No fee for a cancel.

FAULTS (--fault NAME, repeatable)
  double-confirm  a ride with two free drivers in reach is proposed to both (the passenger reads
                  them in turn) and both can confirm; it goes on being shown as PROPOSED, with the
                  second candidate, for 4 s after the first
  charge-twice    a payment that is repeated with its key charges again; every third answer about
                  a new payment is lost (the connection closes), so that there are repeats
  lost-cancel     every second cancel is answered with CANCELLED and forgotten
  other-rider     every 15th GET of /v2/rides/{ride_id} or /v2/rides/current answers with somebody
                  else's ride
  500-on-cancel   every second cancel answers HTTP 500 INTERNAL and does nothing
Not a fault, and nothing that a law may find: --lose-answers N closes the connection, after the
effect, instead of answering every Nth POST below /v2/rides and /v2/trips.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import secrets
import signal
import socket
import sys
import threading
import time
import uuid
from decimal import Decimal
from typing import Any, Awaitable, Callable

from aiohttp import web

from company import FAULTS, Dispatch, Place, Refusal, Ride, User

PHONE = re.compile(r"\+353[0-9]{9}")
PLATE = re.compile(r"[0-9]{2,3}-[A-Z]{1,2}-[0-9]{1,6}")
REFRESH_LIFE_S = 3600.0
TOKEN_REMEMBERED_S = 600.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answer(data: Any, status: int = 200) -> web.Response:
    return web.json_response({"success": True, "data": data, "error": None}, status=status)


def text_of(body: Any, key: str, pattern: re.Pattern[str]) -> str:
    value = body.get(key) if isinstance(body, dict) else None
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Refusal("VALIDATION", f"{key} is missing or malformed", 400)
    return value


def place_of(body: Any) -> Place:
    def decimal(key: str, limit: int) -> float:
        text = text_of(body, key, re.compile(r"-?[0-9]{1,3}(\.[0-9]{1,20})?"))
        value = float(Decimal(text))
        if abs(value) > limit:
            raise Refusal("VALIDATION", f"{key} is not on this planet", 400)
        return value

    return Place(decimal("lat", 90), decimal("lng", 180))


class Api:
    """HTTP to Dispatch and back: tokens, envelopes, validation."""

    def __init__(self, dispatch: Dispatch, options: argparse.Namespace) -> None:
        self.dispatch, self.options = dispatch, options
        self.tokens: dict[str, tuple[User, float]] = {}
        self.refreshes: dict[str, tuple[User, float]] = {}
        self.by_phone: dict[str, User] = {}
        self.plates: set[str] = set()
        self.writes = 0

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self.envelope], client_max_size=64 * 1024)
        app.add_routes(
            [
                web.post("/v2/auth/register", self.register),
                web.post("/v2/auth/login", self.login),
                web.post("/v2/auth/refresh", self.refresh),
                web.post("/v2/drivers/me/{switch:online|offline}", self.switch),
                web.post("/v2/drivers/me/locations", self.locations),
                web.post("/v2/rides", self.request),
                web.get("/v2/rides/current", self.current_ride),
                web.get("/v2/rides/{id}", self.ride),
                web.post("/v2/rides/{id}/confirm", self.confirm),
                web.post("/v2/rides/{id}/cancel", self.cancel),
                web.post("/v2/rides/{id}/payments", self.pay),
                web.get("/v2/trips/current", self.current_trip),
                web.post("/v2/trips/{id}/{step:arrived|start|finish|release}", self.step),
                web.post("/v2/admin/drivers/{id}/approve", self.approve),
                web.get("/v2/admin/rides", self.list_rides),
                web.get("/v2/admin/rides/{id}", self.admin_ride),
                web.get("/v2/admin/payments", self.list_payments),
            ]
        )
        return app

    @web.middleware
    async def envelope(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except Refusal as no:
            response = self.refused(no.code, no.message, no.status)
        except web.HTTPException as no:
            response = self.refused(no.reason.upper().replace(" ", "_"), no.reason, no.status)
        if request.method == "POST" and request.path.startswith(("/v2/rides", "/v2/trips")):
            self.writes += 1
            first_charge = request.path.endswith("/payments") and response.status == 201
            lost = bool(self.options.lose_answers) and self.writes % self.options.lose_answers == 0
            if (
                lost or first_charge and self.dispatch.bites("charge-twice", 3)
            ) and request.transport:
                request.transport.abort()
        return response

    @staticmethod
    def refused(code: str, message: str, status: int) -> web.Response:
        return web.json_response(
            {"success": False, "data": None, "error": {"code": code, "message": message}},
            status=status,
        )

    async def body(self, request: web.Request) -> Any:
        try:
            return json.loads(await request.read())
        except (ValueError, RecursionError):
            raise Refusal("VALIDATION", "the body is not JSON", 400) from None

    def user(self, request: web.Request, role: str) -> User:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        user, until = self.tokens.get(token, (None, 0.0))
        if user is None or scheme.lower() != "bearer":
            raise Refusal("UNAUTHENTICATED", "log in first", 401)
        if time.monotonic() >= until:
            raise Refusal("SESSION_EXPIRED", "org.acme.SessionExpiredException", 500)
        if user.role != role:
            raise Refusal("FORBIDDEN", f"this is for a {role}", 403)
        return user

    def admin(self, request: web.Request) -> None:
        if request.headers.get("X-Admin-Key") != self.options.admin_key:
            raise Refusal("FORBIDDEN", "the operator's key is missing or wrong", 403)

    @staticmethod
    def key(request: web.Request) -> str:
        key = request.headers.get("Idempotency-Key", "")
        if not 1 <= len(key) <= 200:
            raise Refusal("VALIDATION", "the header Idempotency-Key is required", 400)
        return key

    def ride_of(self, request: web.Request, passenger: User | None = None) -> Ride:
        ride = self.dispatch.rides.get(request.match_info["id"])
        if ride is None or passenger and ride.passenger is not passenger:
            raise Refusal("NOT_FOUND", "no such ride", 404)
        return ride

    # Accounts

    async def register(self, request: web.Request) -> web.Response:
        body = await self.body(request)
        role = text_of(body, "role", re.compile("driver|passenger"))
        name = text_of(body, "name", re.compile(".{1,100}"))
        phone, password = text_of(body, "phone", PHONE), text_of(
            body, "password", re.compile(".{6,100}")
        )
        plate = text_of(body, "plate", PLATE) if role == "driver" else None
        if phone in self.by_phone:
            raise Refusal("PHONE_TAKEN", "this phone is registered", 409)
        if plate in self.plates:
            raise Refusal("PLATE_TAKEN", "this plate is registered", 409)
        user = User(str(uuid.uuid4()), role, name, phone, password, plate)
        self.dispatch.users[user.id] = self.by_phone[phone] = user
        if plate:
            self.plates.add(plate)
        return answer({"user_id": user.id}, 201)

    async def login(self, request: web.Request) -> web.Response:
        body = await self.body(request)
        user = self.by_phone.get(text_of(body, "phone", PHONE))
        if user is None or user.password != body.get("password"):
            raise Refusal("BAD_CREDENTIALS", "phone or password is wrong", 401)
        refresh = f"rt_{secrets.token_hex(16)}"
        self.refreshes[refresh] = (user, time.monotonic() + REFRESH_LIFE_S)
        return self.session(user, refresh)

    async def refresh(self, request: web.Request) -> web.Response:
        refresh = text_of(await self.body(request), "refresh_token", re.compile("rt_[0-9a-f]{32}"))
        user, until = self.refreshes.get(refresh, (None, 0.0))
        if user is None or time.monotonic() >= until:
            raise Refusal("BAD_CREDENTIALS", "the refresh token is over", 401)
        return self.session(user, refresh)

    def session(self, user: User, refresh: str) -> web.Response:
        now = time.monotonic()
        while self.tokens and next(iter(self.tokens.values()))[1] + TOKEN_REMEMBERED_S < now:
            self.tokens.pop(next(iter(self.tokens)))
        token = f"at_{secrets.token_hex(16)}"
        self.tokens[token] = (user, now + self.options.token_life)
        return answer(
            {
                "user_id": user.id,
                "access_token": token,
                "refresh_token": refresh,
                "expires_in": f"{self.options.token_life:g}",
            }
        )

    async def approve(self, request: web.Request) -> web.Response:
        self.admin(request)
        user = self.dispatch.users.get(request.match_info["id"])
        if user is None or user.role != "driver":
            raise Refusal("NOT_FOUND", "no such driver", 404)
        user.approved = True
        return answer({"user_id": user.id, "approved": True})

    # Drivers

    async def switch(self, request: web.Request) -> web.Response:
        driver, online = self.user(request, "driver"), request.match_info["switch"] == "online"
        self.dispatch.go(driver, online)
        return answer({"online": online})

    async def locations(self, request: web.Request) -> web.Response:
        driver, body, now_ms = (
            self.user(request, "driver"),
            await self.body(request),
            int(time.time() * 1000),
        )
        if not isinstance(body, list) or not 1 <= len(body) <= 100:
            raise Refusal("VALIDATION", "send a list of 1 to 100 positions", 400)
        places = [(place_of(row), row.get("recorded_at")) for row in body]
        for place, at in places:
            if at is not None and not (isinstance(at, str) and re.fullmatch("[0-9]{13}", at)):
                raise Refusal("VALIDATION", "recorded_at is epoch milliseconds as a string", 400)
            recorded_ms = min(int(at), now_ms) if at else now_ms
            if recorded_ms >= driver.recorded_ms:
                driver.place, driver.recorded_ms, driver.seen_at = (
                    place,
                    recorded_ms,
                    time.monotonic(),
                )
        return answer({"stored": str(len(places))})

    async def confirm(self, request: web.Request) -> web.Response:
        driver, ride = self.user(request, "driver"), self.ride_of(request)
        if not driver.online:
            raise Refusal("OFFLINE", "go online first")
        return answer(self.dispatch.confirm(driver, ride).view())

    async def step(self, request: web.Request) -> web.Response:
        driver, trip = self.user(request, "driver"), self.dispatch.trips.get(
            request.match_info["id"]
        )
        if trip is None or trip.driver is not driver:
            raise Refusal("NOT_FOUND", "no such trip", 404)
        return answer(self.dispatch.step(driver, trip, request.match_info["step"]).view())

    async def current_trip(self, request: web.Request) -> web.Response:
        trip = self.user(request, "driver").trip
        return answer(trip.view() if trip else None)

    # Passengers

    async def request(self, request: web.Request) -> web.Response:
        passenger, key, body = (
            self.user(request, "passenger"),
            self.key(request),
            await self.body(request),
        )
        if not isinstance(body, dict):
            raise Refusal("VALIDATION", "send an object", 400)
        ride, new = self.dispatch.request(
            passenger, key, place_of(body.get("pickup")), place_of(body.get("dropoff"))
        )
        return answer(ride.view(), 201 if new else 200)

    async def ride(self, request: web.Request) -> web.Response:
        passenger = self.user(request, "passenger")
        return answer(self.dispatch.read(passenger, self.ride_of(request, passenger)))

    async def current_ride(self, request: web.Request) -> web.Response:
        passenger = self.user(request, "passenger")
        if passenger.ride:
            self.dispatch.settle(passenger.ride, time.monotonic())
        return answer(self.dispatch.read(passenger, passenger.ride))

    async def cancel(self, request: web.Request) -> web.Response:
        return answer(self.dispatch.cancel(self.ride_of(request, self.user(request, "passenger"))))

    async def pay(self, request: web.Request) -> web.Response:
        ride, key = self.ride_of(request, self.user(request, "passenger")), self.key(request)
        payment, new = self.dispatch.pay(ride, key)
        return answer(payment, 201 if new else 200)

    # The operator

    def page(self, request: web.Request, name: str, rows: list[Any]) -> web.Response:
        try:
            limit = int(request.query.get("limit", "100"))
            start = int(base64.urlsafe_b64decode(request.query.get("cursor", "MA==")))
        except ValueError:
            raise Refusal("VALIDATION", "limit or cursor is malformed", 400) from None
        if not (1 <= limit <= 100 and start >= 0):
            raise Refusal("VALIDATION", "limit is 1 to 100", 400)
        end = start + limit
        more = base64.urlsafe_b64encode(str(end).encode()).decode() if end < len(rows) else None
        shown = [row.row() if isinstance(row, Ride) else row for row in rows[start:end]]
        return answer({name: shown, "next_cursor": more})

    async def list_rides(self, request: web.Request) -> web.Response:
        self.admin(request)
        self.dispatch.tick()
        return self.page(request, "rides", self.dispatch.ride_list)

    async def admin_ride(self, request: web.Request) -> web.Response:
        self.admin(request)
        ride = self.ride_of(request)
        self.dispatch.settle(ride, time.monotonic())
        return answer(ride.row())

    async def list_payments(self, request: web.Request) -> web.Response:
        self.admin(request)
        return self.page(request, "payments", self.dispatch.payments)


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
    dispatch = Dispatch(options.offer_life, options.search_life, set(options.fault))
    runner = web.AppRunner(Api(dispatch, options).app(), access_log=None, keepalive_timeout=600.0)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", options.port), backlog=1024)
    await web.SockSite(runner, listener, shutdown_timeout=1.0).start()
    print(f"ready http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    while not stop.is_set():
        dispatch.tick()
        try:
            await asyncio.wait_for(stop.wait(), 0.1)
        except asyncio.TimeoutError:
            pass
    await runner.cleanup()


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
    parser.add_argument("--admin-key", default="operator-key")
    parser.add_argument("--token-life", type=float, default=20.0, metavar="SECONDS")
    parser.add_argument("--offer-life", type=float, default=15.0, metavar="SECONDS")
    parser.add_argument("--search-life", type=float, default=60.0, metavar="SECONDS")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
