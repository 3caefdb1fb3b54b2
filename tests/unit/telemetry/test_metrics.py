"""Counters, gauges and what Prometheus sees of them."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backchannel.telemetry.metrics import Count, Metrics, exposition, measure


def samples(source: Metrics) -> dict[str, float]:
    """What a scraper reads, by name and labels."""
    return {
        sample.name + "".join(sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(exposition(source).decode())
        for sample in family.samples
    }


def test_exposition() -> None:
    """Every counter is there from the start, with a help text; labelled ones as soon as they counted."""
    source = Metrics()
    source.deliveries += 3
    source.errors["not_found"] += 2
    source.connections += 1
    read = samples(source)
    assert read["backchannel_deliveries_total"] == 3
    assert read["backchannel_errors_totalnot_found"] == 2
    assert read["backchannel_connections"] == 1
    assert read["backchannel_calls_total"] == 0
    families = list(text_string_to_metric_families(exposition(source).decode()))
    assert all(family.documentation.endswith(".") for family in families if family.name.startswith("backchannel_"))


def test_gauges() -> None:
    """A gauge is asked when somebody looks; several of one name are summed, and can be taken away."""
    source = Metrics()
    remove = source.gauge("subscriptions", "Subscriptions that are active.", lambda: 2)
    source.gauge("subscriptions", "Subscriptions that are active.", lambda: 5)
    assert samples(source)["backchannel_subscriptions"] == 7
    remove()
    remove()
    assert source.measure()["subscriptions"] == 5


def test_a_gauge_may_not_hide_a_counter() -> None:
    """Names are taken once."""
    with pytest.raises(ValueError, match="deliveries"):
        Metrics().gauge("deliveries", "", lambda: 0)


def test_measure() -> None:
    """The public snapshot has plain numbers by name: of what is counted by label, the sum."""
    source = Metrics()
    source.gaps["slow"] += 1
    source.gaps["reset"] += 1
    assert source.measure()["gaps"] == 2
    assert {"connections", "calls", "deliveries", "events", "refused"} <= set(measure())


def test_counters_that_are_kept_elsewhere() -> None:
    """They are asked for when somebody looks, with or without a label, summed by name, and can be taken away."""
    source = Metrics()
    plain = Count("worker_commands", "Commands that a worker answered.", {"": 3})
    labelled = Count("worker_refused", "Requests that a worker refused.", {"conflict": 1, "invalid": 2}, "code")
    remove = source.counters(lambda: [plain, labelled])
    source.counters(lambda: [plain._replace(values={"": 4}), labelled._replace(values={"invalid": 5})])
    read = samples(source)
    assert read["backchannel_worker_commands_total"] == 7
    assert read["backchannel_worker_refused_totalconflict"] == 1
    assert read["backchannel_worker_refused_totalinvalid"] == 7
    assert source.measure()["worker_refused"] == 8
    remove()
    assert source.measure() | {"worker_commands": 4.0, "worker_refused": 5.0} == source.measure()
