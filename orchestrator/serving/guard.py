"""Who is let in, and what a browser may do with an answer.

Everybody with an account on a machine can reach its loopback, and so can every web page that its browser shows (by
DNS rebinding, as somebody else's host name). So each request needs the token, as with Jupyter, and a Host header that
names this machine.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from urllib.parse import urlsplit

from werkzeug.exceptions import Forbidden, Unauthorized
from werkzeug.wrappers import Request, Response

HOSTS = ["127.0.0.1", "localhost"]
"""Names under which a browser may call us; any port, since a tunnel may have another one."""

LARGEST_BODY = 64 * 1024
"""Bytes of a request's body (chosen); a query is some hundred."""

STRICT = "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; style-src 'unsafe-inline'"

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": STRICT,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer that does not set its own."""


class GuardedRequest(Request):
    """A request from this machine's browsers, and of a bounded size."""

    trusted_hosts = HOSTS
    max_content_length = LARGEST_BODY
    max_form_memory_size = LARGEST_BODY


@dataclass(frozen=True, kw_only=True)
class Guard:
    """The token, and the cookie that carries it once a browser has shown it.

    Attributes:
        token: The secret.
        cookie: Name of the cookie; cookies are shared by all ports of a host, so it holds the port.
    """

    token: str
    cookie: str

    def check(self, request: GuardedRequest) -> None:
        """Let a request pass.

        Raises:
            SecurityError: It calls us by another host's name.
            Unauthorized: It has no token, or a wrong one.
            Forbidden: Another site's page sent it.
        """
        assert request.host is not None  # raises SecurityError where it is not one of HOSTS
        if not self.is_token(request.cookies.get(self.cookie, "")) and not self.in_url(request):
            raise Unauthorized("This page wants its token. Open the URL that isoflop serve printed.")
        origin = request.headers.get("Origin")
        if request.method == "POST" and origin is not None and urlsplit(origin).netloc != request.host:
            raise Forbidden(f"The form was sent by {origin}, not by this page. Open this page and send it from there.")

    def in_url(self, request: Request) -> bool:
        """Whether the URL holds the token."""
        return self.is_token(request.args.get("token", ""))

    def is_token(self, text: str) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(text.encode("utf-8", "surrogatepass"), self.token.encode())

    def remember(self, response: Response) -> Response:
        """Give the browser the cookie."""
        response.set_cookie(self.cookie, self.token, httponly=True, samesite="Strict")
        return response


def seal(response: Response) -> Response:
    """Add the headers that an answer has not set itself."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response
