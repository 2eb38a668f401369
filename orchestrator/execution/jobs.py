"""The job server of a Ray cluster: submit, list and follow. Besides the launcher the only module that imports Ray.

Every failure that a user meets on the way there is one message in three parts; Ray's own are a stack of connection
errors, or name what is not the cause.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import InfrastructureError, SubmissionError
from orchestrator.execution import authentication

WAIT_SECONDS = 60.0
"""How long a head that does not answer yet is waited for: Ray's needs about 40 s from its start (chosen)."""

RETRY_SECONDS = 1.0

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")

OVERRIDES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Variables that Ray takes before the address it is given."""

PASSING = (500, 502, 503, 504)
"""HTTP errors that may pass: a head that comes up has no agent for jobs yet and says 500."""

REPEAT = "Repeat the command: what was submitted is not submitted twice."


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job of the cluster.

    Attributes:
        name: Its submission id.
        status: `PENDING`, `RUNNING`, `SUCCEEDED`, `FAILED` or `STOPPED`.
        exit_code: Of its driver, where known.
        message: Ray's word on its state.
        metadata: What the submitter kept beside it.
    """

    name: str
    status: str
    exit_code: int | None
    message: str
    metadata: Mapping[str, str]

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self.status in ENDED


class JobServer:
    """A cluster's job server; what does not answer is asked again until `wait_seconds` have passed."""

    def __init__(
        self, address: str, *, wait_seconds: float = WAIT_SECONDS, note: Callable[[str], None] = lambda _: None
    ) -> None:
        """Connect.

        Args:
            address: `http://HEAD:8265`.
            wait_seconds: How long to ask again a server that is not there yet.
            note: Told once when the server does not answer at first, and of versions that differ.

        Raises:
            SubmissionError: The address is none of a job server, or Ray's client is not installed in full.
            InfrastructureError: Nobody answers, or the token is refused.
        """
        self.address = address.rstrip("/")
        self._wait = wait_seconds
        self._note = note
        if not address.startswith(("http://", "https://")):
            raise SubmissionError(
                f"--address is {address}; expected the address of the head's dashboard, http://HEAD:8265. "
                "Open a tunnel with ray dashboard cluster.yaml and use http://127.0.0.1:8265."
            )
        authentication.prepare_client()
        with _without(OVERRIDES), _quiet():
            self._client = self._retried(lambda: _client(self.address))
        self._compare_versions()

    def jobs(self) -> dict[str, Job]:
        """Submitted jobs that the head remembers, by submission id."""
        found = self._retried(self._client.list_jobs)
        return {detail.submission_id: _job(detail) for detail in found if detail.submission_id}

    def submit(
        self,
        name: str,
        *,
        command: str,
        archive: Path,
        environment: Mapping[str, str],
        metadata: Mapping[str, str],
    ) -> None:
        """Submit a job once, however often it has to be asked for.

        Args:
            name: Submission id; a job of that name that is there already is this one.
            command: What the head's shell runs.
            archive: Zip archive that becomes the working folder of the job and of its workers.
            environment: Variables of the job.
            metadata: Kept beside the job.
        """

        def once() -> None:
            try:
                self._client.submit_job(
                    submission_id=name,
                    entrypoint=command,
                    runtime_env={"working_dir": str(archive), "env_vars": dict(environment)},
                    metadata=dict(metadata),
                )
            except RuntimeError:
                if name not in {detail.submission_id for detail in self._client.list_jobs()}:
                    raise

        with _quiet():
            self._retried(once)

    def follow(self, name: str, show: Callable[[str], None]) -> Job:
        """Show a job's log from its beginning, and return the job when it has ended.

        A connection that breaks is made anew, and goes on where it broke.

        Raises:
            InfrastructureError: The server stopped answering.
        """
        seen = 0
        while True:
            with _quiet():
                seen, whole = asyncio.run(self._tail(name, seen, show))
            jobs = self.jobs()
            if name not in jobs:
                raise InfrastructureError(
                    f"the head at {self.address} knows no job {name} any more; expected the one that was followed. "
                    "It was restarted: repeat the command, and the sweep goes on from its store."
                )
            if jobs[name].ended and whole:
                return jobs[name]
            time.sleep(RETRY_SECONDS)

    async def _tail(self, name: str, seen: int, show: Callable[[str], None]) -> tuple[int, bool]:
        """Show what comes after `seen` characters; returns how many there were, and whether the log came to its end."""
        import aiohttp

        passed = 0
        try:
            async for text in self._client.tail_job_logs(name):
                passed += len(text)
                if passed > seen:
                    show(text[max(0, len(text) - (passed - seen)) :])
                    seen = passed
        except (aiohttp.ClientError, RuntimeError, OSError):  # a tunnel that broke, or a job that has no log yet
            return seen, False
        return seen, True

    def _retried(self, ask: Callable[[], Any]) -> Any:
        """Ask until there is an answer, or an error that no waiting mends."""
        import ray.exceptions

        deadline = time.monotonic() + self._wait
        said = False
        while True:
            try:
                return ask()
            except (OSError, RuntimeError, ValueError, KeyError, ray.exceptions.RayError) as error:
                explained, passing = _explained(error, self.address, self._wait)
                if not passing or time.monotonic() > deadline:
                    raise explained from error
            if not said:
                self._note(f"{self.address} does not answer yet; waiting up to {self._wait:.0f} s")
                said = True
            time.sleep(RETRY_SECONDS)

    def _compare_versions(self) -> None:
        import ray

        theirs = getattr(self._client, "_server_ray_version", None)  # Ray asked for it, and keeps it to itself
        if theirs is not None and theirs.split(".")[:2] != ray.__version__.split(".")[:2]:
            self._note(f"the cluster runs Ray {theirs}, this machine {ray.__version__}; the job API serves both")


