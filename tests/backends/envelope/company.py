"""What the company knows: people, rides, trips, payments, and who may do what when.

No HTTP in here. Every method of Dispatch runs from its first line to its last without a pause, so
no caller ever sees half of another's move. Its faults are described in server.py.
"""

from __future__ import annotations

import math
import time
import uuid
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

FAULTS = ("double-confirm", "charge-twice", "lost-cancel", "other-rider", "500-on-cancel")
KEY_LIFE_S = 600.0
POSITION_LIFE_S = 60.0
REACH_KM = 8.0
STALE_ROW_S = 4.0
LIVE_TRIP = ("CONFIRMED", "ARRIVED", "STARTED")
LIVE_RIDE = ("SEARCHING", "PROPOSED", *LIVE_TRIP)
STEPS = {"arrived": "ARRIVED", "start": "STARTED", "finish": "FINISHED"}
RANK = ("CONFIRMED", "ARRIVED", "STARTED", "FINISHED")


class Refusal(Exception):
    """What a caller is told instead of an answer."""

    def __init__(self, code: str, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


@dataclass(frozen=True, slots=True)
class Place:
    lat: float
    lng: float

    def km_to(self, other: Place) -> float:
        a, b = math.radians(self.lat), math.radians(other.lat)
        h = (
            math.sin((b - a) / 2) ** 2
            + math.cos(a) * math.cos(b) * math.sin(math.radians(other.lng - self.lng) / 2) ** 2
        )
        return 2 * 6371.0088 * math.asin(math.sqrt(min(1.0, h)))

    def view(self) -> dict[str, str]:
        return {"lat": f"{self.lat:.6f}", "lng": f"{self.lng:.6f}"}


@dataclass(eq=False, slots=True)
class User:
    id: str
    role: str
    name: str
    phone: str
    password: str
    plate: str | None
    approved: bool = False
    online: bool = False
    place: Place | None = None
    recorded_ms: int = 0
    seen_at: float = -math.inf
    proposed: Ride | None = None
    trip: Trip | None = None
    ride: Ride | None = None


@dataclass(eq=False, slots=True)
class Trip:
    id: str
    ride: Ride
    driver: User
    status: str = "CONFIRMED"

    def view(self) -> dict[str, Any]:
        ride = self.ride
        return {
            "trip_id": self.id,
            "ride_id": ride.id,
            "status": self.status,
            "driver_id": self.driver.id,
            "passenger_id": ride.passenger.id,
            "pickup": ride.pickup.view(),
            "dropoff": ride.dropoff.view(),
            "fare": str(ride.fare) if self.status == "FINISHED" else None,
        }


@dataclass(eq=False, slots=True)
class Ride:
    id: str
    passenger: User
    key: str
    pickup: Place
    dropoff: Place
    fare: Decimal
    requested_ms: int
    search_until: float
    status: str = "SEARCHING"
    candidates: list[User] = field(default_factory=list)
    proposed_until: float = 0.0
    stale_until: float = 0.0
    lapsed: set[str] = field(default_factory=set)
    released: set[str] = field(default_factory=set)
    trips: list[Trip] = field(default_factory=list)
    reads: int = 0
    paid: bool = False

    def live_trips(self) -> list[Trip]:
        return [trip for trip in self.trips if trip.status in LIVE_TRIP]

    def view(self) -> dict[str, Any]:
        candidate = (
            self.candidates[self.reads % len(self.candidates)].id if self.candidates else None
        )
        driver = self.trips[-1].driver.id if self.trips and self.status in RANK else None
        stale = bool(self.candidates) and self.stale_until > time.monotonic()
        return {
            "ride_id": self.id,
            "passenger_id": self.passenger.id,
            "status": "PROPOSED" if stale else self.status,
            "candidate_driver_id": candidate if stale or self.status == "PROPOSED" else None,
            "driver_id": None if stale else driver,
            "pickup": self.pickup.view(),
            "dropoff": self.dropoff.view(),
            "estimated_fare": str(self.fare),
            "fare": str(self.fare) if self.status == "FINISHED" else None,
            "paid": self.paid,
        }

    def row(self) -> dict[str, Any]:
        return self.view() | {
            "trip_id": self.trips[-1].id if self.trips else None,
            "idempotency_key": self.key,
            "requested_at": str(self.requested_ms),
        }


class Dispatch:
    """The company. `tick` wants to be called some ten times a second."""

    def __init__(self, offer_life: float, search_life: float, faults: set[str]) -> None:
        self.offer_life, self.search_life, self.faults = offer_life, search_life, faults
        self.users: dict[str, User] = {}
        self.rides: dict[str, Ride] = {}
        self.ride_list: list[Ride] = []
        self.searching: dict[str, Ride] = {}
        self.trips: dict[str, Trip] = {}
        self.keys: dict[tuple[str, str], tuple[float, Ride]] = {}
        self.payments: list[dict[str, Any]] = []
        self.payment_keys: dict[tuple[str, str], dict[str, Any]] = {}
        self.counts: dict[str, int] = {}

    def bites(self, fault: str, every: int) -> bool:
        """Whether a fault is on and its turn has come."""
        if fault not in self.faults:
            return False
        self.counts[fault] = self.counts.get(fault, 0) + 1
        return self.counts[fault] % every == 0

    # Proposals

    def tick(self) -> None:
        """Ends what has run out, then proposes every waiting ride to its nearest free driver."""
        now = time.monotonic()
        for ride in list(self.searching.values()):
            self.settle(ride, now)
        waiting = [ride for ride in self.searching.values() if ride.status == "SEARCHING"]
        if waiting:
            free = {u.id: u for u in self.users.values() if self.is_free(u, now)}
            for ride in waiting:
                self.propose(ride, free, now)
        while self.keys and next(iter(self.keys.values()))[0] < now:
            self.keys.pop(next(iter(self.keys)))

    @staticmethod
    def is_free(user: User, now: float) -> bool:
        return (
            user.online
            and user.trip is None
            and user.proposed is None
            and now - user.seen_at < POSITION_LIFE_S
        )

    def propose(self, ride: Ride, free: dict[str, User], now: float) -> None:
        near = [
            (ride.pickup.km_to(u.place), u.id)
            for u in free.values()
            if u.place and u.id not in ride.released
        ]
        near = sorted(pair for pair in near if pair[0] <= REACH_KM)
        fresh = [pair for pair in near if pair[1] not in ride.lapsed]
        if near and not fresh:  # all were asked: start over
            ride.lapsed.clear()
            fresh = near
        wanted = 2 if "double-confirm" in self.faults else 1
        ride.candidates = [free.pop(user_id) for _, user_id in fresh[:wanted]]
        if ride.candidates:
            ride.status = "PROPOSED"
            ride.proposed_until = min(now + self.offer_life, ride.search_until)
            for user in ride.candidates:
                user.proposed = ride

    def settle(self, ride: Ride, now: float) -> None:
        """Makes the moves that time alone makes."""
        if ride.candidates and now >= (ride.stale_until or ride.proposed_until):
            ride.lapsed.update(user.id for user in ride.candidates)
            self.withdraw(ride)
        if ride.status in ("SEARCHING", "PROPOSED") and now >= ride.search_until:
            self.withdraw(ride)
            self.end(ride, "EXPIRED")

    def withdraw(self, ride: Ride) -> None:
        for user in ride.candidates:
            user.proposed = None
        ride.candidates = []
        if ride.status == "PROPOSED":
            ride.status = "SEARCHING"
        if ride.status != "SEARCHING":
            self.searching.pop(ride.id, None)

    def end(self, ride: Ride, status: str) -> None:
        ride.status = status
        self.withdraw(ride)
        if ride.passenger.ride is ride:
            ride.passenger.ride = None

    # The driver's moves

    def confirm(self, driver: User, ride: Ride) -> Trip:
        now = time.monotonic()
        self.settle(ride, now)
        if driver.trip and driver.trip.ride is ride:
            return driver.trip
        if driver.trip:
            raise Refusal("ON_TRIP", "you have a trip already")
        if ride.status not in LIVE_RIDE:
            raise Refusal("RIDE_OVER", f"the ride is {ride.status}")
        if driver not in ride.candidates:
            taken = ride.status in LIVE_TRIP
            raise Refusal(
                "TAKEN" if taken else "NOT_PROPOSED_TO_YOU", "the ride is not proposed to you"
            )
        trip = Trip(str(uuid.uuid4()), ride, driver)
        self.trips[trip.id] = trip
        ride.trips.append(trip)
        driver.trip, driver.proposed = trip, None
        ride.candidates.remove(driver)
        if ride.candidates:  # only where two were asked: the row is written late
            ride.stale_until = now + STALE_ROW_S
        ride.status = max((t.status for t in ride.live_trips()), key=RANK.index)
        if not ride.candidates:
            self.searching.pop(ride.id, None)
        return trip

    def step(self, driver: User, trip: Trip, step: str) -> Trip:
        ride = trip.ride
        if trip.status in ("CANCELLED", "RELEASED"):
            if step == "release" and trip.status == "RELEASED":
                return trip
            raise Refusal(f"TRIP_{trip.status}", "the trip is over")
        if step == "release":
            return self.release(driver, trip)
        at, wanted = RANK.index(trip.status), RANK.index(STEPS[step])
        if wanted > at + 1:
            raise Refusal("WRONG_STATE", f"the trip is {trip.status}")
        if wanted == at + 1:
            trip.status = STEPS[step]
            ride.status = max(ride.status, trip.status, key=RANK.index)
            if step == "finish":
                driver.trip = None
                self.end(ride, "FINISHED")
        return trip

    def release(self, driver: User, trip: Trip) -> Trip:
        ride = trip.ride
        if trip.status not in ("CONFIRMED", "ARRIVED"):
            raise Refusal("WRONG_STATE", f"the trip is {trip.status}")
        trip.status, driver.trip = "RELEASED", None
        ride.released.add(driver.id)
        if not ride.live_trips() and ride.status in LIVE_TRIP:
            self.withdraw(ride)
            ride.status, ride.search_until, ride.stale_until = (
                "SEARCHING",
                time.monotonic() + self.search_life,
                0.0,
            )
            self.searching[ride.id] = ride
        return trip

    def go(self, driver: User, online: bool) -> None:
        if not online and driver.trip:
            raise Refusal("ON_TRIP", "finish or release your trip first")
        if not driver.approved:
            raise Refusal("NOT_APPROVED", "an operator has to approve you", 403)
        driver.online = online
        if not online and driver.proposed:
            driver.proposed.lapsed.add(driver.id)
            self.withdraw(driver.proposed)

    # The passenger's moves

    def request(
        self, passenger: User, key: str, pickup: Place, dropoff: Place
    ) -> tuple[Ride, bool]:
        now = time.monotonic()
        kept = self.keys.get((passenger.id, key))
        if kept and kept[0] >= now:
            return kept[1], False
        if passenger.ride:
            self.settle(passenger.ride, now)
        if passenger.ride:
            raise Refusal("RIDE_IN_PROGRESS", f"you have the ride {passenger.ride.id}")
        fare = Decimal("4.00") + Decimal("1.40") * Decimal(pickup.km_to(dropoff))
        ride = Ride(
            str(uuid.uuid4()),
            passenger,
            key,
            pickup,
            dropoff,
            fare.quantize(Decimal("0.01"), ROUND_HALF_UP),
            int(time.time() * 1000),
            now + self.search_life,
        )
        self.rides[ride.id] = self.searching[ride.id] = passenger.ride = ride
        self.ride_list.append(ride)
        self.keys.pop((passenger.id, key), None)  # keeps the keys in the order in which they die
        self.keys[passenger.id, key] = (now + KEY_LIFE_S, ride)
        return ride, True

    def read(self, passenger: User, ride: Ride | None) -> dict[str, Any] | None:
        if ride:
            self.settle(ride, time.monotonic())
            ride.reads += 1
        others = [r for r in self.ride_list[-50:] if r.passenger is not passenger]
        if others and self.bites("other-rider", 15):
            ride = others[-1]
        return ride.view() if ride else None

    def cancel(self, ride: Ride) -> dict[str, Any]:
        self.settle(ride, time.monotonic())
        if self.bites("500-on-cancel", 2):
            raise Refusal("INTERNAL", "NullPointerException", 500)
        if ride.status == "STARTED":
            raise Refusal("TOO_LATE", "you are on your way")
        if ride.status in ("FINISHED", "EXPIRED"):
            raise Refusal("RIDE_OVER", f"the ride is {ride.status}")
        if ride.status != "CANCELLED" and self.bites("lost-cancel", 2):
            return ride.view() | {"status": "CANCELLED", "candidate_driver_id": None}
        for trip in ride.live_trips():
            trip.status, trip.driver.trip = "CANCELLED", None
        self.end(ride, "CANCELLED")
        return ride.view()

    def pay(self, ride: Ride, key: str) -> tuple[dict[str, Any], bool]:
        kept = self.payment_keys.get((ride.id, key))
        if kept and "charge-twice" not in self.faults:
            return kept, False
        if ride.status != "FINISHED":
            raise Refusal("NOT_FINISHED", f"the ride is {ride.status}")
        if ride.paid and not kept:
            raise Refusal("ALREADY_PAID", "the ride is paid for")
        ride.paid = True
        payment = {
            "payment_id": str(uuid.uuid4()),
            "ride_id": ride.id,
            "amount": str(ride.fare),
            "currency": "EUR",
            "created_at": str(int(time.time() * 1000)),
        }
        self.payments.append(payment)
        self.payment_keys[ride.id, key] = payment
        return payment, True
