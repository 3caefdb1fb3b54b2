"""A real server against its own OpenAPI document, by generated requests, well and badly formed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from backchannel import App, demo

pytestmark = pytest.mark.timeout(300)  # the tools may have to be installed

# Left out is the check that whatever the schema allows is accepted: a schema cannot say that a cursor must be one that
# was given, that a message of one kind wants one of two fields, or that 7.0 is no integer.
_EXCLUDED = "positive_data_acceptance"

# A body that breaks the schema by its length may be refused for that before anybody looks at what is in it.
_CONFIGURATION = """\
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429]
"""


@pytest.mark.parametrize("name", ["demo", "todo"])
async def test_no_failure_and_no_answer_outside_the_document(
    serve: Any, tools: Any, todo: App, tmp_path: Path, name: str
) -> None:
    """No 5xx; every status, header, media type and body is one that the document lists; what breaks the schema, lacks a
    token or uses another method is refused. The same requests each time."""
    app = {"demo": demo.app, "todo": todo}[name]
    (tmp_path / "schemathesis.toml").write_text(_CONFIGURATION)
    async with serve(app) as served:
        output = await tools.py(
            "schemathesis", "run", f"{served.url}/openapi.json",
            "--header", f"Authorization: Bearer {await served.api_key()}",
            "--header", "Backchannel-User: alice",
            "--exclude-checks", _EXCLUDED,
            "--max-examples", "10",
            "--generation-deterministic",
            "--no-color",
            cwd=tmp_path,
        )  # fmt: skip
    operations = sum(1 if request.kind == "command" else 2 for request in app.offered().values())
    assert f"Tested: {operations}" in output
    (generated,) = re.findall(r"(\d+) generated", output)
    assert int(generated) > 10 * operations
