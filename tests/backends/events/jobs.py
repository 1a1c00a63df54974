"""Jobs, drivers, and the database that has the money.

No HTTP and no wire in here: `tell` is called with each event. Every method runs from its first
line to its last without a pause and writes the database before it answers, so no caller ever sees
half of another's move. The faults are described in server.py.
"""

from __future__ import annotations

import math
import secrets
import sqlite3
import time
from dataclasses import dataclass, field
from typing import Any, Callable

FAULTS = ("charge-twice", "assign-busy", "limit-after-effect", "never-charge")
REACH_KM = 10.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, passenger_id TEXT NOT NULL, driver_id TEXT NOT NULL,
    request_id TEXT NOT NULL, state TEXT NOT NULL, from_lat REAL NOT NULL, from_lng REAL NOT NULL,
    to_lat REAL NOT NULL, to_lng REAL NOT NULL,
    created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS charges (
    id INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL REFERENCES jobs(id),
    amount_cents INTEGER NOT NULL, created_at INTEGER NOT NULL);
UPDATE jobs SET state = 'withdrawn' WHERE state IN ('matched', 'riding');
"""


class Refusal(Exception):
    """A business error: an HTTP status and a body."""

    def __init__(self, status: int, code: str, **more: Any) -> None:
        super().__init__(code)
        self.status, self.body = status, {"code": code, **more}


@dataclass(frozen=True)
class Spot:
    lat: float
    lng: float

    def km_to(self, other: Spot) -> float:
        a, b = math.radians(self.lat), math.radians(other.lat)
        across = math.sin(math.radians(other.lng - self.lng) / 2) ** 2
        h = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * across
        return 2 * 6371.0088 * math.asin(math.sqrt(min(1.0, h)))

    def view(self) -> dict[str, float]:
        return {"lat": self.lat, "lng": self.lng}


@dataclass(eq=False)
class User:
    id: str
    name: str
    password: str
    role: str
    spot: Spot | None = None
    seen_at: float = -math.inf
    socket: str | None = None
    jobs: list[Job] = field(default_factory=list)
    requests: dict[str, Job] = field(default_factory=dict)


@dataclass(eq=False)
class Job:
    id: str
    passenger: User
    driver: User
    start: Spot
    goal: Spot
    state: str = "matched"

    @property
    def amount_cents(self) -> int:
        return 300 + round(110 * self.start.km_to(self.goal))

    def view(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "state": self.state,
            "driver_id": self.driver.id,
            "driver_name": self.driver.name,
            "passenger_id": self.passenger.id,
            "from": self.start.view(),
            "to": self.goal.view(),
        }


class Jobs:
    """All jobs of this life of the server."""

    def __init__(
        self,
        database: str,
        position_life: float,
        faults: set[str],
        tell: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self.position_life, self.faults, self.tell = position_life, faults, tell
        self.drivers: list[User] = []
        self.jobs: dict[str, Job] = {}
        self.turns: dict[str, int] = {}
        self.database = sqlite3.connect(database, isolation_level=None, timeout=5.0)
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("PRAGMA synchronous = OFF")
        self.database.executescript(SCHEMA)

    def bites(self, fault: str, every: int) -> bool:
        """Whether a fault is on and its turn has come."""
        if fault not in self.faults:
            return False
        self.turns[fault] = self.turns.get(fault, 0) + 1
        return self.turns[fault] % every == 0

    def request(
        self, passenger: User, request_id: str, start: Spot, goal: Spot
    ) -> tuple[Job, bool]:
        """Makes a job that is matched already, or gives the one of that request."""
        if request_id in passenger.requests:
            return passenger.requests[request_id], False
        if passenger.jobs:
            raise Refusal(409, "job_running", job=passenger.jobs[-1].id)
        driver = self.nearest(start)
        if driver is None:
            raise Refusal(409, "no_cars")
        job = Job(f"job_{secrets.token_hex(8)}", passenger, driver, start, goal)
        now = int(time.time() * 1000)
        row = (
            job.id,
            passenger.id,
            driver.id,
            request_id,
            job.state,
            start.lat,
            start.lng,
            goal.lat,
            goal.lng,
            now,
            now,
        )
        self.database.execute(f"INSERT INTO jobs VALUES ({','.join('?' * len(row))})", row)
        self.jobs[job.id] = job
        driver.jobs.append(job)
        if self.bites("limit-after-effect", 5):
            self.announce(job)
            raise Refusal(429, "slow_down")
        passenger.requests[request_id] = job
        passenger.jobs.append(job)
        self.announce(job)
        return job, True

    def nearest(self, start: Spot) -> User | None:
        now, best, best_km = time.monotonic(), None, REACH_KM
        for driver in self.drivers:
            busy = driver.jobs and "assign-busy" not in self.faults
            if (
                driver.spot
                and driver.socket
                and not busy
                and now - driver.seen_at < self.position_life
            ):
                km = start.km_to(driver.spot)
                if km <= best_km:
                    best, best_km = driver, km
        return best

    def announce(self, job: Job) -> None:
        event = {**job.view(), "at": int(time.time() * 1000)}
        if job.state == "matched":
            self.tell(f"driver.{job.driver.id}.assigned", {"event": "assigned", **event})
        self.tell(f"job.{job.id}.{job.state}", {"event": job.state, **event})

    def move(self, job: Job, state: str) -> None:
        charges = 0
        if state == "closed":
            charges = (
                2 if self.bites("charge-twice", 3) else 0 if self.bites("never-charge", 3) else 1
            )
        now = int(time.time() * 1000)
        self.database.execute("BEGIN IMMEDIATE")
        self.database.execute(
            "UPDATE jobs SET state = ?, updated_at = ? WHERE id = ?", (state, now, job.id)
        )
        for _ in range(charges):
            row = (job.id, job.amount_cents, now)
            self.database.execute(
                "INSERT INTO charges (job_id, amount_cents, created_at) VALUES (?, ?, ?)", row
            )
        self.database.execute("COMMIT")
        job.state = state
        if state in ("closed", "withdrawn"):
            for person in (job.driver, job.passenger):
                if job in person.jobs:
                    person.jobs.remove(job)
        self.announce(job)

    def begin(self, job: Job) -> None:
        if job.state == "matched":
            self.move(job, "riding")
        elif job.state != "riding":
            raise Refusal(409, job.state)

    def end(self, job: Job) -> None:
        if job.state == "riding":
            self.move(job, "closed")
        elif job.state != "closed":
            raise Refusal(409, "not_begun" if job.state == "matched" else job.state)

    def withdraw(self, job: Job) -> None:
        if job.state == "matched":
            self.move(job, "withdrawn")
        elif job.state != "withdrawn":
            raise Refusal(409, "too_late", state=job.state)
