"""A model as a service: `POST /predict`, a page to drop pictures on, health and metrics."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, HTTPException, Query, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.datastructures import UploadFile

import fdbpl
from fdbpl.data.images import UnreadableImage, decode_bytes
from fdbpl.serving.batching import BATCH, WAIT, Batcher, QueueFull
from fdbpl.serving.formats import as_object
from fdbpl.serving.guard import LOOPBACK, Access, Bounded, Guard
from fdbpl.serving.metrics import Measured, Metrics
from fdbpl.serving.predictor import KEEP, Predictor
from fdbpl.serving.stream import Answer

PREDICT, FORM, RAW = "/predict", "multipart/form-data", ("image/", "application/octet-stream")
PAGE = {"/": "index.html", **{f"/{one}": one for one in ("app.js", "answers.js", "style.css")}}
OPEN = (*PAGE, "/healthz")
"""What is answered without a token: the page, which asks for it, and whether the server lives."""
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
FILES = Path(__file__).parent / "page"


@dataclass(frozen=True)
class Settings:
    """How a model is served.

    Attributes:
        name: of the model.
        hosts: under which it is asked.
        token: that is wanted, if any.
        picture_bytes: of a picture at most.
        picture_pixels: likewise.
        pictures: in one request at most.
        room: pictures that may wait.
        batch: pictures classified together at most.
        wait: seconds that the first of them waits for others.
        workers: batches that are classified at the same time.
    """

    name: str
    hosts: tuple[str, ...] = LOOPBACK
    token: str | None = None
    picture_bytes: int = 20_000_000
    picture_pixels: int = 50_000_000
    pictures: int = 16
    room: int = 256
    batch: int = BATCH
    wait: float = WAIT
    workers: int = 1


class Predicted(BaseModel):
    """What a picture shows, or why nobody knows: the objects of `fdbpl predict --json`."""

    path: str
    top: list[tuple[str, float]] | None = None
    score: float | None = None
    known: bool | None = None
    error: str | None = None


class Answerer:
    """Answers requests by a model, many at a time."""

    def __init__(self, predictor: Predictor, settings: Settings) -> None:
        """Answer nothing before its `batcher` runs."""
        self._predictor, self._settings = predictor, settings
        self.batcher = Batcher(predictor.logits, settings.room, settings.batch, settings.wait)

    async def one(self, data: bytes, path: str, top: int, keep: int) -> Answer:
        """Return what the bytes of a picture show.

        Raises:
            UnreadableImage: they are no picture, or one of too many pixels.
            HTTPException: too many bytes, or too many pictures wait.
        """
        limit = self._settings.picture_bytes
        if len(data) > limit:
            raise HTTPException(413, f"{path or 'the picture'}: over {limit:,} bytes. Shrink it.")
        with self.batcher.coming():
            pixels = await asyncio.to_thread(self._pixels, data, path)
        try:
            logits = await self.batcher.submit(pixels)
        except QueueFull:
            raise HTTPException(503, "too many pictures wait.", {"Retry-After": "1"}) from None
        return Answer(path, self._predictor.of_logits(np.asarray(logits)[None], top, keep)[0])

    async def file(self, file: UploadFile, top: int, keep: int) -> Answer:
        """Return what a file of a form shows; one that is no picture, as an error."""
        name = file.filename or ""
        try:
            return await self.one(await file.read(), name, top, keep)
        except UnreadableImage as error:
            return Answer(name, error=str(error))

    def _pixels(self, data: bytes, path: str) -> Any:
        picture = decode_bytes(data, path or "the picture", self._settings.picture_pixels)
        return self._predictor.pixels(picture)


def create_app(predictor: Predictor, settings: Settings) -> FastAPI:
    """Return the application that serves a model."""
    answerer = Answerer(predictor, settings)
    batcher = answerer.batcher
    metrics = Metrics(
        pictures=lambda: batcher.pictures,
        batches=lambda: batcher.batches,
        waiting=lambda: batcher.waiting,
    )

    @asynccontextmanager
    async def running(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(batcher.run()) for _ in range(settings.workers)]
        yield
        for task in tasks:
            task.cancel()

    app = FastAPI(
        title=f"fdbpl: {settings.name}",
        version=fdbpl.__version__,
        lifespan=running,
        docs_url=None,  # these pages load scripts from elsewhere
        redoc_url=None,
    )
    body = settings.pictures * settings.picture_bytes
    app.add_middleware(Bounded, body=body)
    app.add_middleware(Guard, access=Access(settings.hosts, settings.token, OPEN))
    app.add_middleware(Measured, metrics=metrics, path=PREDICT)

    @app.post(
        PREDICT,
        response_model=list[Predicted] | Predicted,
        response_model_exclude_unset=True,
        openapi_extra={"requestBody": _BODY},
    )
    async def predict(
        request: Request,
        top: int = Query(5, ge=1, le=1000, description="Classes named."),
        keep: int = Query(KEEP, description="Per cent of known pictures that count as known."),
    ) -> Any:
        """Tell what pictures show: the bytes of one, or a form of several, answered as a list."""
        if keep not in predictor.calibration.thresholds:
            known = ", ".join(map(str, predictor.calibration.thresholds))
            raise HTTPException(422, f"keep is {keep}, wanted one of {known}.")
        kind = request.headers.get("content-type", "").lower()
        if kind.startswith(FORM):
            form = await request.form(max_files=settings.pictures, max_fields=0)
            files = [one for _, one in form.multi_items() if isinstance(one, UploadFile)]
            if not files:
                raise HTTPException(422, "the form holds no file.")
            found = await asyncio.gather(*(answerer.file(one, top, keep) for one in files))
            return [as_object(one) for one in found]
        if not kind.startswith(RAW):
            raise HTTPException(415, f"content-type is {kind!r}, wanted image/... or {FORM}.")
        try:
            return as_object(await answerer.one(await request.body(), "", top, keep))
        except UnreadableImage as error:
            raise HTTPException(422, str(error)) from None

    @app.get("/healthz")
    async def healthz() -> dict[str, Any]:
        """Tell that the server lives."""
        return {"status": "ok"}

    @app.get("/model")
    async def model() -> dict[str, Any]:
        """Tell which model it is, and which classes it tells apart."""
        return {"name": settings.name, "classes": list(predictor.class_names)}

    @app.get("/metrics", response_class=Response)
    async def tell_metrics() -> Response:
        """Tell counts and times, as Prometheus reads them."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    for path, name in PAGE.items():
        app.get(path, include_in_schema=False)(_page(FILES / name))
    return app


_BODY = {
    "required": True,
    "content": {
        "image/*": {"schema": {"type": "string", "format": "binary"}},
        FORM: {
            "schema": {
                "type": "object",
                "properties": {
                    "pictures": {"type": "array", "items": {"type": "string", "format": "binary"}}
                },
            }
        },
    },
}


def _page(file: Path) -> Callable[[], Awaitable[Response]]:
    data = file.read_bytes()

    async def page() -> Response:
        return Response(data, media_type=KINDS[file.suffix])

    return page
