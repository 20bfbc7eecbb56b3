"""A client of a real Prefect server's API that does what the UI's buttons do, and waits for what comes of it."""

import json
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PrefectApi:
    """Calls on a server's API."""

    url: str

    def call(self, path: str, body: dict | None = None) -> Any:
        """Post a body, or get without one; a server whose SQLite file is locked says 503 and is asked again.

        It waits for the file for a minute before it says so, hence the longer limit here.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, {"Content-Type": "application/json"})
        for _ in range(30):
            try:
                with urllib.request.urlopen(request, timeout=180) as reply:
                    return json.loads(reply.read() or "null")
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
                error.close()
                time.sleep(1)
        raise TimeoutError(f"{path}: the server was busy for half a minute")

    def start(self, deployment: str, **parameters: object) -> str:
        """Start a run of a deployment (`flow/name`), as Quick run does; give the flow run's id."""
        found = self.call(f"deployments/name/{deployment}")
        body = {"parameters": parameters, "idempotency_key": str(uuid.uuid4())}  # asked twice, it starts one run
        return self.call(f"deployments/{found['id']}/create_flow_run", body)["id"]

    def state(self, run: str) -> str:
        """Name the type of a flow run's state: Retrying is Running, AwaitingRetry is Scheduled."""
        return self.call(f"flow_runs/{run}")["state"]["type"].capitalize()

    def set_state(self, run: str, kind: str, name: str) -> None:
        """Set a state, as Retry (SCHEDULED, AwaitingRetry) and Cancel (CANCELLING, Cancelling) do."""
        answer = self.call(f"flow_runs/{run}/set_state", {"state": {"type": kind, "name": name}})
        assert answer["status"] == "ACCEPT", answer

    def retry(self, run: str) -> None:
        """Press Retry."""
        self.set_state(run, "SCHEDULED", "AwaitingRetry")

    def cancel(self, run: str) -> None:
        """Press Cancel."""
        self.set_state(run, "CANCELLING", "Cancelling")

    def wait(self, run: str, *states: str, timeout_s: float = 400) -> float:
        """Wait until a run is in one of some states; give the seconds it took."""
        started = time.monotonic()
        while (state := self.state(run)) not in states:
            waited = time.monotonic() - started
            if waited > timeout_s:
                raise TimeoutError(f"the run is {state} after {waited:.0f} s, wanted {states}")
            time.sleep(0.5)
        return time.monotonic() - started

    def rounds(self, run: str) -> list[dict]:
        """List the flow runs of the rounds of a run."""
        return self.call("flow_runs/filter", {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}})

    def artifact(self, run: str, key: str) -> dict:
        """Read the newest artifact with a key of a run or its rounds."""
        runs = [run, *(one["id"] for one in self.rounds(run))]
        query = {"artifacts": {"flow_run_id": {"any_": runs}, "key": {"any_": [key]}}, "sort": "CREATED_DESC"}
        return self.call("artifacts/filter", query)[0]

    def table(self, run: str, key: str) -> list[dict]:
        """Read the rows of the newest table with a key of a run or its rounds."""
        return json.loads(self.artifact(run, key)["data"])
