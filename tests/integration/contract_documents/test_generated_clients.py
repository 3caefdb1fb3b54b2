"""Other people's generators make working clients of the OpenAPI document."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from backchannel import demo
from backchannel.schema import FORMS

pytestmark = pytest.mark.timeout(300)  # the tools may have to be installed

CLIENTS = Path(__file__).parent / "clients"

STRICT = (
    "--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess", "--noPropertyAccessFromIndexSignature",
    "--noImplicitReturns", "--noUnusedLocals", "--noUnusedParameters", "--verbatimModuleSyntax",
    "--target", "es2022", "--lib", "es2023,dom,dom.iterable",
)  # fmt: skip


async def test_openapi_typescript(serve: Any, tools: Any, tmp_path: Path) -> None:
    """Its types pass the strictest compiler, refuse what is wrong, and what is written with them works."""
    (tmp_path / "openapi.json").write_text(FORMS["openapi"](demo.app))
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "node_modules").symlink_to(tools.node_modules)
    shutil.copy(CLIENTS / "over_http.ts", tmp_path)
    await tools.js(
        # By default it takes a field that has a default for one that must be sent.
        "openapi-typescript", "openapi.json", "--default-non-nullable", "false", "--output", "api.ts", cwd=tmp_path
    )  # fmt: skip
    await tools.js("tsc", *STRICT, "--skipLibCheck", "--module", "nodenext", "over_http.ts", cwd=tmp_path)
    async with serve(demo.app) as served:
        said = json.loads(await tools.run("node", "over_http.js", served.url, served.token(), cwd=tmp_path))
    assert said == {"seq": 1, "texts": ["typed"], "code": "not_found", "user": "alice"}


async def test_openapi_python_client(serve: Any, tools: Any, tmp_path: Path) -> None:
    """It is generated without a warning; commands, queries both ways and refusals are typed and work."""
    (tmp_path / "openapi.json").write_text(FORMS["openapi"](demo.app))
    await tools.py(
        "openapi-python-client", "generate", "--path", "openapi.json", "--output-path", "chat_client",
        "--meta", "none", "--fail-on-warning",
        cwd=tmp_path,
    )  # fmt: skip
    shutil.copy(CLIENTS / "over_http.py", tmp_path)
    async with serve(demo.app) as served:
        said = json.loads(await tools.py("python", "over_http.py", served.url, served.token(), cwd=tmp_path))
    assert said == {"texts": ["generated"], "owners": ["alice"], "code": "not_found"}
