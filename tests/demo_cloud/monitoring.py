"""What Prometheus and Alertmanager say, asked over HTTP with the site's passwords."""

from collections.abc import Callable
from typing import Any

import requests


class Watcher:
    """Both at one address; `secret` gives a password of the site by its name."""

    def __init__(self, address: str, secret: Callable[[str], str]) -> None:
        self.address = address
        self._prometheus = ("admin", secret("prometheus_password"))
        self._alertmanager = ("admin", secret("prometheus_alertmanager_password"))

    def all_up(self) -> list[tuple[str, str]]:
        """Job and address of every target, when all answered the last time they were asked; else none."""
        found = self._get(9091, "api/v1/targets", self._prometheus)["data"]["activeTargets"]
        return [(t["labels"]["job"], t["scrapeUrl"]) for t in found] if all(t["health"] == "up" for t in found) else []

    def down(self) -> list[str]:
        """What the targets that do not answer say."""
        found = self._get(9091, "api/v1/targets", self._prometheus)["data"]["activeTargets"]
        return [f"{t['labels']['job']}: {t['health']} {t['lastError']}" for t in found if t["health"] != "up"]

    def alerts(self, name: str) -> list[dict[str, str]]:
        """The labels of the alerts of that name that Alertmanager holds for firing."""
        found = self._get(9093, "api/v2/alerts?active=true", self._alertmanager)
        return [alert["labels"] for alert in found if alert["labels"]["alertname"] == name]

    def _get(self, port: int, path: str, user: tuple[str, str]) -> Any:
        answer = requests.get(f"http://{self.address}:{port}/{path}", auth=user, timeout=30)
        answer.raise_for_status()
        return answer.json()
