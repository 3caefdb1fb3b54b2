"""The vectors as documents: of the form that they say, and citing the whole law."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest

Plain = dict[str, Any]

PROTOCOL = Path(__file__).parents[2] / "protocol"
SCHEMA: Plain = json.loads((PROTOCOL / "vectors" / "schema.json").read_text(encoding="utf-8"))
RULE = re.compile(r"^- \*\*([A-Z]+-[0-9]+)\*\* (.*?)(?=^- \*\*|^\S|\Z)", re.MULTILINE | re.DOTALL)
UNSHOWN = "*(No vector: "
# A rule that no vector shows needs a reason each, and there are not many reasons.
FEW = 8


def rules() -> dict[str, str]:
    """Every rule of the law, with its text on one line."""
    text = (PROTOCOL / "PROTOCOL.md").read_text(encoding="utf-8").partition("\n## Removed")[0]
    return {name: " ".join(body.split()) for name, body in RULE.findall(text)}


def cited(documents: dict[str, Plain]) -> set[str]:
    """Every rule that a vector cites."""
    return {rule for document in documents.values() for vector in document["vectors"] for rule in vector["rules"]}


def test_the_vectors_are_of_their_form(all_documents: dict[str, Plain], common_facts: Plain) -> None:
    """Each file is valid by schema.json, and so is what dialogues have in common."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for path, document in all_documents.items():
        assert path.startswith(f"{document['kind']}/")
        problems = [f"{path} {error.json_path}: {error.message[:200]}" for error in validator.iter_errors(document)]
        assert problems == []
    common = jsonschema.Draft202012Validator({**SCHEMA["$defs"]["common"], "$defs": SCHEMA["$defs"]})
    assert list(common.iter_errors(common_facts)) == []


@pytest.mark.parametrize(
    "step", [{"serve": {"type": "ping"}}, {"server": {"type": "ping"}, "crossing": True}, {"client": {"id": 1}}]
)
def test_the_schema_refuses_what_is_misspelt(step: Plain) -> None:
    """A step with a wrong word is no step: the test above can fail."""
    dialogue = {"name": "x", "title": "x", "rules": ["PING-1"], "steps": [step]}
    document = {"kind": "dialogues", "about": "x", "vectors": [dialogue]}
    assert list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(document)) != []


def test_names_are_unique(all_documents: dict[str, Plain]) -> None:
    """A vector is known by its file and name."""
    for path, document in all_documents.items():
        names = Counter(vector["name"] for vector in document["vectors"])
        assert [name for name, times in names.items() if times > 1] == [], path


def test_every_rule_has_a_vector(all_documents: dict[str, Plain]) -> None:
    """A rule is cited by a vector at least, or says why no vector shows it, which few do."""
    unshown = {name for name, body in rules().items() if UNSHOWN in body}
    assert rules().keys() - unshown - cited(all_documents) == set()
    assert len(unshown) < FEW


def test_every_citation_is_of_a_rule(all_documents: dict[str, Plain]) -> None:
    """No vector cites a rule that is not there, nor one that says that none can show it."""
    unshown = {name for name, body in rules().items() if UNSHOWN in body}
    assert cited(all_documents) - rules().keys() == set()
    assert cited(all_documents) & unshown == set()


def test_placeholders_have_samples(all_documents: dict[str, Plain], common_facts: Plain) -> None:
    """Whoever plays a side finds a value for each placeholder that is no id and no key."""
    for path, document in all_documents.items():
        for vector in document["vectors"] if document["kind"] == "dialogues" else ():
            told = {**common_facts["values"], **vector.get("values", {})}
            used = set(re.findall(r'"(\$[^"]*)"', json.dumps(vector["steps"])))
            assert {name for name in used if not name.startswith(("$id", "$key"))} <= told.keys(), (
                path,
                vector["name"],
            )


def test_every_code_is_shown(all_documents: dict[str, Plain]) -> None:
    """Each error code and close code that the protocol has is part of a dialogue or a handshake."""
    from backchannel_protocol import CLOSE_CODES, ERROR_CODES

    texts = [json.dumps(document) for document in all_documents.values() if document["kind"] != "codec"]
    for code in ERROR_CODES:
        assert any(f'"code": "{code}"' in text for text in texts), code
    for number in CLOSE_CODES:
        assert any(f'"close": {int(number)}' in text for text in texts), number