def _client(address: str) -> Any:
    try:
        import aiohttp  # noqa: F401 - Ray's client fails later, and less clearly, without it
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise SubmissionError(
            f"Ray's job client is not installed in full ({error}); expected ray[default]. "
            "Install it: pip install 'isoflop[submit]'."
        ) from None
    return JobSubmissionClient(address)


def _explained(error: Exception, address: str, waited: float) -> tuple[InfrastructureError, bool]:
    """An error in our words, and whether it may pass."""
    import ray.exceptions

    text = str(error)
    if isinstance(error, getattr(ray.exceptions, "AuthenticationError", ())):  # older versions have no tokens
        return _about_token(address, refused="failed" in text.splitlines()[0]), False
    if any(f"status code {code}" in text or f"{code} Server Error" in text for code in PASSING):
        return InfrastructureError(
            f"the job server at {address} failed: {_last_line(text)}; expected it to take the job. {REPEAT}"
        ), True
    if "returned 404" in text or "is running on the cluster" in text or isinstance(error, ValueError | KeyError):
        return InfrastructureError(
            f"{address} has no job API that this Ray {ray.__version__} can use ({_last_line(text)}); expected the "
            f"dashboard of a Ray {ray.__version__} head. Check the port (8265), and install one version of Ray "
            "everywhere."
        ), False
    if isinstance(error, OSError):  # those of requests, too
        return InfrastructureError(
            f"nobody listens at {address} (asked for {waited:.0f} s); expected the head's job server. "
            "Start the cluster, or its tunnel: ray dashboard cluster.yaml (docs/clusters.md)."
        ), True
    return InfrastructureError(
        f"the job server at {address} refused: {_last_line(text)}; expected it to take the job. {REPEAT}"
    ), False


def _about_token(address: str, *, refused: bool) -> InfrastructureError:
    source = authentication.token_source()
    if refused:
        problem = f"{address} refuses the token in {source} (HTTP 403)"
    elif source is None:
        problem = f"{address} wants a token (HTTP 401), and this machine has none"
    else:
        problem = f"{address} wants a token (HTTP 401); RAY_AUTH_MODE={os.environ.get('RAY_AUTH_MODE')} sent none"
    return InfrastructureError(
        f"{problem}; expected the head's own. Copy its ~/.ray/auth_token here, or export RAY_AUTH_TOKEN=... and "
        "RAY_AUTH_MODE=token (docs/running.md#authentication)."
    )


def _job(detail: Any) -> Job:
    return Job(
        name=detail.submission_id,
        status=str(getattr(detail.status, "value", detail.status)),
        exit_code=detail.driver_exit_code,
        message=detail.message or "",
        metadata=detail.metadata or {},
    )


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason given"


@contextmanager
def _without(names: tuple[str, ...]) -> Iterator[None]:
    """Take variables out of the environment for a while: an address that was typed comes first."""
    held = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(held)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray's word on each upload to itself: what is sent was shown before."""
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
