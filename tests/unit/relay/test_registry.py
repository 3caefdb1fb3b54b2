"""Who lives, what they serve, and when they are taken for dead; time is the test's."""

from __future__ import annotations

from backchannel.relay.messages import Beat
from backchannel.relay.registry import SILENCE, Registry


def hear(
    registry: Registry, worker: str, when: float, *, names: str = "a.b", takes: bool = True, load: int = 0
) -> None:
    registry.hear(Beat(worker, takes, names.split(), load), worker.encode(), when)


def serving(registry: Registry, name: str | None) -> list[str]:
    return [worker.id for worker in registry.serving(name)]


def test_names() -> None:
    """A name is served by those that say so; anything by all that take requests; nothing by nobody."""
    registry = Registry()
    hear(registry, "w1", 0.0, names="a.b c.d")
    hear(registry, "w2", 0.0, names="c.d")
    assert (serving(registry, "a.b"), serving(registry, "c.d"), serving(registry, "e.f")) == (["w1"], ["w1", "w2"], [])
    assert serving(registry, None) == ["w1", "w2"]
    hear(registry, "w2", 0.5, names="a.b c.d")
    assert serving(registry, "a.b") == ["w1", "w2"]


def test_silence() -> None:
    """A worker is dead after 2 s of silence, not before, and one that is heard again lives again."""
    registry = Registry()
    hear(registry, "w1", 10.0)
    hear(registry, "w2", 11.0)
    assert registry.bury(10.0 + SILENCE) == []
    (dead,) = registry.bury(10.1 + SILENCE)
    assert (dead.id, dead.alive, dead.takes) == ("w1", False, False)
    assert serving(registry, None) == ["w2"]
    hear(registry, "w1", 13.0)
    assert serving(registry, None) == ["w2", "w1"]
    again = registry.get("w1")
    assert again is not None
    assert again is not dead


def test_old_news_is_no_sign_of_life() -> None:
    """What Redis tells of the past neither wakes the dead nor makes anybody younger."""
    registry = Registry()
    hear(registry, "w1", 10.0)
    hear(registry, "w1", 9.0)
    assert registry.bury(11.9) == []
    assert [worker.id for worker in registry.bury(12.1)] == ["w1"]


def test_forgiven_silence() -> None:
    """While nothing could be heard nobody was silent; and nobody was heard in the future."""
    registry = Registry()
    hear(registry, "w1", 10.0)
    hear(registry, "w2", 15.5)
    registry.forgive(5.0, 16.0)
    assert registry.bury(16.9) == []
    assert [worker.id for worker in registry.bury(17.1)] == ["w1"]
    assert [worker.id for worker in registry.bury(18.1)] == ["w2"]


def test_last_word() -> None:
    """A worker that says it is gone is out at once; one that nobody knew is not missed."""
    registry = Registry()
    hear(registry, "w1", 0.0)
    gone = registry.hear(Beat("w1", takes=False, names=[], gone=True), b"w1", 0.1)
    assert gone is not None
    assert (gone.id, gone.alive, len(registry)) == ("w1", False, 0)
    assert registry.hear(Beat("w9", takes=False, names=[], gone=True), b"w9", 0.1) is None
    assert len(registry) == 0


def test_version_follows_what_routing_depends_on() -> None:
    """The version grows with every change of who serves what, and not with mere signs of life."""
    registry = Registry()
    versions = [registry.version]
    hear(registry, "w1", 0.0)
    versions.append(registry.version)
    hear(registry, "w1", 0.5, load=7)
    assert registry.version == versions[-1]
    hear(registry, "w1", 1.0, names="a.b c.d")
    versions.append(registry.version)
    worker = registry.get("w1")
    assert worker is not None
    registry.takes_nothing(worker)
    versions.append(registry.version)
    assert serving(registry, "a.b") == []
    registry.takes_nothing(worker)
    assert registry.version == versions[-1]
    hear(registry, "w1", 1.5, names="a.b c.d")
    versions.append(registry.version)
    registry.bury(9.0)
    versions.append(registry.version)
    assert versions == sorted(set(versions))
