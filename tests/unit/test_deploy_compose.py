"""docker-compose.yml holds against the Compose specification, the real command line and the configuration."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml

from stoker.core.settings.config import load_config
from stoker.schedules.check import check
from stoker.worker.config import StokerConfig
from tests.deployment import (
    DEPLOY,
    ROOT,
    SECRETS,
    compose,
    compose_text,
    dockerfile,
    parse_command,
    services,
    shop_client,
    variables,
)

SCHEMA = ROOT / "tests" / "schemas" / "compose-spec" / "compose-spec.json"

#: Services that run a `stoker` command.
COMPONENTS = ("worker", "beat", "exporter")

#: `image: name:tag`, with a version in full: `8.1.3`, `v3.5.0`, `4.1.2-alpine`.
EXACT = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+(-[\w.]+)?")

#: Services whose root file system is written to by their image.
WRITES_ITS_ROOT = {"rabbitmq"}


def configured() -> StokerConfig:
    """deploy/stoker.yaml as a container reads it."""
    environment = services()["worker"]["environment"]
    given = {name: value for name, value in environment.items() if name != "STOKER_CONFIG"}
    return load_config(StokerConfig, DEPLOY / "stoker.yaml", given).value


def port(address: str | None) -> int:
    assert address
    return int(address.rpartition(":")[2])


def test_it_follows_the_specification() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))

    problems = list(jsonschema.Draft202012Validator(schema).iter_errors(compose()))
    assert not problems, [f"{list(problem.path)}: {problem.message}" for problem in problems]


def test_the_schema_would_find_a_slip() -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    document = compose()
    document["services"]["worker"]["restrat"] = "always"

    assert not jsonschema.Draft202012Validator(schema).is_valid(document)


def test_everything_that_belongs_is_there() -> None:
    assert {"valkey", "rabbitmq", "worker", "beat", "exporter", "prometheus", "grafana"} <= set(services())


def test_each_image_has_an_exact_version() -> None:
    images = {name: service["image"] for name, service in services().items()}

    assert not [image for image in images.values() if not EXACT.fullmatch(image)]
    assert "latest" not in compose_text()


def test_what_is_built_has_the_version_of_the_project() -> None:
    import tomllib

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    built = [service for service in services().values() if "build" in service]

    assert {service["image"] for service in built} == {f"stoker-example:{version}"}
    for service in built:
        assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert service["build"]["target"] in {stage.name for stage in dockerfile()}


@pytest.mark.parametrize("name", COMPONENTS)
def test_each_component_is_a_command_of_stoker(name: str) -> None:
    service = services()[name]

    assert "entrypoint" not in service
    assert parse_command(service["command"]).command.name == name


def test_a_wrong_command_would_be_found() -> None:
    with pytest.raises(click.UsageError):
        parse_command(["wroker"])
    with pytest.raises(click.UsageError):
        parse_command(["worker", "--no-such-option"])


@pytest.mark.parametrize("name", [name for name in services() if name not in {"valkey", "rabbitmq"}])
def test_each_health_check_asks_an_address_that_is_listened_on(name: str) -> None:
    config = configured()
    ports = {
        "worker": port(config.worker.listen),
        "beat": port(config.beat.listen),
        "exporter": port(config.metrics.listen),
        "shop": 8000,
        "prometheus": 9090,
        "grafana": 3000,
    }
    check_ = services()[name]["healthcheck"]
    if check_.get("disable"):
        assert name == "traffic"
        return
    url = next(word for word in check_["test"] if word.startswith("http"))
    assert re.match(r"http://127\.0\.0\.1:(\d+)/", url)
    assert int(url.split(":")[2].partition("/")[0]) == ports[name]
    if check_["test"][1] == "stoker":
        assert parse_command(check_["test"][2:]).params["url"] == url


def test_addresses_are_the_defaults_but_for_who_may_reach_them() -> None:
    config, default = configured(), StokerConfig()

    assert config.worker.listen == default.worker.listen
    assert config.beat.listen == default.beat.listen
    assert port(config.metrics.listen) == port(default.metrics.listen)


def test_ports_are_published_on_loopback_only() -> None:
    published = {name: service["ports"] for name, service in services().items() if "ports" in service}

    assert set(published) == {"exporter", "prometheus", "grafana", "shop"}
    for name, ports in published.items():
        for entry in ports:
            assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", entry), (name, entry)
    assert published["exporter"] == [f"127.0.0.1:{port(configured().metrics.listen)}:9540"]


def test_the_configuration_is_right_and_its_schedule_too() -> None:
    config = configured()

    assert not check(config)
    assert config.redis.url == f"redis://:{SECRETS['REDIS_PASSWORD']}@valkey:6379/0"
    assert config.broker.url == f"amqp://stoker:{SECRETS['RABBITMQ_PASSWORD']}@rabbitmq:5672//"
    assert config.logs.format == "json"
    assert {"product", "category"} <= set(config.types)


def test_the_configuration_is_mounted_where_it_is_looked_for() -> None:
    for name in (*COMPONENTS, "shop"):
        service = services()[name]
        target = service["environment"]["STOKER_CONFIG"]
        assert f"./deploy/stoker.yaml:{target}:ro" in service["volumes"]


def test_no_password_stands_in_a_file() -> None:
    assert set(variables()) == set(SECRETS)
    assert all("see .env.example" in hint for hint in variables().values()), "each must be asked for"
    example = (ROOT / ".env.example").read_text().splitlines()
    assert [line for line in example if line and line[0] != "#"] == [f"{name}=" for name in SECRETS]
    for secret in re.findall(r"(?i)(\w*(?:password|pass|secret|token)\w*): (.+)", compose_text()):
        assert secret[1].startswith("${"), secret


def test_what_is_mounted_is_there() -> None:
    named = set(compose()["volumes"])
    for name, service in services().items():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in named or (source.startswith("./") and (ROOT / source).exists()), (name, volume)


def test_named_networks_and_dependencies_are_there() -> None:
    found = services()
    for name, service in found.items():
        assert set(service["networks"]) <= set(compose()["networks"]), name
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}, name
            assert "test" in found[other]["healthcheck"], "what is waited for must say when it is well"


def test_who_talks_shares_a_network() -> None:
    found = services()
    pairs = [(name, server) for name in (*COMPONENTS, "shop") for server in ("valkey",)]
    pairs += [("worker", "rabbitmq"), ("beat", "rabbitmq"), ("traffic", "shop"), ("traffic", "valkey")]
    pairs += [("prometheus", "exporter"), ("prometheus", "shop"), ("grafana", "prometheus")]
    for one, other in pairs:
        assert set(found[one]["networks"]) & set(found[other]["networks"]), (one, other)


def test_containers_have_no_more_rights_than_they_need() -> None:
    for name, service in services().items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == "unless-stopped", name
        assert not service.get("privileged"), name
        if name not in WRITES_ITS_ROOT:
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name


def test_several_beats_may_run_and_each_has_time_to_stop() -> None:
    found = services()

    assert found["beat"]["deploy"]["replicas"] == 2
    for name in COMPONENTS:
        assert "container_name" not in found[name], "a name would forbid a second one"
        assert int(found[name]["stop_grace_period"].removesuffix("s")) > 10


def test_the_shop_and_its_visitors_are_an_example() -> None:
    found = services()

    assert {name for name, service in found.items() if "profiles" in service} == {"shop", "traffic"}
    module = found["shop"]["command"][0].partition(":")[0]
    assert (ROOT / Path(*module.split("."))).with_suffix(".py").is_file()
    assert found["traffic"]["entrypoint"] == ["python", "-m", "examples.shop.replay"]
    plan = shop_client(found["traffic"]["command"])
    assert plan.url == "http://shop:8000"
    assert plan.redis == configured().redis.url
    assert plan.endless


def scraped() -> dict[str, Any]:
    document = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    return {job["job_name"]: job for job in document["scrape_configs"]}


def test_prometheus_scrapes_what_runs() -> None:
    jobs = scraped()
    targets = [target for config in jobs["stoker"]["static_configs"] for target in config["targets"]]

    assert targets == [f"exporter:{port(configured().metrics.listen)}"]
    (found,) = jobs["services"]["dns_sd_configs"]
    assert set(found["names"]) <= set(services())
    assert f"127.0.0.1:{found['port']}:{found['port']}" in services()["shop"]["ports"]


def test_prometheus_finds_its_rules_and_grafana_its_dashboard() -> None:
    document = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    assert "./deploy/prometheus:/etc/prometheus:ro" in services()["prometheus"]["volumes"]
    assert "--config.file=/etc/prometheus/prometheus.yml" in services()["prometheus"]["command"]
    for pattern in document["rule_files"]:
        assert list((DEPLOY / "prometheus").glob(pattern))

    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "stoker.yml").read_text())["providers"]
    where = provider["options"]["path"]
    assert f"./deploy/grafana/dashboards:{where}:ro" in services()["grafana"]["volumes"]
    home = services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (DEPLOY / "grafana" / "dashboards" / Path(home).relative_to(where)).is_file()
