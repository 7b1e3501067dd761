"""Traces by OpenTelemetry, where a collector is named (`BLOBFORGE_OTEL_ENDPOINT`). State owned here: the
provider with its queue of ended spans, which the SDK's own thread sends.

Where there is no collector there is no Tracer, and each place that might trace asks one `is None`. The SDK is
imported only when it is needed: it is an extra.

A request is a span, current while its handler runs. To an actor it is plain data in the envelope (`Trace`); the
writer says afterwards when a message waited and when it was committed. Spans carry no query string, no header, no
body and no text of an exception: what is secret stays out of them.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, cast

import msgspec
import structlog
import trio

from blobforge.machinery.datadir import StartError
from blobforge.machinery.release import version

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.trace import Span

log = structlog.get_logger("blobforge.tracing")

EXPORT_SECONDS = 5.0  # for one batch, repeats included; it holds up the sending thread alone
FLUSH_SECONDS = 3.0  # at shutdown: a collector that is away must not hold up the end
TRACES_PATH = "/v1/traces"  # of OTLP over HTTP
_EXPORTERS_LOGGER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"

AttributeValue = str | int | float | bool


class Trace(msgspec.Struct, frozen=True):
    """The request behind a message: a W3C `traceparent`, and when the message was sent (ns since the epoch)."""

    parent: str
    sent: int

    def again(self) -> Trace:
        """The same, for a message that is sent on now."""
        return Trace(self.parent, time.time_ns())


def open_tracer(endpoint: str) -> Tracer | None:
    """A tracer that sends to this OTLP/HTTP endpoint; None without one. Raises StartError without the extra."""
    if not endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise StartError(
            f"BLOBFORGE_OTEL_ENDPOINT is set, but tracing is not installed ({error}): "
            "pip install 'blobforge-server[otel]', or unset it"
        ) from error
    base = endpoint.rstrip("/")
    url = base if base.endswith(TRACES_PATH) else base + TRACES_PATH
    return Tracer(OTLPSpanExporter(endpoint=url, timeout=EXPORT_SECONDS), url)


class Tracer:
    """Makes spans. What is sampled, and further headers and limits, are the SDK's variables (`OTEL_...`)."""

    def __init__(self, exporter: SpanExporter, where: str) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        name = os.environ.get("OTEL_SERVICE_NAME", "blobforge-server")
        ours = version()
        resource = Resource.create({"service.name": name, "service.version": ours})
        self._api = trace
        self._w3c = TraceContextTextMapPropagator()
        self.sending = Sending(exporter, where)
        # Not at the exit of the interpreter: `close` does it, under a deadline.
        self._provider: TracerProvider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(cast("SpanExporter", self.sending)))
        self._tracer = self._provider.get_tracer("blobforge", ours)

    @contextmanager
    def request(
        self, name: str, header: Callable[[str], str | None], attributes: Mapping[str, AttributeValue]
    ) -> Iterator[Span]:
        """The span of one request, current in the block; the child of the caller's, if it sent a `traceparent`."""
        sent = {key: value for key in ("traceparent", "tracestate") if (value := header(key)) is not None}
        span = self._tracer.start_span(
            name,
            self._w3c.extract(sent) if sent else None,
            self._api.SpanKind.SERVER,
            dict(attributes),
            record_exception=False,
            set_status_on_exception=False,
        )
        use = partial(self._api.use_span, record_exception=False, set_status_on_exception=False)
        try:
            with use(span):
                yield span
        finally:
            span.end()

    def answered(self, span: Span, status: int) -> None:
        """How the request was answered. A refusal is no error of ours."""
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(self._api.StatusCode.ERROR)

    def here(self) -> Trace | None:
        """The request under way, for a message on its behalf; None where there is none, or it is not sampled."""
        if not self._api.get_current_span().get_span_context().trace_flags.sampled:
            return None
        carrier: dict[str, str] = {}
        self._w3c.inject(carrier)
        return Trace(carrier["traceparent"], time.time_ns())

    def trace_id(self, span: Span) -> str:
        """32 hex digits, for the log."""
        return self._api.format_trace_id(span.get_span_context().trace_id)

    @contextmanager
    def child(self, name: str, attributes: Mapping[str, AttributeValue]) -> Iterator[None]:
        """A span of something that the current request waits for. Without a request: nothing."""
        if not self._api.get_current_span().is_recording():
            yield
            return
        span = self._tracer.start_span(
            name, None, self._api.SpanKind.CLIENT, dict(attributes), record_exception=False
        )
        try:
            yield
        except Exception as error:
            # Its kind only: the text of an error may hold secrets.
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(self._api.StatusCode.ERROR)
            raise
        finally:
            span.end()

    def record(self, trace: Trace, name: str, began: int, ended: int, **attributes: AttributeValue) -> None:
        """A span that is over already, below the request of `trace`. Times in ns since the epoch."""
        context = self._w3c.extract({"traceparent": trace.parent})
        span = self._tracer.start_span(name, context, attributes=attributes, start_time=began)
        span.end(max(began, ended))

    async def close(self) -> None:
        """Send what is left, for FLUSH_SECONDS at most."""
        with trio.move_on_after(FLUSH_SECONDS, shield=True):
            await trio.to_thread.run_sync(self._provider.shutdown, abandon_on_cancel=True)


class Sending:
    """A SpanExporter around another: counts, and says once that the collector is away, and once that it is back.

    Runs in the SDK's thread; the counts are read from outside of it.
    """

    def __init__(self, exporter: SpanExporter, where: str) -> None:
        self._exporter = exporter
        self._where = where
        self._failing = False
        self._said = ""
        self.sent = 0
        self.lost = 0
        logging.getLogger(_EXPORTERS_LOGGER).addFilter(self._note)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result.name == "SUCCESS":
            self.sent += len(spans)
            if self._failing:
                log.info("traces are sent again", to=self._where)
            self._failing = False
            return result
        self.lost += len(spans)
        if not self._failing:
            log.warning("cannot send traces; those of the meantime are lost", to=self._where, reason=self._said)
        self._failing = True
        return result

    def shutdown(self) -> None:
        logging.getLogger(_EXPORTERS_LOGGER).removeFilter(self._note)
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def _note(self, record: logging.LogRecord) -> bool:
        """The exporter logs every batch that fails, for as long as the collector is away: kept, and not written."""
        self._said = record.getMessage()
        return False
