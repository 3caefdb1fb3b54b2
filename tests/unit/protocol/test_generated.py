"""Generated files: what is derived from the protocol is up to date and whole."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from backchannel_protocol import CLOSE_CODES, ERROR_CODES, JSON, frames

ROOT = Path(__file__).resolve().parents[3]
FRAMES: tuple[type[Any], ...] = (*get_args(frames.ClientFrame), *get_args(frames.ServerFrame))


def check(root: Path) -> subprocess.CompletedProcess[str]:
    """Run the generator's check in a tree."""
    return subprocess.run(
        [sys.executable, str(root / "protocol/generate.py"), "--check"], capture_output=True, text=True, check=False
    )


def test_nothing_is_stale() -> None:
    """The committed files are what the generator writes."""
    done = check(ROOT)
    assert done.returncode == 0, done.stderr


def test_check_names_what_is_stale(tmp_path: Path) -> None:
    """A file that was edited or is missing fails the check by name, and is left alone."""
    shutil.copytree(ROOT / "protocol", tmp_path / "protocol", ignore=shutil.ignore_patterns("__pycache__"))
    typescript = tmp_path / "client_js/src/protocol.gen.ts"
    typescript.parent.mkdir(parents=True)
    typescript.write_text("edited")
    (tmp_path / "protocol/schema/server.json").unlink()
    done = check(tmp_path)
    assert done.returncode == 1
    assert re.findall(r"stale: (\S+)", done.stderr) == ["client_js/src/protocol.gen.ts", "protocol/schema/server.json"]
    assert typescript.read_text() == "edited"


@pytest.mark.parametrize("direction", ["client", "server"])
def test_schema_is_whole(direction: str) -> None:
    """Every reference resolves, and every field of every frame says what it means."""
    document = json.loads((ROOT / f"protocol/schema/{direction}.json").read_text())
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    union = get_args(frames.ClientFrame if direction == "client" else frames.ServerFrame)
    assert [item["$ref"] for item in document["anyOf"]] == [f"#/$defs/{cls.__name__}" for cls in union]
    for reference in re.findall(r'"#/\$defs/(\w+)"', json.dumps(document)):
        assert reference in document["$defs"]
    for cls in union:
        definition = document["$defs"][cls.__name__]
        assert definition["description"]
        for name, field in definition["properties"].items():
            assert name == "type" or field.get("description"), f"{cls.__name__}.{name} does not say what it means"


def test_reference_names_everything() -> None:
    """Each frame, error code and close code stands in the tables."""
    text = (ROOT / "protocol/reference.md").read_text()
    for cls in FRAMES:
        assert f"### {cls.__name__}\n\n`{cls.__struct_config__.tag}`, " in text
    for code in ERROR_CODES:
        assert f"| `{code}` |" in text
    for number in CLOSE_CODES:
        assert f"| {int(number)} |" in text


def test_law_names_everything() -> None:
    """PROTOCOL.md speaks of each frame and code, and gives no rule id twice."""
    text = (ROOT / "protocol/PROTOCOL.md").read_text()
    for cls in FRAMES:
        assert f"`{cls.__struct_config__.tag}`" in text
    for code in ERROR_CODES:
        assert f"`{code}`" in text
    for number in CLOSE_CODES:
        assert str(int(number)) in text
    ids = re.findall(r"^- \*\*([A-Z]+-[0-9]+)\*\*", text, re.MULTILINE)
    assert len(ids) == len(set(ids)) > 50
    assert set(re.findall(r"\b[A-Z]{2,9}-[0-9]+\b", text)) - {"UTF-8", "UTF-16"} == set(ids)


def _frames_in_the_law() -> list[tuple[str, str]]:
    text = (ROOT / "protocol/PROTOCOL.md").read_text()
    return re.findall(r"^([CS]): (\{.*\})", text, re.MULTILINE)


@pytest.mark.parametrize(("side", "frame"), _frames_in_the_law())
def test_dialogues_show_real_frames(side: str, frame: str) -> None:
    """Every frame in the dialogues is one that this version reads, on the side that it is sent to."""
    (JSON.decode_client if side == "C" else JSON.decode_server)(frame.encode())


def test_typescript_has_no_any() -> None:
    """Data is `unknown`: whoever reads it says what it is."""
    text = (ROOT / "client_js/src/protocol.gen.ts").read_text()
    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
    assert not re.search(r"\bany\b", code)
    for cls in FRAMES:
        assert f"interface {cls.__name__}Frame {{" in code
        assert f'type: "{cls.__struct_config__.tag}";' in code
