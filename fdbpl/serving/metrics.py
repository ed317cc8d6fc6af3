"""What a server tells Prometheus of itself."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREFIX = "fdbpl_"


class Metrics:
    """Counts of requests by status and their seconds, and values that are asked for."""

    def __init__(self, **values: Callable[[], float]) -> None:
        """Count in a registry of its own; `values` are told under their names."""
        self._registry = CollectorRegistry()
        self.requests = Counter(
            f"{PREFIX}requests", "Predictions asked for", ["status"], registry=self._registry
        )
        self.seconds = Histogram(
            f"{PREFIX}request_seconds", "Seconds to the answer", registry=self._registry
        )
        for name, value in values.items():
            Gauge(f"{PREFIX}{name}", f"{name} so far", registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """Return them as Prometheus reads them."""
        return generate_latest(self._registry)


class Measured:
    """Stands before an application and measures one path of it."""

    def __init__(self, app: ASGIApp, metrics: Metrics, path: str) -> None:
        """Measure requests of `path`."""
        self._app, self._metrics, self._path = app, metrics, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note its status and time."""
        if scope["type"] != "http" or scope["path"] != self._path:
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.requests.labels(str(message["status"])).inc()
                self._metrics.seconds.observe(time.perf_counter() - start)
            await send(message)

        await self._app(scope, receive, noted)
