"""Write docs/reference/settings.md from the settings' declaration.

python scripts/generate_settings.py           write the page
python scripts/generate_settings.py --check   exit 1 if it is stale
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
for source_root in ("protocol", "server"):
    sys.path.insert(0, str(ROOT / source_root))

from backchannel.settings import reference  # noqa: E402  (the path comes first)

PAGE = ROOT / "docs" / "reference" / "settings.md"


def main() -> None:
    """Write the page, or compare it."""
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != reference():
            sys.exit(f"{PAGE.relative_to(ROOT)} is stale: run ./scripts/generate and commit it.")
    else:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(reference(), encoding="utf-8")
        print(f"wrote {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
