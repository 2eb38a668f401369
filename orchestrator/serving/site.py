"""The pages, as a WSGI application. Every path is one of a fixed few; none of them names a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from importlib import resources
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed, NotFound
from werkzeug.utils import redirect
from werkzeug.wrappers import Response

from analysis import notation
from analysis.errors import AnalysisError
from orchestrator import status
from orchestrator.errors import OrchestratorError
from orchestrator.minima import minimum_text
from orchestrator.prices import cost_text
from orchestrator.serving.guard import STRICT, Guard, GuardedRequest, seal
from orchestrator.serving.live import Kept, LiveReport
from orchestrator.serving.sql import ROWS, Queries

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LIVE = f"{STRICT}; script-src 'self'; connect-src 'self'; frame-src 'self'"
"""Of the page that holds the report: it has one script of its own, and a frame."""

FRAMED = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox allow-same-origin"
)
"""Of the report in that frame: no script, no form, no request."""

FIRST_QUERY = """\
select budget, params, avg(loss) as loss, count(*) as seeds
from runs where status = 'ok' group by budget, params order by budget, params"""


class Site:
    """The live pages of one store."""

    def __init__(self, location: str, guard: Guard, report: LiveReport, queries: Queries) -> None:
        self._location = location
        self._guard = guard
        self._report = report
        self._queries = queries
        self._progress = Kept(self._read_progress)
        self._pages: dict[str, dict[str, Callable[[GuardedRequest], Response]]] = {
            "/": {"GET": self._live},
            "/status": {"GET": self._status},
            "/report": {"GET": self._framed},
            "/sql": {"GET": self._sql, "POST": self._sql},
            "/live.js": {"GET": self._script},
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, as WSGI has it."""
        request = GuardedRequest(environ)
        response = seal(self._respond(request))
        return response(environ, start_response)

    def _respond(self, request: GuardedRequest) -> Response:
        try:
            self._guard.check(request)
            return self._page(request)
        except HTTPException as error:
            return self._refusal(error)
        except (AnalysisError, OrchestratorError) as error:
            return self._refusal(InternalServerError(str(error)))

    def _page(self, request: GuardedRequest) -> Response:
        methods = self._pages.get(request.path)
        if methods is None:
            raise NotFound("There is no such page. The report is at /.")
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            raise MethodNotAllowed(valid_methods=[*methods, "HEAD"])
        if "token" in request.args:  # keep it out of the address bar, the history and bookmarks
            return self._guard.remember(redirect(request.path, 303))
        return handler(request)

    def _refusal(self, error: HTTPException) -> Response:
        text = self._render("message.html.j2", title=f"{error.code} {error.name}", message=error.description)
        return Response(text, error.code, error.get_headers())

    def _live(self, request: GuardedRequest) -> Response:
        page = self._render("live.html.j2", **self._state(), version=self._report.version or "")
        return Response(page, mimetype="text/html", headers={"Content-Security-Policy": LIVE})

    def _status(self, request: GuardedRequest) -> Response:
        """The strip above the report, which the script fetches again and again."""
        page = self._render("status.html.j2", **self._state())
        return Response(page, mimetype="text/html", headers={"Isoflop-Report": self._report.version or ""})

    def _framed(self, request: GuardedRequest) -> Response:
        page = self._report.page()
        headers = {"Content-Security-Policy": FRAMED, "Isoflop-Report": page.version}
        return Response(page.html, mimetype="text/html", headers=headers)

    def _sql(self, request: GuardedRequest) -> Response:
        sql = request.form.get("sql", FIRST_QUERY)
        answer = self._queries.run(sql) if request.method == "POST" else None
        page = self._render("sql.html.j2", title=self._state()["title"], sql=sql, answer=answer, rows_shown=ROWS)
        return Response(page, mimetype="text/html")

    def _script(self, request: GuardedRequest) -> Response:
        text = (resources.files("orchestrator.serving") / "templates/live.js").read_text()
        return Response(text, mimetype="text/javascript")

    def _state(self) -> dict[str, Any]:
        return self._progress.value()

    def _read_progress(self) -> dict[str, Any]:
        """Progress in words."""
        state = status.status(self._location)
        curves = [
            (
                " ".join(filter(None, (notation.flops(curve["budget"]), curve["setting"]))),
                f"{curve['done']}/{curve['runs']}",
                str(curve["running"]),
                str(curve["failed"]),
                "" if curve["best_params"] is None else notation.count(curve["best_params"]),
                notation.loss(curve["best_loss"]),
                minimum_text(curve["minimum"], complete=curve["done"] + curve["failed"] >= curve["runs"]),
            )
            for curve in state["curves"]
        ]
        driver = state["driver"]
        return {
            "title": state["sweep"],
            "store": state["store"],
            "driver": f"driven by pid {driver['pid']} on {driver['host']}, since {driver['since']}"
            if driver
            else "no driver",
            "counts": ", ".join(f"{count} {name}" for name, count in state["counts"].items()),
            "spent": f"{notation.flops(state['flops_spent'])} of {notation.flops(state['flops_planned'])}",
            "left": notation.duration(state["worker_seconds_left"]),
            "cost": cost_text(state["cost"]["so_far"]),
            "curves": curves,
            "failures": [f"{one['status']}: {one['run_id']} {one['reason']}" for one in state["failures"][:20]],
        }

    def _render(self, name: str, **values: Any) -> str:
        return str(self._templates.get_template(name).render(**values))

    @cached_property
    def _templates(self) -> Any:
        from jinja2 import Environment, PackageLoader, StrictUndefined

        return Environment(
            loader=PackageLoader("orchestrator.serving", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
