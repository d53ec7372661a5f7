"""The components of docker-compose.yml, run as it runs them: command, environment, health check."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import urllib.request
from collections.abc import Generator
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.commands import STOKER, clean_environment
from tests.deployment import ROOT, services
from tests.servers import RedisServer, free_port
from tests.waiting import wait_until

#: The option that says where a component listens.
LISTENS = {
    "worker": "STOKER_WORKER__LISTEN",
    "beat": "STOKER_BEAT__LISTEN",
    "exporter": "STOKER_METRICS__LISTEN",
}

#: Components stop in order within this time, in seconds; docker-compose.yml gives them more.
STOP_SECONDS = 10.0


class Container:
    """A service of docker-compose.yml as a process, on a server and a port of the test."""

    def __init__(self, name: str, server: RedisServer, prefix: str, folder: Path) -> None:
        self.service = services()[name]
        self.port = free_port()
        self.log = folder / f"{name}.log"
        given: dict[str, str] = {
            **self.service["environment"],
            "STOKER_CONFIG": str(ROOT / "deploy" / "stoker.yaml"),
            "STOKER_REDIS__URL": server.url,
            "STOKER_BROKER__URL": server.url,
            "STOKER_PREFIX": prefix,
            "SHOP_DATABASE": str(folder / "shop.sqlite"),
            LISTENS[name]: f"127.0.0.1:{self.port}",
        }
        self.environment = clean_environment(C_FORCE_ROOT="1", **given)

    @contextlib.contextmanager
    def running(self) -> Generator[Container]:
        """Run it; afterwards it must end by itself on the image's stop signal."""
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [*STOKER, *self.service["command"]],
                cwd=ROOT,  # the image's working directory has the example, too
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(lambda: self.is_healthy(process), f"a healthy {self.log}", timeout=60)
            yield self
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_SECONDS) == 0, self.log.read_text()[-3000:]
        finally:
            process.kill()
            process.wait()

    def is_healthy(self, process: subprocess.Popen[bytes]) -> bool:
        """Ask as the engine does, but for the port."""
        assert process.poll() is None, self.log.read_text()[-3000:]
        kind, program, *words = self.service["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "stoker")
        address, slash, page = words[-1].removeprefix("http://").partition("/")
        assert address.startswith("127.0.0.1:")
        words[-1] = f"http://127.0.0.1:{self.port}{slash}{page}"
        asked = subprocess.run([*STOKER, *words], env=self.environment, capture_output=True, check=False)
        return asked.returncode == 0


def test_all_of_them_get_well_and_stop_in_time(
    redis_server: RedisServer, prefix: str, tmp_path: Path
) -> None:
    worker, beat, exporter = (Container(name, redis_server, prefix, tmp_path) for name in LISTENS)
    with worker.running(), beat.running(), exporter.running():

        def alive() -> bool:
            with urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}/metrics", timeout=10) as answer:
                found = {
                    sample.labels["component"]: sample.value
                    for family in text_string_to_metric_families(answer.read().decode())
                    for sample in family.samples
                    if sample.name == "stoker_processes"
                }
            return found == {"worker": 1, "beat": 1, "exporter": 1}

        wait_until(alive, "the three in the metrics that Prometheus reads", timeout=30)
    assert '"level": "error"' not in worker.log.read_text() + beat.log.read_text() + exporter.log.read_text()
